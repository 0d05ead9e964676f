//! Circulations as curves: the loop of pressure and volume in the left ventricle, and pressures and
//! volumes over a beat.

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::data::circulation::{Beat, CirculationError, Parameters, beat};

/// Size of the drawing, in pixels.
const SIZE: (u32, u32) = (1240, 800);
/// Width of the loops' panel.
const LOOPS: u32 = 600;
/// Height of the panel of pressures.
const PRESSURES: u32 = 480;

/// Colours that people who see fewer of them can tell apart (Okabe and Ito's), the most readable
/// first.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 0, 0),
    RGBColor(213, 94, 0),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
];

/// A line of a panel, named in its legend.
struct Curve {
    name: String,
    points: Vec<(f64, f64)>,
}

impl Curve {
    /// Over time, with the beat's start drawn again at its end.
    fn over_time(name: &str, beat: &Beat, period: f64, values: &[f64]) -> Self {
        let points = beat.time.iter().copied().zip(values.iter().copied());
        let again = values.first().map(|&first| (period, first));
        Self {
            name: name.to_owned(),
            points: points.chain(again).collect(),
        }
    }

    /// The loop of pressure over volume in the left ventricle.
    fn pressure_volume(name: &str, beat: &Beat) -> Self {
        let volumes = beat.left_volume.iter().copied();
        let points: Vec<_> = volumes.zip(beat.left_pressure.iter().copied()).collect();
        let again = points.first().copied();
        Self {
            name: name.to_owned(),
            points: points.into_iter().chain(again).collect(),
        }
    }
}

/// Curves with axes.
struct Panel<'a> {
    title: &'a str,
    x: &'a str,
    y: &'a str,
    /// Where the axes end; both start at 0.
    ends: (f64, f64),
    legend: SeriesLabelPosition,
    curves: Vec<Curve>,
}

/// An SVG drawing: to the left the loops of the left ventricle for the base parameters and changes
/// of one each, to the right pressures and volumes over a beat of the base.
///
/// # Errors
/// When a circulation has no periodic state, or the drawing library fails.
pub(crate) fn circulations() -> Result<String, Failure> {
    let base = Parameters::base();
    let changes = [
        ("base", base),
        (
            "EmaxL 1 mmHg/ml",
            Parameters {
                emax_left: 1.0,
                ..base
            },
        ),
        (
            "Rsys 1.6 mmHg s/ml",
            Parameters {
                r_systemic: 1.6,
                ..base
            },
        ),
        (
            "Vtot 1400 ml",
            Parameters {
                v_total: 1400.0,
                ..base
            },
        ),
        (
            "50 beats/min",
            Parameters {
                heart_rate: 50.0,
                ..base
            },
        ),
    ];
    let loops = changes
        .iter()
        .map(|(name, parameters)| Ok(Curve::pressure_volume(name, &beat(parameters)?)))
        .collect::<Result<Vec<_>, CirculationError>>()?;
    let beat = beat(&base)?;
    let over_time = |name, values| Curve::over_time(name, &beat, base.period(), values);
    let panels = [
        Panel {
            title: "Left ventricle: pressure and volume",
            x: "volume (ml)",
            y: "pressure (mmHg)",
            // Above the loops there is room for the legend.
            ends: (180.0, 180.0),
            legend: SeriesLabelPosition::UpperRight,
            curves: loops,
        },
        Panel {
            title: "Pressures over a beat, base parameters",
            x: "time (s)",
            y: "pressure (mmHg)",
            ends: (base.period(), 140.0),
            legend: SeriesLabelPosition::UpperRight,
            curves: vec![
                over_time("left ventricle", &beat.left_pressure),
                over_time("aorta", &beat.aortic_pressure),
                over_time("right ventricle", &beat.right_pressure),
                over_time("pulmonary arteries", &beat.pulmonary_pressure),
                over_time("pulmonary veins (wedge)", &beat.wedge_pressure),
                over_time("systemic veins (central venous)", &beat.venous_pressure),
            ],
        },
        Panel {
            title: "Volumes over the same beat",
            x: "time (s)",
            y: "volume (ml)",
            ends: (base.period(), 140.0),
            legend: SeriesLabelPosition::LowerRight,
            curves: vec![
                over_time("left ventricle", &beat.left_volume),
                over_time("right ventricle", &beat.right_volume),
            ],
        },
    ];
    let mut text = String::new();
    draw(&mut text, &panels).map_err(|error| Failure::Drawing(error.to_string()))?;
    Ok(text)
}

/// Why there is no drawing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A circulation has no curves.
    #[error(transparent)]
    Circulation(#[from] CirculationError),
    /// The drawing library failed.
    #[error("{0}")]
    Drawing(String),
}

type Outcome<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

fn draw<'a>(text: &'a mut String, panels: &[Panel<'_>; 3]) -> Outcome<'a> {
    let all = SVGBackend::with_string(text, SIZE).into_drawing_area();
    all.fill(&WHITE)?;
    let (left, right) = all.split_horizontally(LOOPS);
    let (top, bottom) = right.split_vertically(PRESSURES);
    for (area, panel) in [left, top, bottom].iter().zip(panels) {
        draw_panel(area, panel)?;
    }
    all.present()
}

fn draw_panel<'a>(area: &DrawingArea<SVGBackend<'a>, Shift>, panel: &Panel<'_>) -> Outcome<'a> {
    let (x_end, y_end) = panel.ends;
    let decimals = if x_end < 10.0 { 1 } else { 0 };
    let mut chart = ChartBuilder::on(area)
        .caption(panel.title, ("sans-serif", 18))
        .margin(14)
        .x_label_area_size(42)
        .y_label_area_size(52)
        .build_cartesian_2d(0.0..x_end, 0.0..y_end)?;
    chart
        .configure_mesh()
        .x_desc(panel.x)
        .y_desc(panel.y)
        .x_label_formatter(&|x| format!("{x:.decimals$}"))
        .y_label_formatter(&|y| format!("{y:.0}"))
        .label_style(("sans-serif", 13))
        .axis_desc_style(("sans-serif", 14))
        .bold_line_style(BLACK.mix(0.12))
        .light_line_style(TRANSPARENT)
        .draw()?;
    for (curve, colour) in panel.curves.iter().zip(COLOURS) {
        let line = LineSeries::new(curve.points.iter().copied(), colour.stroke_width(2));
        chart
            .draw_series(line)?
            .label(&curve.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(panel.legend.clone())
        .label_font(("sans-serif", 13))
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .draw()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drawing_names_its_axes_and_curves() {
        let svg = circulations().expect("a drawing");
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        for text in [
            "volume (ml)",
            "pressure (mmHg)",
            "time (s)",
            "base",
            "Rsys 1.6 mmHg s/ml",
            "pulmonary veins (wedge)",
        ] {
            assert!(svg.contains(text), "{text}");
        }
        // 5 loops, 6 pressures, 2 volumes and the legends' samples of them; axes add some.
        assert!(svg.matches("<polyline").count() >= 26);
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn loops_close_and_beats_last_a_period() {
        let base = Parameters::base();
        let beat = beat(&base).expect("periodic");
        let curve = Curve::pressure_volume("base", &beat);
        assert_eq!(curve.points.first(), curve.points.last());
        let curve = Curve::over_time("aorta", &beat, base.period(), &beat.aortic_pressure);
        assert_eq!(curve.points.len(), beat.time.len() + 1);
        let (end, last) = curve.points[beat.time.len()];
        assert_eq!((end, last), (base.period(), beat.aortic_pressure[0]));
    }
}
