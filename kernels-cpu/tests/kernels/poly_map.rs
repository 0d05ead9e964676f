//! Polynomials and their gradients against Horner's rule on matrices `S diag(slots) S^-1` in f64.

use crate::support::{
    Algebra, Guarded, Kind, LENGTHS, Noise, Operand, Tolerance, compare, each_element, execs_for,
    formed, joined, same_bits, single,
};
use furthermore_kernels_cpu::poly_map::{
    Coefficients, MAX_TERMS, poly_map, poly_map_coefficient_gradient, poly_map_gradient,
};
use furthermore_kernels_cpu::reduce::slot_maxima;
use furthermore_kernels_cpu::{Element, Exec, Isa};

fn algebras(len: usize) -> Vec<Algebra> {
    if len < 2000 {
        Algebra::all()
    } else {
        vec![
            Algebra::real(),
            Algebra::compact2([0.75, -0.5]),
            Algebra::compact(3),
        ]
    }
}

/// Numbers of coefficients to try at that length: few on long tensors, all sorts at one length.
fn terms(len: usize, noise: &mut Noise) -> Vec<usize> {
    match len {
        17 => vec![1, 2, 3, 4, 9, 33, MAX_TERMS],
        ..2000 => vec![noise.pick(&[1, 2, 3]), noise.pick(&[4, 5, 8, 17])],
        _ => vec![4],
    }
}

/// An element of the oracle: an n x n matrix, row-major.
type Matrix = Vec<f64>;

/// A reflection that mixes every slot into every corner. It is its own inverse, and lengthens nothing.
fn reflection(n: usize) -> Matrix {
    let v = |i: usize| (i + 1) as f64;
    let square: f64 = (0..n).map(|i| v(i) * v(i)).sum();
    (0..n * n)
        .map(|at| {
            let (i, j) = (at / n, at % n);
            f64::from(u8::from(i == j)) - 2.0 * v(i) * v(j) / square
        })
        .collect()
}

fn product(a: &[f64], b: &[f64], n: usize) -> Matrix {
    (0..n * n)
        .map(|at| (0..n).map(|p| a[at / n * n + p] * b[p * n + at % n]).sum())
        .collect()
}

fn add(a: &mut [f64], b: &[f64]) {
    a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
}

/// The oracle's own encryption and decryption.
struct Oracle {
    n: usize,
    s: Matrix,
}

impl Oracle {
    fn new(n: usize) -> Self {
        let s = reflection(n);
        Self { n, s }
    }

    fn encrypt(&self, slots: &[f64]) -> Matrix {
        let n = self.n;
        let scaled: Matrix = (0..n * n).map(|at| self.s[at] * slots[at % n]).collect();
        product(&scaled, &self.s, n)
    }

    fn decrypt(&self, c: &[f64]) -> Vec<f64> {
        let n = self.n;
        let c = product(&product(&self.s, c, n), &self.s, n);
        (0..n).map(|i| c[i * n + i]).collect()
    }

    fn horner(&self, coefficients: &[Matrix], x: &[f64]) -> Matrix {
        let mut powers = coefficients.iter().rev();
        let mut y = powers.next().expect("there is a coefficient").clone();
        for c in powers {
            y = product(&y, x, self.n);
            add(&mut y, c);
        }
        y
    }

    /// How far matrices in f64 are off after that many products of numbers of these sizes.
    fn error(&self, products: usize, size: f64) -> f64 {
        let roundings = (products + 6) * (self.n + 2);
        roundings as f64 * self.n as f64 * f64::EPSILON * size
    }
}

/// Coefficients as a test has them: what they are and how far the kernel's may be off.
struct Polynomial<T> {
    constants: Option<Vec<f64>>,
    tensor: Operand<T>,
    /// `[power][slot]`.
    slots: Vec<Vec<f64>>,
    errors: Vec<Vec<f64>>,
}

/// Where coefficients come from.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Source {
    Constant,
    Tensor(Kind),
}

fn sources(algebra: &Algebra) -> Vec<Source> {
    let tensors = algebra.kinds().iter().map(|&kind| Source::Tensor(kind));
    [Source::Constant].into_iter().chain(tensors).collect()
}

/// Slots of an operand's element within the errors of a kernel that forms them; a plaintext is exact.
fn reach<T: Element>(algebra: &Algebra, operand: &Operand<T>, e: usize) -> (Vec<f64>, Vec<f64>) {
    if operand.kind == Kind::Plain {
        let slots = operand.element(e, algebra.slots);
        let errors = vec![0.0; slots.len()];
        (slots, errors)
    } else {
        formed(algebra, operand, e)
    }
}

