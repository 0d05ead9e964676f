//! Every function against f64 formulas: f32 over all its bit patterns at a dense stride, f64 over its
//! range against the standard library's functions, or exact values where it has none.

use super::*;
use crate::isa::Isa;
use crate::simd::WithSimd;

/// A function on vectors and its name; the closures of a table could not be generic.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Name {
    Exp,
    ExpM1,
    Ln,
    Ln1p,
    Sqrt,
    Tanh,
    Sigmoid,
    Erf,
    Gaussian,
    Exponent,
}

const ALL: [Name; 8] = [
    Name::Exp,
    Name::ExpM1,
    Name::Ln,
    Name::Ln1p,
    Name::Sqrt,
    Name::Tanh,
    Name::Sigmoid,
    Name::Erf,
];

struct Apply<'a, T>(Name, &'a mut [T]);

impl<T: Element> WithSimd<T> for Apply<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self) {
        for part in self.1.chunks_mut(S::LANES) {
            // SAFETY: a chunk holds as many elements as are loaded and stored.
            unsafe {
                let x = S::load_partial(part.as_ptr(), part.len());
                let y = match self.0 {
                    Name::Exp => exp(x),
                    Name::ExpM1 => exp_m1(x),
                    Name::Ln => ln(x),
                    Name::Ln1p => ln_1p(x),
                    Name::Sqrt => x.sqrt(),
                    Name::Tanh => tanh(x),
                    Name::Sigmoid => sigmoid(x),
                    Name::Erf => erf(x),
                    Name::Gaussian => erf_and_gaussian(x).1,
                    Name::Exponent => x.exponent(),
                };
                y.store_partial(part.as_mut_ptr(), part.len());
            }
        }
    }
}

fn applied<T: Element>(isa: Isa, name: Name, x: &[T]) -> Vec<T> {
    let mut y = x.to_vec();
    isa.run(Apply(name, &mut y));
    y
}

/// erf by its series of positive terms up to 2 and the continued fraction of erfc past it.
fn erf_f64(x: f64) -> f64 {
    let (size, square) = (x.abs(), x * x);
    let gaussian = (-square).exp() * std::f64::consts::FRAC_2_SQRT_PI;
    let value = if size < 2.0 {
        let (mut term, mut sum) = (size, size);
        for n in 1..60 {
            term *= 2.0 * square / f64::from(2 * n + 1);
            sum += term;
        }
        gaussian * sum
    } else if size < 7.0 {
        let tail = (1..80)
            .rev()
            .fold(size, |tail, n| size + f64::from(n) / 2.0 / tail);
        1.0 - gaussian / 2.0 / tail
    } else {
        1.0
    };
    if x.is_nan() { x } else { value.copysign(x) }
}

fn oracle(name: Name, x: f64) -> f64 {
    match name {
        Name::Exp => x.exp(),
        Name::ExpM1 => x.exp_m1(),
        Name::Ln => x.ln(),
        Name::Ln1p => x.ln_1p(),
        Name::Sqrt => x.sqrt(),
        Name::Tanh => x.tanh(),
        Name::Sigmoid if x < 0.0 => x.exp() / (1.0 + x.exp()),
        Name::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Name::Erf => erf_f64(x),
        Name::Gaussian => (-x * x).exp(),
        Name::Exponent => x.log2().floor(),
    }
}

/// The distance of `found` from `exact` in units in the last place of `exact` as a `T`; infinite
/// where one is NaN or infinite and the other is not.
fn units<T: Element>(found: T, exact: f64) -> f64 {
    let nearest = T::of(exact);
    if nearest.is_nan() || nearest.is_infinite() || found.is_nan() || found.is_infinite() {
        let same = nearest == found || (nearest.is_nan() && found.is_nan());
        // Half a unit below infinity it may be rounded to either.
        let last = nearest.is_infinite() && found.abs() == T::max_value();
        let past = found.is_infinite() && nearest.abs() == T::max_value();
        return if same || last || past {
            0.0
        } else {
            f64::INFINITY
        };
    }
    let normal = exact.abs().max(T::min_positive_value().wide());
    let unit = T::epsilon().wide() * 2f64.powi(normal.log2().floor() as i32);
    (found.wide() - exact).abs() / unit.max(f64::from_bits(1))
}

