//! The tests themselves are tested: a wrong result, a wrong program, a wrong key or a stray write
//! has to be noticed, or the other tests' silence says nothing.

use crate::support::{Algebra, Case, Guarded, Kind, Prepared, Tolerance, compare};
use furthermore_kernels_cpu::function_map::Function;
use furthermore_kernels_cpu::{Element, Exec, Isa};

const EXEC: Exec = Exec {
    isa: Isa::PORTABLE,
    threads: 1,
};

fn encrypted(algebra: &Algebra) -> Case {
    let kind = algebra.kinds()[algebra.kinds().len() - 1];
    Case::plain(6, 8, 9, kind, kind)
}

/// One element off by little, in any coordinate and anywhere in the matrix, is found; and so is one
/// that was never written.
fn corruption_is_found<T: Element>() {
    for algebra in Algebra::all() {
        for activation in [None, Some(Function::Tanh)] {
            let prepared =
                Prepared::<T>::new(&algebra, encrypted(&algebra).then(None, activation), 1);
            let right = prepared.check(&EXEC);
            let len = right.len();
            let worst = prepared
                .bounds
                .iter()
                .flatten()
                .fold(0.0f64, |x, y| x.max(*y));
            for plane in 0..right.count() {
                // How much the slot that shows this coordinate most shows of it.
                let shown = (0..algebra.slots)
                    .map(|k| algebra.to[k * algebra.dim + plane].abs())
                    .fold(0.0, f64::max);
                for at in [0, 1, len / 2, len - 1] {
                    let spoil = |x: f64| {
                        let mut c = right.clone();
                        c.view_mut().plane_mut(plane)[at] = T::of(x);
                        prepared.compare(&c)
                    };
                    let x = right.planes()[plane][at].wide();
                    assert!(spoil(x).is_ok(), "nothing was changed");
                    for wrong in [
                        x + 4.0 * worst / shown,
                        x - 4.0 * worst / shown,
                        f64::NAN,
                        f64::INFINITY,
                        f64::NEG_INFINITY,
                        x + 1.0,
                    ] {
                        let (name, element) = (&algebra.name, T::NAME);
                        assert!(
                            spoil(wrong).is_err(),
                            "{wrong} in place of {x} went unnoticed: {name} {element} plane {plane}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn corruption_is_found_f32() {
    corruption_is_found::<f32>();
}

#[test]
fn corruption_is_found_f64() {
    corruption_is_found::<f64>();
}

/// Two elements exchanged are found: a comparison of sums or sorted values would pass.
#[test]
fn exchange_is_found() {
    let algebra = Algebra::compact2([0.75, -0.5]);
    let prepared = Prepared::<f32>::new(&algebra, encrypted(&algebra), 2);
    let mut c = prepared.check(&EXEC);
    for plane in 0..2 {
        c.view_mut().plane_mut(plane).swap(3, 40);
    }
    let error = prepared
        .compare(&c)
        .expect_err("two elements are in each other's place");
    assert!(
        error.contains("outside the bound") && error.contains("element 3"),
        "{error}"
    );
}

/// Each coefficient of the bilinear program with its sign flipped, or a little off, gives results
/// that the comparison refuses.
#[test]
fn wrong_coefficients_are_found() {
    for algebra in Algebra::all() {
        let prepared = Prepared::<f32>::new(&algebra, encrypted(&algebra), 3);
        let (left, right, terms) = {
            let program = &algebra.program;
            let count = |side: &[Vec<(usize, f64)>]| side.iter().map(Vec::len).sum::<usize>();
            let outputs = program.terms.iter().map(|term| term.outputs.len());
            (
                count(&program.left),
                count(&program.right),
                outputs.sum::<usize>(),
            )
        };
        for nth in 0..left + right + terms {
            for (factor, shift) in [(-1.0, 0.0), (1.0, 0.01)] {
                let mut program = algebra.program.clone();
                let outputs = program.terms.iter_mut().flat_map(|term| &mut term.outputs);
                let sides = program.left.iter_mut().chain(&mut program.right).flatten();
                let (_, weight) = sides.chain(outputs).nth(nth).expect("there are so many");
                // A node at zero makes coefficients of rounding size, whose sign says nothing.
                if factor < 0.0 && weight.abs() < 1e-3 {
                    continue;
                }
                *weight = *weight * factor + shift;
                let arithmetic = algebra.with_program(program);
                let outcome = prepared
                    .run_with(&EXEC, &arithmetic)
                    .and_then(|c| prepared.compare(&c));
                let name = &algebra.name;
                assert!(
                    outcome.is_err(),
                    "{name}: coefficient {nth} times {factor} plus {shift} went unnoticed"
                );
            }
        }
    }
}

/// Terms left out or exchanged are found.
#[test]
fn wrong_terms_are_found() {
    for algebra in Algebra::all() {
        let prepared = Prepared::<f32>::new(&algebra, encrypted(&algebra), 4);
        for nth in 0..algebra.program.terms.len() {
            let mut program = algebra.program.clone();
            // Weighted with zero, so that every plane is still written.
            for (_, weight) in &mut program.terms[nth].outputs {
                *weight = 0.0;
            }
            let c = prepared.run_with(&EXEC, &algebra.with_program(program));
            let outcome = c.and_then(|c| prepared.compare(&c));
            assert!(
                outcome.is_err(),
                "{}: term {nth} was not missed",
                algebra.name
            );
        }
    }
}

/// Right coordinates under another key are other messages.
#[test]
fn another_key_is_found() {
    let algebra = Algebra::compact2([0.75, -0.5]);
    let other = Algebra::compact2([0.75, -0.515625]);
    let prepared = Prepared::<f32>::new(&algebra, encrypted(&algebra), 5);
    let outcome = prepared
        .run_with(&EXEC, &other.arithmetic)
        .and_then(|c| prepared.compare(&c));
    assert!(
        outcome.is_err(),
        "products under another evaluation key passed"
    );
    let c = prepared.check(&EXEC);
    let found = other.decrypt_planes(&c.planes());
    assert!(compare(&prepared.expected, &found, &prepared.bounds).is_err());
}

/// A result that forgot bias or activation is found.
#[test]
fn a_forgotten_epilogue_is_found() {
    let algebra = Algebra::blocks(2);
    let case = encrypted(&algebra);
    let bare = Prepared::<f32>::new(&algebra, case, 6).check(&EXEC);
    for (bias, activation) in [
        (Some(Kind::Plain), None),
        (Some(Kind::Cipher), None),
        (None, Some(Function::Relu)),
        (None, Some(Function::Tanh)),
    ] {
        // The same seed draws the same operands first.
        let full = Prepared::<f32>::new(&algebra, case.then(bias, activation), 6);
        full.check(&EXEC);
        assert!(full.compare(&bare).is_err(), "{bias:?} {activation:?}");
    }
}

/// What the comparison is to refuse by itself, whatever the numbers.
#[test]
fn comparison_refuses() {
    let one = |x: f64| vec![vec![x]];
    assert_eq!(compare(&one(1.0), &one(1.5), &one(0.5)), Ok(1.0));
    assert_eq!(compare(&one(1.0), &one(1.0), &one(0.0)), Ok(0.0));
    for (expected, found, bound) in [
        (1.0, 1.5, 0.499),
        (1.0, f64::NAN, 10.0),
        (1.0, f64::INFINITY, 10.0),
        // A bound that lets everything pass, and an oracle that knows nothing.
        (1.0, 1.0, f64::INFINITY),
        (1.0, 1.0, f64::NAN),
        (f64::NAN, f64::NAN, 1.0),
        (f64::INFINITY, f64::INFINITY, 1.0),
        (0.0, 1e-300, 0.0),
    ] {
        let outcome = compare(&one(expected), &one(found), &one(bound));
        assert!(outcome.is_err(), "{expected} {found} {bound}");
    }
    let two = vec![vec![1.0, 1.0]];
    assert!(compare(&two, &one(1.0), &two).is_err(), "a missing element");
    assert!(compare(&two, &two, &one(1.0)).is_err(), "a missing bound");
    assert!(compare(&two, &[], &two).is_err(), "a missing slot");
    let error = compare(&[vec![0.0, 2.0]], &[vec![0.0, 3.0]], &[vec![0.5, 0.5]]);
    let error = error.expect_err("two is not three").to_string();
    assert!(
        error.contains("1 of 2 wrong") && error.contains("element 1"),
        "{error}"
    );
}

/// A write before, after or between the planes is found, of NaN as of a number.
#[test]
#[cfg_attr(asan, ignore = "AddressSanitizer takes the guards' place")]
fn stray_writes_are_found() {
    let clean = Guarded::<f32>::poisoned(2, 5, 3);
    clean.intact().expect("nothing was written");
    for offset in [-37, -1, 5, 6, 7, 13, 14, 49] {
        let mut c = clean.clone();
        c.tamper(offset, 1.0);
        assert!(c.intact().is_err(), "a number at {offset} went unnoticed");
    }
    for offset in [-1, 13] {
        let mut c = clean.clone();
        c.tamper(offset, f32::NAN);
        assert!(c.intact().is_err(), "NaN at {offset} went unnoticed");
    }
    for offset in [0, 4, 8, 12] {
        let mut c = clean.clone();
        c.tamper(offset, 1.0);
        c.intact()
            .expect("an element of a plane is there to be written");
    }
}

/// Not a test by itself: what the next test has AddressSanitizer find.
#[cfg(asan)]
#[test]
#[ignore = "reads past a buffer"]
fn read_past_the_last_plane() {
    let planes = Guarded::<f32>::poisoned(2, 5, 3);
    let last = planes.view().plane(1).as_ptr_range().end;
    // SAFETY: none. There is no element, and this is to be the end of the process.
    std::hint::black_box(unsafe { last.read() });
}

/// A read of one element past the last plane ends the process, and AddressSanitizer says where.
#[cfg(asan)]
#[test]
fn stray_reads_are_found() {
    let this = std::env::current_exe().expect("a test knows where it is");
    let test = "negative_control::read_past_the_last_plane";
    let output = std::process::Command::new(this)
        .args(["--exact", test, "--ignored"])
        .output()
        .expect("a test can run itself");
    assert!(!output.status.success(), "the read went unnoticed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("heap-buffer-overflow"), "{said}");
}

/// Tolerances grow with roundings, and f64's are finer.
#[test]
fn tolerances() {
    let of = |count| Tolerance::roundings::<f32>(count).of(1.0);
    let u = f64::from(f32::EPSILON) / 2.0;
    assert!(of(1) >= u && of(1) < 1.001 * u);
    assert!(of(100) >= 100.0 * u && of(100) < 101.0 * u);
    assert!(Tolerance::roundings::<f64>(1).of(1.0) < 1e-8 * of(1));
    assert_eq!(Tolerance::roundings::<f32>(3).of(0.0), 0.0);
}