impl<T: Element> Polynomial<T> {
    fn drawn(algebra: &Algebra, source: Source, terms: usize, noise: &mut Noise) -> Self {
        let kind = match source {
            Source::Constant => Kind::Plain,
            Source::Tensor(kind) => kind,
        };
        let tensor = Operand::<T>::drawn(algebra, kind, || noise.slots(terms, -1.0, 1.0));
        // Constants need not be numbers of T.
        let constants = (source == Source::Constant).then(|| noise.slots(terms, -1.0, 1.0));
        let one = Tolerance::roundings::<T>(1);
        let (slots, errors) = (0..terms)
            .map(|p| match &constants {
                Some(c) => (
                    vec![c[p]; algebra.slots],
                    vec![one.of(c[p].abs()); algebra.slots],
                ),
                None => {
                    let (slots, mut errors) = reach(algebra, &tensor, p);
                    for (slot, error) in slots.iter().zip(&mut errors) {
                        *error += one.of(slot.abs() + *error);
                    }
                    (slots, errors)
                }
            })
            .unzip();
        Self {
            constants,
            tensor,
            slots,
            errors,
        }
    }

    fn coefficients(&self) -> Coefficients<'_, T> {
        match &self.constants {
            Some(constants) => Coefficients::Constant(constants),
            None => Coefficients::Tensor(self.tensor.view()),
        }
    }

    /// `sum_p w(p) (|c_p| + error) a^(p - shift)` of a slot: the size of what is added up in the
    /// polynomial's derivatives.
    fn size(&self, slot: usize, a: f64, shift: usize) -> f64 {
        let terms = self.slots.iter().zip(&self.errors).enumerate();
        terms
            .skip(shift)
            .map(|(p, (c, e))| {
                let weight: f64 = (0..shift).map(|i| (p - i) as f64).product();
                weight * (c[slot].abs() + e[slot]) * a.powi((p - shift) as i32)
            })
            .sum()
    }

    /// What the coefficients' own errors do to the value or the derivative.
    fn shown(&self, slot: usize, a: f64, shift: usize) -> f64 {
        let terms = self.errors.iter().enumerate().skip(shift);
        terms
            .map(|(p, e)| {
                let weight = if shift == 0 { 1.0 } else { p as f64 };
                weight * e[slot] * a.powi((p - shift) as i32)
            })
            .sum()
    }

    /// Slots of `p(x)`, or with a shift of one of `p'(x)`, as a matrix, and each slot's error bound.
    fn at(&self, oracle: &Oracle, shift: usize, x: &[f64], x_errors: &[f64]) -> (Matrix, Vec<f64>) {
        let n = oracle.n;
        let mut coefficients: Vec<Matrix> = (self.slots.iter().enumerate().skip(shift))
            .map(|(p, c)| {
                let weight = if shift == 0 { 1.0 } else { p as f64 };
                oracle.encrypt(&c.iter().map(|c| weight * c).collect::<Vec<_>>())
            })
            .collect();
        if coefficients.is_empty() {
            coefficients.push(vec![0.0; n * n]);
        }
        let value = oracle.horner(&coefficients, &oracle.encrypt(x));
        let most = (0..n).map(|k| x[k].abs()).fold(0.0, f64::max);
        let matrices = (0..n).map(|k| self.size(k, most, shift)).sum();
        let by_oracle = oracle.error(self.slots.len(), matrices);
        let rounded = Tolerance::roundings::<T>(2 * self.slots.len() + 1);
        let bounds = (0..n)
            .map(|k| {
                let a = x[k].abs() + x_errors[k];
                self.size(k, a, shift + 1) * x_errors[k]
                    + self.shown(k, a, shift)
                    + rounded.of(self.size(k, a, shift))
                    + by_oracle
            })
            .collect();
        (value, bounds)
    }
}

/// The bounds of slots once they were joined and decrypted again.
fn once_joined<T: Element>(form: &Algebra, values: &[f64], errors: &[f64]) -> Vec<f64> {
    let reached: Vec<f64> = values
        .iter()
        .zip(errors)
        .map(|(v, e)| v.abs() + e)
        .collect();
    let bounds = joined::<T>(form, &reached);
    bounds.iter().zip(errors).map(|(b, e)| b + e).collect()
}

