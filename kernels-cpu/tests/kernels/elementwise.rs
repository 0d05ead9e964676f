//! Weighted sums, products and quotients element by element, over every mix of plaintext and
//! ciphertext, of operands that broadcast.

use crate::support::{
    Algebra, Guarded, Kind, LENGTHS, Noise, Operand, Tolerance, each_element, execs_for, read,
    same_bits, single, verify, written,
};
use furthermore_kernels_cpu::elementwise::{Broadcast, divide, linear, multiply};
use furthermore_kernels_cpu::{Element, Isa, KernelError};
use proptest::prelude::*;

/// The algebras to test at that length: larger ones say nothing new about threads.
fn algebras(len: usize) -> Vec<Algebra> {
    if len < 2000 {
        Algebra::all()
    } else {
        vec![Algebra::real(), Algebra::compact2([0.75, -0.5])]
    }
}

/// Sizes of an element's coordinates in a result's algebra: a plaintext is its multiple of one.
fn sizes<T: Element>(form: &Algebra, operand: &Operand<T>, e: usize) -> Vec<f64> {
    if operand.buffer.count() == form.dim {
        operand.sizes.iter().map(|plane| plane[e]).collect()
    } else {
        form.coordinate_sizes(&operand.element(e, form.slots))
    }
}

/// Two shapes, and which elements of them meet in each element of the output.
#[derive(Debug)]
struct Meeting {
    a: Vec<usize>,
    b: Vec<usize>,
    pairs: Vec<(usize, usize)>,
}

impl Meeting {
    /// By numpy's rules, one index at a time.
    fn new(a: &[usize], b: &[usize]) -> Self {
        let axes = a.len().max(b.len());
        let padded = |shape: &[usize]| [vec![1; axes - shape.len()], shape.to_vec()].concat();
        let (x, y) = (padded(a), padded(b));
        let sizes: Vec<usize> = (0..axes)
            .map(|i| if x[i] == 1 { y[i] } else { x[i] })
            .collect();
        let pairs = (0..sizes.iter().product())
            .map(|at: usize| {
                let (mut rest, mut of_a, mut of_b) = (at, 0, 0);
                let (mut a_step, mut b_step) = (1, 1);
                for i in (0..axes).rev() {
                    let index = rest % sizes[i];
                    rest /= sizes[i];
                    of_a += a_step * (index % x[i]);
                    of_b += b_step * (index % y[i]);
                    a_step *= x[i];
                    b_step *= y[i];
                }
                (of_a, of_b)
            })
            .collect();
        let (a, b) = (a.to_vec(), b.to_vec());
        Self { a, b, pairs }
    }

    fn same(len: usize) -> Self {
        Self::new(&[len], &[len])
    }

    fn broadcast(&self) -> Broadcast {
        Broadcast::new(&self.a, &self.b).expect("the shapes agree")
    }

    fn lengths(&self) -> (usize, usize) {
        (self.a.iter().product(), self.b.iter().product())
    }

    fn len(&self) -> usize {
        self.pairs.len()
    }
}

/// Shapes of every kind that broadcast: rows, columns, one number, either side, several axes, six
/// that alternate, more that become fewer, none, and elements of none.
fn meetings() -> Vec<Meeting> {
    let shapes: &[(&[usize], &[usize])] = &[
        (&[6, 3], &[3]),
        (&[3], &[6, 3]),
        (&[12], &[]),
        (&[], &[12]),
        (&[], &[]),
        (&[1, 1], &[1]),
        (&[17, 16], &[17, 1]),
        (&[5, 33], &[5, 1]),
        (&[5, 1], &[5, 33]),
        (&[7, 1], &[1, 20]),
        (&[2, 3, 4, 5], &[3, 1, 5]),
        (&[2, 1, 4, 1], &[1, 3, 1, 17]),
        (&[2, 1, 3, 1, 2, 1], &[1, 3, 1, 2, 1, 5]),
        (&[2, 3, 1, 2, 2, 1, 1, 3], &[2, 3, 1, 1, 1, 4, 5, 1]),
        (&[1, 1, 1, 1, 1, 1, 9], &[9]),
        (&[4, 1, 6], &[4, 8, 1]),
        (&[0, 3], &[1, 3]),
        (&[3, 1], &[3, 0]),
        (&[0], &[1]),
    ];
    shapes.iter().map(|(a, b)| Meeting::new(a, b)).collect()
}

