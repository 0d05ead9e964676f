//! Polynomials that stand for functions, for schemes that can only add and multiply.

use std::f64::consts::PI;

use furthermore_kernels_cpu::function_map::function_map;
use furthermore_kernels_cpu::poly_map::{Coefficients, MAX_TERMS, poly_map};
use furthermore_kernels_cpu::{Arithmetic, Element, Exec, Isa, KernelError, Planes, PlanesMut};

use super::Function;
use crate::error::{Error, Result};
use crate::linalg::invert;

/// Grid intervals for each extremum that the error of a best approximation has at least: between grid
/// points it rises above them by less than 5e-6 of itself.
const GRID: usize = 512;
/// Exchanges after which the best polynomial so far is taken. Smooth functions need five or so,
/// functions with a kink twice as many.
const EXCHANGES: usize = 60;
/// Part of the largest error by which it may lie above the levelled one when the exchange ends.
const LEVEL: f64 = 1e-10;

/// How the polynomial of a [`Fit`] is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FitMethod {
    /// Interpolation at the Chebyshev nodes: nowhere far from the best, and the same for every
    /// function.
    Chebyshev,
    /// The smallest largest error, by Remez's exchange. Where that does not end, as it need not for a
    /// function that jumps, the best polynomial found on the way, interpolation's among them; its
    /// error says how good it is.
    Minimax,
}

impl FitMethod {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            FitMethod::Chebyshev => "chebyshev",
            FitMethod::Minimax => "minimax",
        }
    }
}

/// A polynomial that stands for a function on an interval.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// The function.
    pub function: Function,
    /// How the polynomial was chosen.
    pub method: FitMethod,
    /// The interval's ends. Outside it a polynomial soon is far from the function.
    pub interval: [f64; 2],
    /// The coefficients, that of x^k at index k, as many as the degree and one:
    /// [`Network::polynomial`](super::Network::polynomial) takes them as they are.
    pub coefficients: Vec<f64>,
    /// The largest difference from the function on a dense grid, by Horner's rule in f64. Powers of x
    /// are a poor basis at high degrees, where coefficients are large and of both signs: from degree 20
    /// or so on, and sooner where the interval lies to one side of zero, the polynomial evaluates with
    /// fewer and fewer digits, which this contains.
    pub error: f64,
    /// The same in f32, coefficients and arguments rounded to it; infinite where a coefficient or a
    /// value is too large for it.
    pub error_f32: f64,
}

impl Fit {
    /// The polynomial of a degree that stands for `function` on an interval.
    ///
    /// # Errors
    /// When the degree is not between 1 and 63, the interval's ends are not finite or not one below
    /// the other, the function has no finite value somewhere on it, or the interval is so small or so
    /// far from zero that coefficients are past the range of f64.
    pub fn new(
        function: Function,
        interval: [f64; 2],
        degree: usize,
        method: FitMethod,
    ) -> Result<Self> {
        let refuse = |reason: String| Error::Operation {
            operation: format!("{} fit of {}", method.name(), function.name()),
            reason,
        };
        if !(1..MAX_TERMS).contains(&degree) {
            let most = MAX_TERMS - 1;
            return Err(refuse(format!(
                "degree {degree} is not between 1 and {most}"
            )));
        }
        let [least, greatest] = interval;
        let grid = Grid::new(interval, degree, function).ok_or_else(|| {
            refuse(format!(
                "{least} to {greatest} is no interval of finite length"
            ))
        })?;
        let values = grid.values(function).map_err(&refuse)?;
        let interpolated = grid.interpolated(function, degree).map_err(&refuse)?;
        let series = match method {
            FitMethod::Chebyshev => interpolated,
            FitMethod::Minimax => exchanged(&grid.places, &values, interpolated),
        };
        let coefficients = grid.powers(&series);
        if let Some(odd) = coefficients.iter().find(|c| !c.is_finite()) {
            return Err(refuse(format!(
                "in powers of x on {least} to {greatest} a coefficient is {odd}"
            )));
        }
        let error = largest_error(function, &coefficients, &grid.arguments);
        let rounded: Vec<f32> = grid.arguments.iter().map(|&x| x as f32).collect();
        let error_f32 = largest_error(function, &coefficients, &rounded);
        Ok(Self {
            function,
            method,
            interval,
            coefficients,
            error,
            error_f32,
        })
    }

    /// Its degree.
    pub fn degree(&self) -> usize {
        self.coefficients.len() - 1
    }
}

/// Points of an interval, dense towards its ends as the extrema of an error are.
struct Grid {
    middle: f64,
    half: f64,
    /// From -1 to 1, ascending.
    places: Vec<f64>,
    /// The points of the interval there.
    arguments: Vec<f64>,
}