/// Runs `body` for every algebra, length, kind of coefficients and argument, and number of terms.
fn everywhere<T: Element>(
    seed: u64,
    mut body: impl FnMut(&Algebra, &Polynomial<T>, &Operand<T>, &mut Noise, &str),
) {
    let mut noise = Noise::new(seed);
    for len in LENGTHS {
        for algebra in algebras(len) {
            for source in sources(&algebra) {
                for &kind in algebra.kinds() {
                    for terms in terms(len, &mut noise) {
                        let polynomial = Polynomial::drawn(&algebra, source, terms, &mut noise);
                        let x = Operand::drawn(&algebra, kind, || noise.slots(len, -1.05, 1.05));
                        let (name, element) = (&algebra.name, T::NAME);
                        let context =
                            format!("{name} {element} {source:?} {kind:?} {len} {terms} terms");
                        body(&algebra, &polynomial, &x, &mut noise, &context);
                    }
                }
            }
        }
    }
}

fn values<T: Element>() {
    everywhere::<T>(1, |algebra, polynomial, x, _, context| {
        let kind = polynomial.tensor.kind.and(x.kind);
        let (form, len) = (algebra.of_kind(kind), x.slots[0].len());
        let oracle = Oracle::new(form.slots);
        let (expected, bounds) = each_element(form.slots, len, |e| {
            let (slots, errors) = reach(&form, x, e);
            let (value, bounds) = polynomial.at(&oracle, 0, &slots, &errors);
            let value = oracle.decrypt(&value);
            let bounds = once_joined::<T>(&form, &value, &bounds);
            (value, bounds)
        });
        for exec in execs_for(len) {
            let mut y = Guarded::poisoned(form.dim, len, 7);
            let seen = poly_map(
                &exec,
                &algebra.arithmetic,
                polynomial.coefficients(),
                x.view(),
                &mut y.view_mut(),
            )
            .expect("the operands fit");
            y.intact()
                .unwrap_or_else(|e| panic!("{context} {exec:?}: {e}"));
            let found = form.decrypt_planes(&y.planes());
            compare(&expected, &found, &bounds)
                .unwrap_or_else(|e| panic!("{context} {exec:?}: {e}"));
            let alone = slot_maxima(&exec, &algebra.arithmetic, x.view());
            assert_eq!(seen, alone.expect("it fits"), "{context} {exec:?}");
        }
    });
}

#[test]
fn values_f32() {
    values::<f32>();
}

#[test]
fn values_f64() {
    values::<f64>();
}

fn gradients<T: Element>() {
    everywhere::<T>(2, |algebra, polynomial, x, noise, context| {
        let len = x.slots[0].len();
        for &kind in algebra.kinds() {
            // What comes back has the planes of the value, or is encrypted where that is not.
            if polynomial.tensor.kind.and(x.kind).and(kind) != kind {
                continue;
            }
            let form = algebra.of_kind(kind);
            let g = Operand::<T>::drawn(algebra, kind, || noise.slots(len, -1.0, 1.0));
            let oracle = Oracle::new(form.slots);
            let rounded = Tolerance::roundings::<T>(1);
            let (expected, bounds) = each_element(form.slots, len, |e| {
                let (slots, errors) = reach(&form, x, e);
                let (slope, slope_errors) = polynomial.at(&oracle, 1, &slots, &errors);
                let (g, g_errors) = reach(&form, &g, e);
                let value = product(&slope, &oracle.encrypt(&g), oracle.n);
                let (value, slopes) = (oracle.decrypt(&value), oracle.decrypt(&slope));
                let largest = g.iter().fold(0.0f64, |a, b| a.max(b.abs()));
                let steepest: f64 = slopes.iter().map(|s| s.abs()).sum();
                let errors: Vec<f64> = (0..form.slots)
                    .map(|k| {
                        let reached = g[k].abs() + g_errors[k];
                        slope_errors[k] * reached
                            + slopes[k].abs() * g_errors[k]
                            + rounded.of((slopes[k].abs() + slope_errors[k]) * reached)
                            + oracle.error(1, steepest * largest)
                    })
                    .collect();
                let bounds = once_joined::<T>(&form, &value, &errors);
                (value, bounds)
            });
            for exec in execs_for(len) {
                let mut gradient = g.buffer.clone();
                let seen = poly_map_gradient(
                    &exec,
                    &algebra.arithmetic,
                    polynomial.coefficients(),
                    x.view(),
                    &mut gradient.view_mut(),
                )
                .expect("the operands fit");
                gradient
                    .intact()
                    .unwrap_or_else(|e| panic!("{context} {exec:?}: {e}"));
                let found = form.decrypt_planes(&gradient.planes());
                compare(&expected, &found, &bounds)
                    .unwrap_or_else(|e| panic!("{context} {exec:?}: {e}"));
                let alone = slot_maxima(&exec, &algebra.arithmetic, g.view());
                assert_eq!(seen, alone.expect("it fits"), "{context} {exec:?}");
            }
        }
    });
}