fn check_linear<T: Element>(
    algebra: &Algebra,
    meeting: &Meeting,
    (alpha, a): (f64, &Operand<T>),
    (beta, b): (f64, &Operand<T>),
) {
    let kind = a.kind.and(b.kind);
    let form = algebra.of_kind(kind);
    let len = meeting.len();
    // Each operand as stored, its weight times one, that rounded, the product; and the sum.
    let tolerance = Tolerance::roundings::<T>(5).plus(2.0 * form.defect);
    let (expected, bounds) = each_element(form.slots, len, |e| {
        let (i, j) = meeting.pairs[e];
        let (x, y) = (a.element(i, form.slots), b.element(j, form.slots));
        let values = x.iter().zip(y).map(|(x, y)| alpha * x + beta * y).collect();
        let (x, y) = (sizes(&form, a, i), sizes(&form, b, j));
        let sizes = x
            .iter()
            .zip(y)
            .map(|(x, y)| alpha.abs() * x + beta.abs() * y);
        let errors: Vec<f64> = sizes.map(|size| tolerance.of(size)).collect();
        (values, form.slot_errors(&errors))
    });
    for exec in execs_for(len) {
        let mut output = Guarded::poisoned(form.dim, len, 3);
        linear(
            &exec,
            &algebra.arithmetic,
            &meeting.broadcast(),
            (alpha, a.view()),
            (beta, b.view()),
            &mut output.view_mut(),
        )
        .expect("the operands fit");
        verify(&form, &output, (&expected, &bounds)).unwrap_or_else(|error| {
            let (name, kinds) = (&algebra.name, (a.kind, b.kind));
            panic!("{name} {} {kinds:?} {meeting:?} {exec:?}: {error}", T::NAME)
        });
    }
}

fn linear_everywhere<T: Element>() {
    let mut noise = Noise::new(1);
    // Rows that pieces cut in two, beside every length and shape.
    let rows = [(40_000, 1), (13_333, 3), (2, 20_000)];
    let rows = rows.map(|(rows, columns)| Meeting::new(&[rows, columns], &[columns]));
    let columns = [
        Meeting::new(&[2, 20_001], &[2, 1]),
        Meeting::new(&[5, 1], &[9000]),
    ];
    let lengths = LENGTHS.map(Meeting::same).into_iter();
    for meeting in lengths.chain(meetings()).chain(rows).chain(columns) {
        let len = meeting.len();
        let (of_a, of_b) = meeting.lengths();
        for algebra in algebras(len) {
            for &a in algebra.kinds() {
                for &b in algebra.kinds() {
                    let a = Operand::<T>::drawn(&algebra, a, || noise.slots(of_a, -1.0, 1.0));
                    let b = Operand::<T>::drawn(&algebra, b, || noise.slots(of_b, -1.0, 1.0));
                    let weights = if len > 2000 {
                        &[(0.3, -1.7)][..]
                    } else {
                        &[(1.0, 1.0), (1.0, -1.0), (0.3, -1.7), (0.0, 2.0)]
                    };
                    for &(alpha, beta) in weights {
                        check_linear(&algebra, &meeting, (alpha, &a), (beta, &b));
                    }
                }
            }
        }
    }
}

#[test]
fn linear_f32() {
    linear_everywhere::<f32>();
}

#[test]
fn linear_f64() {
    linear_everywhere::<f64>();
}

/// Weights of one are sums and differences exactly as the element type rounds them.
#[test]
fn plain_sums_are_exact() {
    let real = Algebra::real();
    let mut noise = Noise::new(2);
    let mut draw = || Operand::<f32>::drawn(&real, Kind::Plain, || noise.slots(37, -1.0, 1.0));
    let (a, b) = (draw(), draw());
    for exec in execs_for(37) {
        for sign in [1.0f32, -1.0] {
            let mut output = Guarded::poisoned(1, 37, 0);
            linear(
                &exec,
                &real.arithmetic,
                &Broadcast::same(37),
                (1.0, a.view()),
                (f64::from(sign), b.view()),
                &mut output.view_mut(),
            )
            .expect("the operands fit");
            let (a, b) = (a.view().plane(0), b.view().plane(0));
            let expected: Vec<f32> = a.iter().zip(b).map(|(a, b)| a + sign * b).collect();
            assert_eq!(output.planes()[0], expected, "{exec:?}");
        }
    }
}