/// The arguments in a function's domain as it is used here.
fn inside(name: Name, x: f64) -> bool {
    name != Name::Ln1p || (0.0..=1.0).contains(&x)
}

/// The largest error, and where.
fn worst<T: Element>(isa: Isa, name: Name, x: &[T]) -> (f64, f64) {
    let y = applied(isa, name, x);
    let errors = x.iter().zip(&y).map(|(x, y)| {
        let x = x.wide();
        (units(*y, oracle(name, x)), x)
    });
    errors.fold((0.0, 0.0), |a, b| if b.0 > a.0 { b } else { a })
}

/// Every 997th bit pattern: normal and subnormal numbers, infinities, and NaN of either sign.
fn single_patterns() -> Vec<f32> {
    (0..=u32::MAX).step_by(997).map(f32::from_bits).collect()
}

fn bound(name: Name) -> f64 {
    if name == Name::Sigmoid { 2.5 } else { 2.0 }
}

#[test]
fn single_precision_over_all_bit_patterns() {
    let patterns = single_patterns();
    for name in ALL {
        let x: Vec<f32> = patterns
            .iter()
            .copied()
            .filter(|x| inside(name, x.wide()))
            .collect();
        for isa in Isa::available() {
            let (error, at) = worst(isa, name, &x);
            println!("{name:?} f32 {isa}: {error:.3} units at {at:e}");
            assert!(error <= bound(name), "{name:?} {isa}: {error} at {at:e}");
        }
    }
}

/// The f64 range by bit patterns, and evenly where functions do what they do.
fn double_arguments() -> Vec<f64> {
    let patterns = (0..400_000).map(|i| f64::from_bits(i * (u64::MAX / 400_000)));
    let even = |low: f64, high: f64| {
        (0..200_000).map(move |i| low + (high - low) * f64::from(i) / 200_000.0)
    };
    patterns
        .chain(even(-745.2, 709.8))
        .chain(even(-7.0, 7.0))
        .chain(even(-1.3, 1.3))
        .chain(even(0.0, 3.0))
        .collect()
}

#[test]
fn double_precision_over_its_range() {
    let arguments = double_arguments();
    // The error function's series is not exact enough here; a test below has exact values.
    for name in ALL.into_iter().filter(|name| *name != Name::Erf) {
        let x: Vec<f64> = arguments
            .iter()
            .copied()
            .filter(|x| inside(name, *x))
            .collect();
        for isa in Isa::available() {
            let (error, at) = worst(isa, name, &x);
            println!("{name:?} f64 {isa}: {error:.3} units at {at:e}");
            assert!(error <= 3.0, "{name:?} {isa}: {error} at {at:e}");
        }
    }
}

/// Values of the error function computed with 60 digits.
const ERF: [(f64, f64); 29] = [
    (-5.5, -0.9999999999999927),
    (-2.25, -0.9985372834133188),
    (-0.999, -0.8422852702064969),
    (-1e-300, -1.1283791670955126e-300),
    (0.0, 0.0),
    (0.6229016948897019, 0.6216367267284811),
    (0.7417869892607294, 0.7058426937392543),
    (0.7951935655656966, 0.7392302022437143),
    (0.9424502837770503, 0.81741107989801),
    (0.7398985747399307, 0.7046118845405991),
    (0.922324996665417, 0.8078906734084397),
    (0.029005228283614737, 0.03271971933927421),
    (0.46562265437810535, 0.48977659759244807),
    (0.9433567169983137, 0.8178314908293038),
    (1.0, 0.8427007929497149),
    (1.0000000000000002, 0.842700792949715),
    (4.244872765684621, 0.9999999980648224),
    (5.504502458753113, 0.999999999999993),
    (1.5660298232657217, 0.973219379380712),
    (3.3453452389108187, 0.9999977661936734),
    (2.2328641630991517, 0.9984100640174423),
    (3.718804296179652, 0.9999998553035344),
    (1.065570947944511, 0.868175215275131),
    (2.0836490023192407, 0.9967884098855536),
    (2.3974118300555514, 0.9993022261005076),
    (4.828627258145708, 0.9999999999914319),
    (1e-9, 1.1283791670955127e-9),
    (5.9, 0.9999999999999999),
    (30.0, 1.0),
];