impl Grid {
    /// None where there is no such interval.
    fn new([least, greatest]: [f64; 2], degree: usize, function: Function) -> Option<Self> {
        // Each end is halved first, so that no sum of finite ends overflows.
        let (middle, half) = (least / 2.0 + greatest / 2.0, greatest / 2.0 - least / 2.0);
        if !(least.is_finite() && greatest.is_finite() && half > 0.0) {
            return None;
        }
        let intervals = GRID * (degree + 2);
        let cosine = |nth: usize| -(PI * nth as f64 / intervals as f64).cos();
        let dense = (0..=intervals).map(|nth| match nth {
            0 => (-1.0, least),
            nth if nth == intervals => (1.0, greatest),
            nth => (cosine(nth), middle + half * cosine(nth)),
        });
        // Errors have extrema at kinks, and functions may have no value at zero: of points at one place
        // these stay.
        let kinks = match function {
            Function::HardSigmoid { alpha, beta } => [-beta / alpha, (1.0 - beta) / alpha],
            _ => [0.0; 2],
        };
        let inside = kinks.into_iter().filter(|&x| least < x && x < greatest);
        let mut points: Vec<(f64, f64)> = inside
            .map(|x| ((x - middle) / half, x))
            .chain(dense)
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points.dedup_by(|b, a| a.0 == b.0);
        let (places, arguments) = points.into_iter().unzip();
        Some(Self {
            middle,
            half,
            places,
            arguments,
        })
    }

    /// The function on the grid.
    fn values(&self, function: Function) -> Result<Vec<f64>, String> {
        values(function, &self.arguments)
    }

    /// The interpolating polynomial at the nodes of T of the next degree, as a Chebyshev series.
    fn interpolated(&self, function: Function, degree: usize) -> Result<Vec<f64>, String> {
        let count = degree + 1;
        let angle = |nth: usize| PI * (nth as f64 + 0.5) / count as f64;
        let nodes: Vec<f64> = (0..count)
            .map(|nth| self.middle + self.half * angle(nth).cos())
            .collect();
        let values = values(function, &nodes)?;
        let coefficient = |k: usize| {
            let sum: f64 = values
                .iter()
                .enumerate()
                .map(|(nth, value)| value / count as f64 * (k as f64 * angle(nth)).cos())
                .sum();
            if k == 0 { sum } else { 2.0 * sum }
        };
        Ok((0..count).map(coefficient).collect())
    }

    /// A Chebyshev series on -1 to 1 in powers of the interval's x.
    fn powers(&self, series: &[f64]) -> Vec<f64> {
        let terms = series.len();
        // T of k + 1 is 2 t times T of k less T of k - 1.
        let (mut before, mut chebyshev) = (vec![0.0; terms], vec![0.0; terms]);
        let mut powers = vec![0.0; terms];
        chebyshev[0] = 1.0;
        for (k, coefficient) in series.iter().enumerate() {
            for (power, c) in powers.iter_mut().zip(&chebyshev) {
                *power += coefficient * c;
            }
            let twice = if k == 0 { 1.0 } else { 2.0 };
            let shifted = |nth: usize| nth.checked_sub(1).map_or(0.0, |nth| chebyshev[nth]);
            let next = (0..terms)
                .map(|nth| twice * shifted(nth) - before[nth])
                .collect();
            before = std::mem::replace(&mut chebyshev, next);
        }
        // Horner's rule with the polynomial (x - middle) / half for an argument.
        let (slope, shift) = (1.0 / self.half, -self.middle / self.half);
        let mut in_x = vec![0.0; terms];
        for power in powers.iter().rev() {
            for nth in (0..terms).rev() {
                let below = nth.checked_sub(1).map_or(*power, |nth| in_x[nth] * slope);
                // Infinite slopes of tiny intervals would make NaN of zeros; the caller names either.
                in_x[nth] = in_x[nth] * shift + below;
            }
        }
        in_x
    }
}

/// The best approximation on the grid by Remez's exchange of several points at a time, as a Chebyshev
/// series; the best that was found, `start` among them, where it does not come to an end.
fn exchanged(places: &[f64], values: &[f64], start: Vec<f64>) -> Vec<f64> {
    let points = start.len() + 1;
    let mut best = (largest(&errors(&start, places, values)), start);
    // Extrema of T as a start, off centre: on a symmetric reference odd and even functions may have no
    // levelled error but zero, which says nothing of where to go on.
    let mut reference: Vec<usize> = (0..points)
        .map(|nth| {
            let extremum = -(PI * nth as f64 / (points - 1) as f64).cos();
            let start = extremum + 0.1 * (1.0 - extremum * extremum);
            let at = places.partition_point(|&t| t < start - 1e-12);
            at.min(places.len() - 1)
        })
        .collect();
    for _ in 0..EXCHANGES {
        let (series, level) = levelled(places, values, &reference);
        if series.iter().any(|c| !c.is_finite()) {
            break;
        }
        let errors = errors(&series, places, values);
        let largest = largest(&errors);
        if largest < best.0 {
            best = (largest, series);
        }
        let Some(next) = extrema(&errors, points) else {
            break;
        };
        if largest - level.abs() <= LEVEL * largest || next == reference {
            break;
        }
        reference = next;
    }
    best.1
}