#[test]
fn gradients_f32() {
    gradients::<f32>();
}

#[test]
fn gradients_f64() {
    gradients::<f64>();
}

/// `sum_e g x^k` on matrices: `[slot][power]`, and bounds.
fn moments<T: Element>(
    form: &Algebra,
    g: &Operand<T>,
    x: &Operand<T>,
    terms: usize,
) -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
    let (n, len) = (form.slots, x.slots[0].len());
    let oracle = Oracle::new(n);
    let mut sums = vec![vec![0.0; n * n]; terms];
    let mut errors = vec![vec![0.0; n]; terms];
    for e in 0..len {
        let (x, x_errors) = reach(form, x, e);
        let (g, g_errors) = reach(form, g, e);
        let matrix = oracle.encrypt(&x);
        let mut power = oracle.encrypt(&g);
        let most = x.iter().fold(0.0f64, |a, b| a.max(b.abs()));
        let largest: f64 = g.iter().map(|g| g.abs()).sum();
        for p in 0..terms {
            add(&mut sums[p], &power);
            power = product(&power, &matrix, n);
            for k in 0..n {
                let (a, reached) = (x[k].abs() + x_errors[k], g[k].abs() + g_errors[k]);
                // A product for each power; a block adds 64 groups of eight, and a few sums follow.
                let rounded = Tolerance::roundings::<T>(p + 80).of(reached * a.powi(p as i32));
                let slope = p as f64 * a.powi(p.saturating_sub(1) as i32);
                errors[p][k] += rounded
                    + reached * slope * x_errors[k]
                    + g_errors[k] * a.powi(p as i32)
                    // The oracle adds all elements one by one.
                    + oracle.error(p + len, largest * most.powi(p as i32));
            }
        }
    }
    each_element(n, terms, |p| {
        let value = oracle.decrypt(&sums[p]);
        let bounds = once_joined::<T>(form, &value, &errors[p]);
        (value, bounds)
    })
}