fn check_product<T: Element>(algebra: &Algebra, meeting: &Meeting, a: &Operand<T>, b: &Operand<T>) {
    let form = algebra.of_kind(a.kind.and(b.kind));
    let program = algebra.program_of(a.kind, b.kind);
    let longest = |side: &[Vec<(usize, f64)>]| side.iter().map(Vec::len).max().unwrap_or(0);
    // Both operands as stored; a product, a sum and a weight for each part of a combination; the
    // product; a product, a sum and a weight for each term.
    let combined = longest(&program.left) + longest(&program.right);
    let count = 2 + 3 * combined + 1 + 3 * program.terms.len();
    let tolerance = Tolerance::roundings::<T>(count).plus(3.0 * form.defect);
    let len = meeting.len();
    let (expected, bounds) = each_element(form.slots, len, |e| {
        let (i, j) = meeting.pairs[e];
        let (x, y) = (a.element(i, form.slots), b.element(j, form.slots));
        let values = x.iter().zip(y).map(|(x, y)| x * y).collect();
        let size = |side: &[(usize, f64)], operand: &Operand<T>, e: usize| -> f64 {
            side.iter()
                .map(|&(p, w)| w.abs() * operand.sizes[p][e])
                .sum()
        };
        let mut errors = vec![0.0; form.dim];
        for term in &program.terms {
            let (x, y) = (&program.left[term.left], &program.right[term.right]);
            let product = size(x, a, i) * size(y, b, j);
            for &(p, w) in &term.outputs {
                errors[p] += tolerance.of(w.abs() * product);
            }
        }
        (values, form.slot_errors(&errors))
    });
    for exec in execs_for(len) {
        let mut output = Guarded::poisoned(form.dim, len, 3);
        multiply(
            &exec,
            &algebra.arithmetic,
            &meeting.broadcast(),
            a.view(),
            b.view(),
            &mut output.view_mut(),
        )
        .expect("the operands fit");
        verify(&form, &output, (&expected, &bounds)).unwrap_or_else(|error| {
            let (name, kinds) = (&algebra.name, (a.kind, b.kind));
            panic!("{name} {} {kinds:?} {meeting:?} {exec:?}: {error}", T::NAME)
        });
    }
}

/// Products or quotients of these two, slots up to two and for quotients away from zero.
fn drawn_pair<T: Element>(
    noise: &mut Noise,
    algebra: &Algebra,
    kinds: (Kind, Kind),
    meeting: &Meeting,
    least: f64,
) -> (Operand<T>, Operand<T>) {
    let (of_a, of_b) = meeting.lengths();
    let a = Operand::drawn(algebra, kinds.0, || noise.slots(of_a, -2.0, 2.0));
    let b = Operand::drawn(algebra, kinds.1, || noise.away_from_zero(of_b, least));
    (a, b)
}

/// Every length and shape, algebra and mix of kinds.
fn each_pair<T: Element>(
    least: f64,
    mut check: impl FnMut(&Algebra, &Meeting, &Operand<T>, &Operand<T>),
) {
    let mut noise = Noise::new(3);
    let long = [Meeting::new(&[4, 1, 2500], &[4, 4, 1])];
    for meeting in LENGTHS
        .map(Meeting::same)
        .into_iter()
        .chain(meetings())
        .chain(long)
    {
        for algebra in algebras(meeting.len()) {
            for &a in algebra.kinds() {
                for &b in algebra.kinds() {
                    let (a, b) = drawn_pair(&mut noise, &algebra, (a, b), &meeting, least);
                    check(&algebra, &meeting, &a, &b);
                }
            }
        }
    }
}

fn products<T: Element>() {
    each_pair::<T>(0.0, check_product);
}