#[test]
fn error_function_in_double_precision() {
    for isa in Isa::available() {
        let x = ERF.map(|(x, _)| x);
        let found = applied(isa, Name::Erf, &x);
        for ((x, exact), found) in ERF.into_iter().zip(found) {
            let error = units(found, exact);
            assert!(error <= 3.0, "{isa} {x}: {found} is {error} units off");
        }
        // Everywhere else within what the series is good for.
        let x: Vec<f64> = double_arguments();
        let (error, at) = worst(isa, Name::Erf, &x);
        println!("Erf f64 {isa}: {error:.3} units of its series at {at:e}");
        assert!(error <= 12.0, "{isa}: {error} at {at:e}");
    }
}

/// What infinities, zeros of either sign and NaN give.
fn edges<T: Element>() {
    let edges = [f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, -1.0, f64::NAN];
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    let inverse = (-1f64).exp();
    let cases = [
        (Name::Exp, [inf, 0.0, 1.0, 1.0, inverse, nan]),
        (Name::ExpM1, [inf, -1.0, 0.0, -0.0, inverse - 1.0, nan]),
        (Name::Ln, [inf, nan, -inf, -inf, nan, nan]),
        (Name::Sqrt, [inf, nan, 0.0, -0.0, nan, nan]),
        (Name::Tanh, [1.0, -1.0, 0.0, -0.0, (-1f64).tanh(), nan]),
        (
            Name::Sigmoid,
            [1.0, 0.0, 0.5, 0.5, oracle(Name::Sigmoid, -1.0), nan],
        ),
        (Name::Erf, [1.0, -1.0, 0.0, -0.0, erf_f64(-1.0), nan]),
        (Name::Gaussian, [0.0, 0.0, 1.0, 1.0, inverse, nan]),
    ];
    for isa in Isa::available() {
        for (name, expected) in cases {
            let found = applied(isa, name, &edges.map(T::of));
            for ((x, expected), found) in edges.into_iter().zip(expected).zip(found) {
                let error = units(found, expected);
                assert!(error <= 2.0, "{name:?}({x}) {isa}: {found:?}");
                // A zero keeps its sign.
                if expected == 0.0 && x == 0.0 {
                    let same = found.is_sign_negative() == expected.is_sign_negative();
                    assert!(same, "{name:?}({x}) {isa}: {found:?}");
                }
            }
        }
    }
}

#[test]
fn edges_f32() {
    edges::<f32>();
}

#[test]
fn edges_f64() {
    edges::<f64>();
}

#[test]
fn exponents_of_normal_numbers() {
    for isa in Isa::available() {
        for power in -126..=127 {
            let least = 2f32.powi(power);
            let most = f32::from_bits(least.to_bits() + 0x7f_ffff);
            let found = applied(isa, Name::Exponent, &[least, most]);
            assert_eq!(found, [power as f32; 2], "{isa}");
        }
        for power in -1022..=1023 {
            let least = 2f64.powi(power);
            let most = f64::from_bits(least.to_bits() + 0xf_ffff_ffff_ffff);
            let found = applied(isa, Name::Exponent, &[least, most]);
            assert_eq!(found, [f64::from(power); 2], "{isa}");
        }
    }
}

/// The measure of error sees one unit, NaN and a wrong sign.
#[test]
fn the_measure_sees_what_is_wrong() {
    let next = |x: f32| f32::from_bits(x.to_bits() + 1);
    assert_eq!(units(1f32, 1.0), 0.0);
    assert_eq!(units(next(1.0), 1.0), 1.0);
    assert_eq!(units(f32::from_bits(3), f64::from(f32::from_bits(1))), 2.0);
    assert!(units(f32::NAN, 1.0) > 1e9 && units(1f32, f64::NAN) > 1e9);
    assert!(units(-1f32, 1.0) > 1e6 && units(f32::INFINITY, 1.0) > 1e9);
}