fn coefficient_gradients<T: Element>() {
    let mut noise = Noise::new(3);
    let mut worst = 0.0f64;
    for len in LENGTHS {
        for algebra in algebras(len) {
            for &x_kind in algebra.kinds() {
                for &g_kind in algebra.kinds() {
                    for terms in terms(len, &mut noise) {
                        let form = algebra.of_kind(x_kind.and(g_kind));
                        let x =
                            Operand::<T>::drawn(&algebra, x_kind, || noise.slots(len, -1.05, 1.05));
                        let g =
                            Operand::<T>::drawn(&algebra, g_kind, || noise.slots(len, -1.0, 1.0));
                        let (expected, bounds) = moments(&form, &g, &x, terms);
                        for exec in execs_for(len) {
                            let run = || {
                                let mut sums = Guarded::poisoned(form.dim, terms, 3);
                                poly_map_coefficient_gradient(
                                    &exec,
                                    &algebra.arithmetic,
                                    g.view(),
                                    x.view(),
                                    &mut sums.view_mut(),
                                )
                                .expect("the operands fit");
                                sums
                            };
                            let context = || {
                                let (name, element) = (&algebra.name, T::NAME);
                                format!(
                                    "{name} {element} g {g_kind:?} x {x_kind:?} {len} {terms} {exec:?}"
                                )
                            };
                            let sums = run();
                            sums.intact()
                                .unwrap_or_else(|e| panic!("{}: {e}", context()));
                            let found = form.decrypt_planes(&sums.planes());
                            let share = compare(&expected, &found, &bounds)
                                .unwrap_or_else(|e| panic!("{}: {e}", context()));
                            worst = worst.max(share);
                            let again = run();
                            for (a, b) in sums.planes().into_iter().zip(again.planes()) {
                                assert!(same_bits(a, b), "other bits: {}", context());
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(worst < 1.0 && worst > 1e-3, "bounds say something: {worst}");
}

#[test]
fn coefficient_gradients_f32() {
    coefficient_gradients::<f32>();
}

#[test]
fn coefficient_gradients_f64() {
    coefficient_gradients::<f64>();
}

/// A slice of f64 and a plaintext tensor of the same numbers are the same polynomial, to the bit, and
/// so is every cut into pieces.
#[test]
fn same_bits_for_any_cut_and_source() {
    let compact = Algebra::compact2([0.75, -0.5]);
    let mut noise = Noise::new(4);
    let len = 40_001;
    let x = Operand::<f32>::drawn(&compact, Kind::Cipher, || noise.slots(len, -1.0, 1.0));
    let c = Operand::<f32>::drawn(&compact, Kind::Plain, || noise.slots(6, -1.0, 1.0));
    for isa in Isa::available() {
        let run = |threads, coefficients| {
            let mut y = Guarded::poisoned(2, len, 1);
            poly_map(
                &Exec { isa, threads },
                &compact.arithmetic,
                coefficients,
                x.view(),
                &mut y.view_mut(),
            )
            .expect("the operands fit");
            y.planes().concat()
        };
        let one = run(1, Coefficients::Constant(&c.slots[0]));
        for threads in [1, 2, 3, 5, 64] {
            let other = run(threads, Coefficients::Tensor(c.view()));
            assert!(same_bits(&one, &other), "{isa} {threads}");
        }
    }
}

/// Where the argument's slots agree and the coefficients are plain, the result is a multiple of one
/// exactly.
#[test]
fn equal_slots_stay_equal() {
    let compact = Algebra::compact2([0.75, -0.5]);
    let values = [-2.0f32, -0.3, 0.0, 0.7, 5.0];
    let x = Guarded::filled(&[values.to_vec(), vec![0.0; 5]], 1);
    for exec in single() {
        let mut y = Guarded::poisoned(2, 5, 1);
        poly_map(
            &exec,
            &compact.arithmetic,
            Coefficients::Constant(&[0.1, -0.7, 0.3, 1.1]),
            x.view(),
            &mut y.view_mut(),
        )
        .expect("the operands fit");
        assert_eq!(y.planes()[1], [0.0; 5], "{exec:?}");
    }
}

/// A constant is that constant whatever the argument, and its derivative is zero; what is not finite
/// in the argument is reported all the same.
#[test]
fn degree_zero() {
    let real = Algebra::real();
    let x = [1.0f64, f64::NAN, -3.0];
    for exec in single() {
        let mut y = Guarded::poisoned(1, 3, 0);
        let constant = Coefficients::Constant(&[2.5]);
        let view = furthermore_kernels_cpu::Planes::plain(&x);
        let seen = poly_map(&exec, &real.arithmetic, constant, view, &mut y.view_mut());
        assert!(!seen.expect("it fits").finite(), "{exec:?}");
        assert_eq!(y.planes()[0], [2.5; 3], "{exec:?}");
        let seen = poly_map_gradient(&exec, &real.arithmetic, constant, view, &mut y.view_mut());
        assert!(seen.expect("it fits").finite(), "{exec:?}");
        assert_eq!(y.planes()[0], [0.0; 3], "{exec:?}");
    }
}

/// The comparison is no formality: one coefficient or one result a little off is refused.
#[test]
fn corruption_is_found() {
    let mut noise = Noise::new(5);
    for algebra in Algebra::all() {
        let kind = algebra.kinds()[algebra.kinds().len() - 1];
        let len = 19;
        let polynomial = Polynomial::<f32>::drawn(&algebra, Source::Tensor(kind), 5, &mut noise);
        let x = Operand::drawn(&algebra, kind, || noise.away_from_zero(len, 0.5));
        let oracle = Oracle::new(algebra.slots);
        let (expected, bounds) = each_element(algebra.slots, len, |e| {
            let (slots, errors) = reach(&algebra, &x, e);
            let (value, bounds) = polynomial.at(&oracle, 0, &slots, &errors);
            let value = oracle.decrypt(&value);
            let bounds = once_joined::<f32>(&algebra, &value, &bounds);
            (value, bounds)
        });
        for exec in single() {
            let run = |c: &Operand<f32>| {
                let mut y = Guarded::poisoned(algebra.dim, len, 0);
                let c = Coefficients::Tensor(c.view());
                poly_map(&exec, &algebra.arithmetic, c, x.view(), &mut y.view_mut())
                    .expect("the operands fit");
                y
            };
            let check = |y: &Guarded<f32>| {
                compare(&expected, &algebra.decrypt_planes(&y.planes()), &bounds)
            };
            let right = run(&polynomial.tensor);
            assert!(check(&right).is_ok(), "nothing was changed");
            for plane in 0..algebra.dim {
                for power in 0..5 {
                    let mut wrong = polynomial.tensor.clone();
                    wrong.buffer.view_mut().plane_mut(plane)[power] += 0.01;
                    let (name, wrong) = (&algebra.name, run(&wrong));
                    assert!(check(&wrong).is_err(), "{name} {exec:?}: x^{power}");
                }
                let mut wrong = right.clone();
                wrong.view_mut().plane_mut(plane)[len - 1] += 0.01;
                assert!(check(&wrong).is_err(), "{} {exec:?}", algebra.name);
            }
        }
    }
}