/// The series whose errors at the points of a reference are alike and alternate in sign, and that error.
fn levelled(places: &[f64], values: &[f64], reference: &[usize]) -> (Vec<f64>, f64) {
    let points = reference.len();
    let rows = reference.iter().enumerate().flat_map(|(nth, &at)| {
        let sign = if nth % 2 == 0 { 1.0 } else { -1.0 };
        let angle = places[at].acos();
        (0..points - 1)
            .map(move |k| (k as f64 * angle).cos())
            .chain([sign])
    });
    let inverse = invert(&rows.collect::<Vec<f64>>(), points);
    let row = |row: &[f64]| -> f64 {
        let terms = row.iter().zip(reference);
        terms.map(|(factor, &at)| factor * values[at]).sum()
    };
    let mut series: Vec<f64> = inverse.chunks_exact(points).map(row).collect();
    let level = series.pop().unwrap_or(0.0);
    (series, level)
}

/// Where errors are largest between changes of their sign: so many places of alternating sign, the
/// largest error's among them; none where they do not alternate as often.
fn extrema(errors: &[f64], points: usize) -> Option<Vec<usize>> {
    let size = |at: usize| errors[at].abs();
    let mut found: Vec<usize> = Vec::new();
    for (at, &error) in errors.iter().enumerate().filter(|(_, e)| **e != 0.0) {
        match found.last_mut() {
            Some(last) if (errors[*last] > 0.0) == (error > 0.0) => {
                if size(at) > size(*last) {
                    *last = at;
                }
            }
            _ => found.push(at),
        }
    }
    // Too many go two neighbours at a time, so that signs still alternate, or one at an end.
    while found.len() > points {
        let last = found.len() - 1;
        let smaller = |a: usize, b: usize| {
            if size(found[a]) < size(found[b]) {
                a
            } else {
                b
            }
        };
        let smallest = match found.len() - points {
            1 => smaller(0, last),
            _ => (0..=last).reduce(smaller)?,
        };
        if smallest == 0 || smallest == last {
            found.remove(smallest);
        } else {
            let neighbour = smaller(smallest - 1, smallest + 1);
            found.drain(smallest.min(neighbour)..=smallest.max(neighbour));
        }
    }
    (found.len() == points).then_some(found)
}

/// What the function has over a series, place by place, by Clenshaw's rule.
fn errors(series: &[f64], places: &[f64], values: &[f64]) -> Vec<f64> {
    let error = |(t, value): (&f64, &f64)| {
        let (mut next, mut after) = (0.0, 0.0);
        for c in series[1..].iter().rev() {
            (next, after) = (c + 2.0 * t * next - after, next);
        }
        value - (series[0] + t * next - after)
    };
    places.iter().zip(values).map(error).collect()
}

/// The largest magnitude; infinite where one is no number.
fn largest(errors: &[f64]) -> f64 {
    let size = |e: &f64| if e.is_nan() { f64::INFINITY } else { e.abs() };
    errors.iter().map(size).fold(0.0, f64::max)
}

/// What kernels run on here: a few thousand numbers, in the thread that asks.
fn exec() -> Result<Exec, String> {
    let isa = Isa::from_env().map_err(|error| error.to_string())?;
    Ok(Exec { isa, threads: 1 })
}

/// The function's values, as networks compute it.
fn values(function: Function, arguments: &[f64]) -> Result<Vec<f64>, String> {
    let mut values = vec![0.0; arguments.len()];
    function_map(
        &exec()?,
        &Arithmetic::real(),
        function,
        Planes::plain(arguments),
        &mut PlanesMut::plain(&mut values),
    )
    .map_err(|error| error.to_string())?;
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(values),
        Some(odd) => {
            let (x, value) = (arguments[odd], values[odd]);
            Err(format!("the function is {value} at {x}, in the interval"))
        }
    }
}

/// The largest difference of a polynomial from the function, evaluated as networks do in T.
fn largest_error<T: Element>(function: Function, coefficients: &[f64], arguments: &[T]) -> f64 {
    let wide: Vec<f64> = arguments.iter().map(|x| x.wide()).collect();
    let mut found = vec![T::of(0.0); arguments.len()];
    let evaluate = |exec: Exec, found: &mut [T]| {
        let coefficients = Coefficients::Constant(coefficients);
        let (input, mut output) = (Planes::plain(arguments), PlanesMut::plain(found));
        poly_map(&exec, &Arithmetic::real(), coefficients, input, &mut output)
    };
    // Coefficients or arguments that T has not are an infinite error.
    let evaluated: Result<_, KernelError> = match exec() {
        Ok(exec) => evaluate(exec, &mut found),
        Err(_) => return f64::INFINITY,
    };
    let (Ok(_), Ok(exact)) = (evaluated, values(function, &wide)) else {
        return f64::INFINITY;
    };
    let differences = found.iter().zip(exact).map(|(p, f)| p.wide() - f);
    largest(&differences.collect::<Vec<f64>>())
}
