//! Commands that go element by element: functions, polynomials, sums, products and quotients.

use furthermore::Error;
use furthermore::device::RunOptions;
use furthermore::network::Function;
use furthermore::plan::Kernel;
use furthermore::scheme::Guard;
use furthermore_kernels_cpu::elementwise::Broadcast;
use furthermore_kernels_cpu::function_map::Saved;

use super::Parity;
use super::bounds::Precision;
use super::formulas::{derivative, domain, value};
use super::noise::Noise;
use super::rig::{OPTIONS, Rig, Tensor};

const LEN: usize = 37;

/// Arguments where the function is defined and varies.
fn arguments(function: Function, noise: &mut Noise) -> Vec<f64> {
    let (least, both_signs) = domain(function);
    if both_signs {
        noise.either_sign(LEN, least, 1.5)
    } else {
        noise.numbers(LEN, least, 1.5)
    }
}

/// What a function's values and slopes of up to 10 may be off by: an argument's rounding times the
/// slope, and the function's own roundings.
fn function_bound(function: Function) -> (usize, f64) {
    match function {
        Function::Ln | Function::Inverse | Function::Sqrt => (16, 150.0),
        _ => (16, 6.0),
    }
}

pub(super) fn function_map(parity: &Parity) {
    parity.everywhere(211, |rig, noise| {
        for function in Function::ALL {
            for &encrypted in rig.ways() {
                let x = &[rig.tensor(encrypted, || arguments(function, noise))];
                let kernel = Kernel::FunctionMap { function };
                let map = |x: &[f64]| vec![x.iter().map(|x| value(function, *x)).collect()];
                let y = rig.poisoned(encrypted, LEN);
                let bound = function_bound(function);
                rig.check(&kernel, x, &[y], bound, |read, _| map(read[0]));
                rig.check(&kernel, &[], x, bound, |_, found| map(found[0]));
            }
        }
    });
}

pub(super) fn function_map_gradient(parity: &Parity) {
    parity.everywhere(212, |rig, noise| {
        for function in Function::ALL {
            for &encrypted in rig.ways() {
                let of_value = function.saved() == Saved::Output;
                let saved = rig.tensor(encrypted, || {
                    let mut x = arguments(function, noise);
                    if of_value {
                        x.iter_mut().for_each(|x| *x = value(function, *x));
                    }
                    x
                });
                let g = rig.tensor(encrypted, || noise.numbers(LEN, -1.0, 1.0));
                let kernel = Kernel::FunctionMapGradient { function };
                let bound = function_bound(function);
                rig.check(&kernel, &[saved], &[g], bound, |read, found| {
                    let slope = |x: f64| match function {
                        // In terms of their values.
                        Function::Exp => x,
                        Function::Sqrt => 0.5 / x,
                        Function::Inverse => -x * x,
                        Function::Sigmoid => x * (1.0 - x),
                        Function::Tanh => 1.0 - x * x,
                        _ => derivative(function, x),
                    };
                    let pairs = read[0].iter().zip(found[0]);
                    vec![pairs.map(|(x, g)| slope(*x) * g).collect()]
                });
            }
        }
    });
}

/// `sum c_k x^k`, or with `derive` its derivative.
fn polynomial(c: &[f64], x: f64, derive: bool) -> f64 {
    let term = |(k, c): (usize, &f64)| match (derive, k) {
        (false, _) => c * x.powi(k as i32),
        (true, 0) => 0.0,
        (true, _) => k as f64 * c * x.powi(k as i32 - 1),
    };
    c.iter().enumerate().map(term).sum()
}

/// Elements and coefficients: few, more than a workgroup or a register block has, a constant.
const POLYNOMIALS: [(usize, usize); 3] = [(LEN, 6), (1100, 20), (LEN, 1)];