fn check_quotient<T: Element>(
    algebra: &Algebra,
    meeting: &Meeting,
    a: &Operand<T>,
    b: &Operand<T>,
) {
    let form = algebra.of_kind(a.kind.and(b.kind));
    let (xs, ys) = (read(&form, a), read(&form, b));
    let rounded = Tolerance::roundings::<T>(1);
    let quotient = |((x, x_off), (y, y_off)): ((f64, f64), (f64, f64))| {
        let q: f64 = x / y;
        let off = (x_off + q.abs() * y_off) / (y.abs() - y_off);
        (q, off + rounded.of(q.abs() + off))
    };
    let slots: Vec<Vec<_>> = (0..form.slots)
        .map(|k| {
            let pairs = meeting.pairs.iter();
            pairs
                .map(|&(i, j)| quotient((xs[k][i], ys[k][j])))
                .collect()
        })
        .collect();
    let (expected, bounds) = written::<T>(&form, &slots);
    for exec in execs_for(meeting.len()) {
        let mut output = Guarded::poisoned(form.dim, meeting.len(), 3);
        let seen = divide(
            &exec,
            &algebra.arithmetic,
            &meeting.broadcast(),
            a.view(),
            b.view(),
            &mut output.view_mut(),
        )
        .expect("the operands fit");
        let context = || {
            format!(
                "{} {:?} {meeting:?} {exec:?}",
                algebra.name,
                (a.kind, b.kind)
            )
        };
        verify(&form, &output, (&expected, &bounds))
            .unwrap_or_else(|error| panic!("{} {}: {error}", T::NAME, context()));
        assert!(
            seen.finite() && seen.max_abs().len() == form.slots,
            "{}",
            context()
        );
        for (k, slot) in slots.iter().enumerate() {
            let most = slot.iter().fold(0.0f64, |most, q| most.max(q.0.abs()));
            let off = slot.iter().fold(0.0f64, |off, q| off.max(q.1));
            assert!((seen.max_abs()[k] - most).abs() <= off, "{}", context());
        }
    }
}

#[test]
fn quotients_f32() {
    each_pair::<f32>(0.25, check_quotient);
}

#[test]
fn quotients_f64() {
    each_pair::<f64>(0.25, check_quotient);
}

/// A divisor of zero and operands that are not finite are seen in whatever lane they stand, an
/// infinite divisor too, whose quotient is zero.
#[test]
fn spoilt_quotients_are_seen() {
    let real = Algebra::real();
    for exec in single() {
        for at in 0..19 {
            let run = |x: f32, y: f32| {
                let (mut a, mut b) = (vec![1.0f32; 19], vec![2.0f32; 19]);
                (a[at], b[at]) = (x, y);
                let (a, b) = (Guarded::filled(&[a], 0), Guarded::filled(&[b], 0));
                let mut output = Guarded::poisoned(1, 19, 0);
                let to = &mut output.view_mut();
                let same = Broadcast::same(19);
                divide(&exec, &real.arithmetic, &same, a.view(), b.view(), to)
                    .expect("they fit")
                    .finite()
            };
            assert!(run(0.0, 1.0), "{at} {exec:?}");
            for (x, y) in [
                (1.0, 0.0),
                (0.0, 0.0),
                (f32::NAN, 1.0),
                (f32::INFINITY, 1.0),
                (1.0, f32::NAN),
                (1.0, f32::NEG_INFINITY),
            ] {
                assert!(!run(x, y), "{x} / {y} at {at} {exec:?}");
            }
        }
    }
}

/// What does not agree, or has more axes than are kept, is refused when the broadcast is made.
#[test]
fn refused_shapes() {
    let axis = |needs, has| KernelError::Length {
        kernel: "elementwise",
        operand: "an axis of b",
        needs,
        has,
    };
    assert_eq!(Broadcast::new(&[2, 3], &[4]), Err(axis(3, 4)));
    assert_eq!(Broadcast::new(&[2, 3], &[2]), Err(axis(3, 2)));
    assert_eq!(Broadcast::new(&[5, 0], &[5, 7]), Err(axis(0, 7)));
    let error = Broadcast::new(&[2, 1, 2, 1, 2, 1, 2], &[1, 2, 1, 2, 1, 2, 1]);
    let error = error.expect_err("seven axes alternate").to_string();
    for part in ["elementwise", "axes", "7", "at most 6"] {
        assert!(error.contains(part), "'{error}' lacks {part}");
    }
    // Sizes whose product passes the largest number do not come round to a small one.
    let huge = usize::MAX / 2 + 1;
    let many = Broadcast::new(&[huge, 4], &[4]).expect("the shapes agree");
    assert_eq!(many.len(), usize::MAX);
    let same = Broadcast::new(&[3, 5], &[3, 5]).expect("the shapes agree");
    assert_eq!(same, Broadcast::same(15));
}