/// Coefficients known, plain and encrypted, with arguments of either kind.
pub(super) fn poly_map_and_its_gradient(parity: &Parity) {
    parity.everywhere(213, |rig, noise| {
        let pairs = rig.pairs().iter();
        for (&(x_encrypted, c_encrypted), (len, terms)) in
            pairs.flat_map(|pair| POLYNOMIALS.map(|sizes| (pair, sizes)))
        {
            let x = rig.tensor(x_encrypted, || noise.numbers(len, -1.0, 1.0));
            let c = rig.tensor(c_encrypted, || noise.numbers(terms, -1.0, 1.0));
            let either = x_encrypted || c_encrypted;
            let (y, of_tensor) = (rig.poisoned(either, len), None);
            let g = rig.tensor(either, || noise.numbers(len, -1.0, 1.0));
            // Each power's slope adds up to at most 1 + 2 + .. of the coefficients.
            let bound = (4 * terms, (terms * terms) as f64);
            let value = |c: &[f64], x: &[f64]| -> Vec<Vec<f64>> {
                vec![x.iter().map(|x| polynomial(c, *x, false)).collect()]
            };
            let slope = |c: &[f64], x: &[f64], g: &[f64]| -> Vec<Vec<f64>> {
                let pairs = x.iter().zip(g);
                vec![pairs.map(|(x, g)| polynomial(c, *x, true) * g).collect()]
            };
            let reads = [x, c];
            let kernel = Kernel::PolyMap {
                constants: of_tensor.clone(),
            };
            rig.check(&kernel, &reads, &[y], bound, |r, _| value(r[1], r[0]));
            let kernel = Kernel::PolyMapGradient {
                constants: of_tensor,
            };
            let steps = |r: &[&[f64]], found: &[&[f64]]| slope(r[1], r[0], found[0]);
            rig.check(&kernel, &reads, &[g], bound, steps);

            let x = &reads[..1];
            let constants = noise.numbers(terms, -1.0, 1.0);
            let kernel = Kernel::PolyMap {
                constants: Some(constants.clone()),
            };
            let y = rig.poisoned(x_encrypted, len);
            let known = |r: &[&[f64]], _: &[&[f64]]| value(&constants, r[0]);
            rig.check(&kernel, x, &[y], bound, known);
            let kernel = Kernel::PolyMapGradient {
                constants: Some(constants.clone()),
            };
            let g = rig.tensor(x_encrypted, || noise.numbers(len, -1.0, 1.0));
            rig.check(&kernel, x, &[g], bound, |r, found| {
                slope(&constants, r[0], found[0])
            });
        }
    });
}