#[test]
fn products_f32() {
    products::<f32>();
}

#[test]
fn products_f64() {
    products::<f64>();
}

/// One is one: multiplying by the encryption of ones, or by the plaintext, gives the operand back.
#[test]
fn multiplying_by_one() {
    let mut noise = Noise::new(4);
    for algebra in Algebra::all() {
        let kind = algebra.kinds()[algebra.kinds().len() - 1];
        let a = Operand::<f64>::drawn(&algebra, kind, || noise.slots(33, -1.0, 1.0));
        for &one in algebra.kinds() {
            let one = Operand::new(&algebra, one, vec![vec![1.0; 33]; algebra.slots]);
            let same = Meeting::same(33);
            check_product(&algebra, &same, &a, &one);
            check_product(&algebra, &same, &one, &a);
            check_quotient(&algebra, &same, &a, &one);
        }
    }
}

/// Every element is computed by itself, so the cut does not show in the bits.
#[test]
fn same_bits_for_any_cut() {
    let compact = Algebra::compact2([0.75, -0.5]);
    let mut noise = Noise::new(5);
    let len = 40_003;
    let mut draw =
        |len| Operand::<f32>::drawn(&compact, Kind::Cipher, || noise.slots(len, -1.0, 1.0));
    let (a, b) = (draw(len), draw(len));
    let same = Broadcast::same(len);
    for isa in Isa::available() {
        let run = |threads| {
            let exec = furthermore_kernels_cpu::Exec { isa, threads };
            let mut sum = Guarded::poisoned(2, len, 0);
            let mut product = sum.clone();
            let (x, y) = (a.view(), b.view());
            linear(
                &exec,
                &compact.arithmetic,
                &same,
                (0.3, x),
                (1.1, y),
                &mut sum.view_mut(),
            )
            .expect("the operands fit");
            let mut quotient = sum.clone();
            let arithmetic = &compact.arithmetic;
            multiply(&exec, arithmetic, &same, x, y, &mut product.view_mut())
                .expect("the operands fit");
            divide(&exec, arithmetic, &same, x, y, &mut quotient.view_mut())
                .expect("the operands fit");
            [sum, product, quotient]
                .map(|c| c.planes().concat())
                .concat()
        };
        let one = run(1);
        for threads in [2, 3, 5, 64] {
            assert!(same_bits(&one, &run(threads)), "{isa} {threads}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_broadcast(
        algebra in 0..9usize,
        sizes in proptest::collection::vec((1..7usize, 0..3usize), 0..5),
        cut in 0..5usize,
        weights in (-3.0..3.0f64, -3.0..3.0f64),
        kinds in any::<[bool; 2]>(),
        seed in any::<u64>(),
    ) {
        let algebra = &Algebra::all()[algebra];
        let kinds = kinds.map(|cipher| algebra.kinds()[usize::from(cipher).min(algebra.kinds().len() - 1)]);
        // One side has size one along some axes, and b may lack the first ones.
        let a: Vec<usize> = sizes.iter().map(|&(n, one)| if one == 1 { 1 } else { n }).collect();
        let b: Vec<usize> = sizes.iter().map(|&(n, one)| if one == 2 { 1 } else { n }).collect();
        let meeting = Meeting::new(&a, &b[cut.min(b.len())..]);
        let mut noise = Noise::new(seed);
        let (a, b) = drawn_pair::<f32>(&mut noise, algebra, (kinds[0], kinds[1]), &meeting, 0.25);
        check_linear(algebra, &meeting, (weights.0, &a), (weights.1, &b));
        check_product(algebra, &meeting, &a, &b);
        check_quotient(algebra, &meeting, &a, &b);
    }
}