/// A constant that the element type does not hold is refused.
pub(super) fn poly_map_of_a_constant_too_large(parity: &Parity) {
    let kernel = Kernel::PolyMap {
        constants: Some(vec![1.0, 1e300]),
    };
    parity.everywhere(215, |rig, _| {
        if rig.precision != Precision::F32 {
            return;
        }
        let x = [rig.tensor(false, || vec![0.5])];
        rig.judge(&kernel, "a constant too large", |device| {
            match rig.run_tensors(device, &kernel, &x, &x, &OPTIONS) {
                Err(error) if error.to_string().contains("coefficients") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    });
}

pub(super) fn poly_map_coefficient_gradient(parity: &Parity) {
    parity.everywhere(214, |rig, noise| {
        let pairs = rig.pairs().iter();
        // The last are many enough to be summed in chunks.
        let sizes = [(LEN, 6), (1100, 20), (9000, 5), (0, 2)];
        for (&(g_encrypted, x_encrypted), (len, terms)) in
            pairs.flat_map(|pair| sizes.map(|sizes| (pair, sizes)))
        {
            let g = rig.tensor(g_encrypted, || noise.numbers(len, -1.0, 1.0));
            let x = rig.tensor(x_encrypted, || noise.numbers(len, -1.0, 1.0));
            let c = rig.poisoned(g_encrypted || x_encrypted, terms);
            let kernel = Kernel::PolyMapCoefficientGradient;
            // A number is rounded where it is added: 16 times in an invocation, 8 in a workgroup,
            // as often again for chunks. On the processor sums go on in double precision.
            let bound = (32 + 2 * terms, len as f64);
            rig.check(&kernel, &[g, x], &[c], bound, |read, _| {
                let of = |k: i32| {
                    let pairs = read[0].iter().zip(read[1]);
                    pairs.map(|(g, x)| g * x.powi(k)).sum()
                };
                vec![(0..terms as i32).map(of).collect()]
            });
        }
    });
}

/// Shapes that meet: alike, a row, a column, both, a number, nothing, as many axes as there can be,
/// more elements than a workgroup has.
const SHAPES: [(&[usize], &[usize]); 9] = [
    (&[5, 7], &[5, 7]),
    (&[5, 7], &[7]),
    (&[5, 7], &[5, 1]),
    (&[5, 1], &[1, 7]),
    (&[1], &[2, 3, 4]),
    (&[2, 3, 4], &[3, 1]),
    (&[0, 3], &[3]),
    (&[2, 1, 3, 1, 2, 1], &[2, 1, 3, 1, 2]),
    (&[3, 1, 120], &[2, 1]),
];

/// The elements of a and b that meet at each element of the output, by numpy's rules.
fn meetings(a: &[usize], b: &[usize]) -> Vec<(usize, usize)> {
    let axes = a.len().max(b.len());
    let padded = |shape: &[usize]| {
        let ones = vec![1; axes - shape.len()];
        [&ones[..], shape].concat()
    };
    let (a, b) = (padded(a), padded(b));
    let sizes: Vec<usize> = a
        .iter()
        .zip(&b)
        .map(|(&a, &b)| if a == 1 { b } else { a })
        .collect();
    let mut met = Vec::new();
    for i in 0..sizes.iter().product() {
        let (mut rest, mut x, mut y, mut x_step, mut y_step) = (i, 0, 0, 1, 1);
        for axis in (0..axes).rev() {
            let place = rest % sizes[axis];
            rest /= sizes[axis];
            x += x_step * if a[axis] == 1 { 0 } else { place };
            y += y_step * if b[axis] == 1 { 0 } else { place };
            x_step *= a[axis];
            y_step *= b[axis];
        }
        met.push((x, y));
    }
    met
}

/// A kernel of two operands that broadcast, in every shape and way to encrypt.
fn elementwise(
    rig: &Rig<'_>,
    noise: &mut Noise,
    kernel: impl Fn(Broadcast) -> Kernel,
    bound: (usize, f64),
    of: impl Fn(f64, f64) -> f64,
) {
    for (a_shape, b_shape) in SHAPES {
        let broadcast = Broadcast::new(a_shape, b_shape).expect("shapes that meet");
        let met = meetings(a_shape, b_shape);
        for &(a_encrypted, b_encrypted) in rig.pairs() {
            let mut draw = |shape: &[usize], encrypted| {
                let len = shape.iter().product();
                rig.tensor(encrypted, || noise.either_sign(len, 0.5, 1.5))
            };
            let (a, b) = (draw(a_shape, a_encrypted), draw(b_shape, b_encrypted));
            let c = rig.poisoned(a_encrypted || b_encrypted, met.len());
            rig.check(&kernel(broadcast), &[a, b], &[c], bound, |read, _| {
                vec![
                    met.iter()
                        .map(|&(x, y)| of(read[0][x], read[1][y]))
                        .collect(),
                ]
            });
        }
    }
}

pub(super) fn linear(parity: &Parity) {
    let (alpha, beta) = (0.75, -1.5);
    parity.everywhere(215, |rig, noise| {
        let kernel = |broadcast| Kernel::Linear {
            broadcast,
            alpha,
            beta,
        };
        elementwise(rig, noise, kernel, (8, 4.0), |a, b| alpha * a + beta * b);
    });
}

pub(super) fn multiply(parity: &Parity) {
    parity.everywhere(216, |rig, noise| {
        let kernel = |broadcast| Kernel::Multiply { broadcast };
        // Either factor's coordinates may be the amplification times its slots.
        elementwise(rig, noise, kernel, (24, 10.0), |a, b| a * b);
    });
}

pub(super) fn divide(parity: &Parity) {
    parity.everywhere(217, |rig, noise| {
        let kernel = |broadcast| Kernel::Divide { broadcast };
        // A divisor's error is its reciprocal squared times as large in the quotient.
        elementwise(rig, noise, kernel, (12, 12.0), |a, b| a / b);
    });
}

/// What the guard is told of: quotients, arguments of polynomials, their incoming gradients; and a
/// divisor of zero, or an infinite one that leaves a quotient of zero.
pub(super) fn what_the_guard_sees(parity: &Parity) {
    const LEN: usize = 300;
    parity.everywhere(219, |rig, _| {
        // Half precision has too few digits for slots so far apart.
        if rig.arithmetic.slots() != 2 || rig.precision != Precision::F32 {
            return;
        }
        let tensor = |slots: [f64; 2]| {
            let mut slots = slots.into_iter();
            rig.tensor(true, || vec![slots.next().expect("two slots"); LEN])
        };
        let (alike, apart) = (tensor([2.0, 3.0]), tensor([1.0, 100.0]));
        let plain = |x: f64| rig.tensor(false, || vec![x; LEN]);
        let broadcast = Broadcast::same(LEN);
        let divide = Kernel::Divide { broadcast };
        let constants = Some(vec![0.0, 1.0, 0.5]);
        let map = Kernel::PolyMap {
            constants: constants.clone(),
        };
        let slope = Kernel::PolyMapGradient { constants };
        let blank = rig.poisoned(true, LEN);
        let limit = 50.0;
        let guard = Guard {
            warn: f64::INFINITY,
            fail: limit,
        };
        let options = RunOptions { guard, ..OPTIONS };
        let cases: [(&Kernel, Vec<Tensor>, &Tensor, bool); 7] = [
            (&divide, vec![alike.clone(), alike.clone()], &blank, true),
            (&divide, vec![apart.clone(), apart.clone()], &blank, true),
            (&map, vec![alike.clone()], &blank, true),
            (&slope, vec![apart.clone()], &alike, true),
            (&divide, vec![apart.clone(), alike.clone()], &blank, false),
            (&map, vec![apart.clone()], &blank, false),
            (&slope, vec![alike.clone()], &apart, false),
        ];
        for (kernel, reads, write, passes) in cases {
            let write = [write.clone()];
            rig.judge(kernel, "slots apart", |device| {
                match rig.run_tensors(device, kernel, &reads, &write, &options) {
                    Ok(_) if passes => Ok(()),
                    Err(Error::MaskGuard { ratio, .. }) if !passes && ratio > limit => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            });
        }
        for divisor in [0.0, f64::INFINITY] {
            let (reads, write) = ([alike.clone(), plain(divisor)], [blank.clone()]);
            rig.judge(&divide, "by a number that leaves none", |device| match rig
                .run_tensors(device, &divide, &reads, &write, &options)
            {
                Err(Error::RunNotFinite { .. }) => Ok(()),
                other => Err(format!("{divisor}: {other:?}")),
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A broadcast's axes say which elements meet, to whoever computes on them elsewhere.
    #[test]
    fn axes_of_a_broadcast() {
        for (a, b) in SHAPES {
            let broadcast = Broadcast::new(a, b).expect("shapes that meet");
            let lens: [usize; 2] = [a, b].map(|shape| shape.iter().product());
            assert_eq!([broadcast.a_len(), broadcast.b_len()], lens);
            let meeting = |i: usize| {
                let (mut rest, mut met) = (i, (0, 0));
                for axis in broadcast.axes() {
                    let place = rest % axis.size;
                    rest /= axis.size;
                    met = (met.0 + place * axis.a, met.1 + place * axis.b);
                }
                met
            };
            let met: Vec<(usize, usize)> = (0..broadcast.len()).map(meeting).collect();
            assert_eq!(met, meetings(a, b), "{a:?} {b:?}");
        }
    }
}
