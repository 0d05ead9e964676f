//! The magnitudes of slots, by which masks are guarded: what they are, and that no number which is
//! not finite escapes them.

use crate::support::{Algebra, Guarded, Kind, LENGTHS, Noise, Operand, execs_for, formed, single};
use furthermore_kernels_cpu::function_map::{
    Function, function_map_gradient, function_map_in_place,
};
use furthermore_kernels_cpu::reduce::slot_maxima;
use furthermore_kernels_cpu::{Element, Exec, Isa, Planes, PlanesMut, SlotMaxima};

fn magnitudes<T: Element>() {
    let mut noise = Noise::new(1);
    for len in LENGTHS {
        for algebra in Algebra::all() {
            // Larger algebras say nothing new about threads.
            if len > 2000 && algebra.dim > 2 {
                continue;
            }
            for &kind in algebra.kinds() {
                let form = algebra.of_kind(kind);
                let values = Operand::<T>::drawn(&algebra, kind, || {
                    let scale = noise.uniform(0.1, 50.0);
                    noise.slots(len, -scale, scale)
                });
                let mut bounds = vec![0.0f64; form.slots];
                for e in 0..len {
                    let (_, errors) = formed(&form, &values, e);
                    for k in 0..form.slots {
                        bounds[k] = bounds[k].max(errors[k]);
                    }
                }
                for exec in execs_for(len) {
                    let seen = slot_maxima(&exec, &algebra.arithmetic, values.view())
                        .expect("the operand fits");
                    assert!(seen.finite());
                    assert_eq!(seen.max_abs().len(), form.slots);
                    for k in 0..form.slots {
                        let most = values.slot(k).iter().fold(0.0f64, |x, y| x.max(y.abs()));
                        let found = seen.max_abs()[k];
                        assert!(
                            (most - found).abs() <= bounds[k],
                            "{} {kind:?} {len} {exec:?} slot {k}: {found} where {most} is right",
                            algebra.name
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn magnitudes_f32() {
    magnitudes::<f32>();
}

#[test]
fn magnitudes_f64() {
    magnitudes::<f64>();
}

/// Positions to spoil: all of a short tensor, and of a long one its ends and the places about which
/// pieces are cut.
fn positions(len: usize) -> Vec<usize> {
    if len <= 31 {
        return (0..len).collect();
    }
    let mut at = vec![
        0,
        1,
        len / 3,
        len / 2 - 1,
        len / 2,
        len - 17,
        len - 2,
        len - 1,
    ];
    at.extend([2, 3, 5].map(|pieces| len / pieces + 1));
    at
}

/// One NaN or infinity in any plane at any position is seen by every kernel that observes slots.
fn nothing_escapes<T: Element>() {
    for algebra in [
        Algebra::real(),
        Algebra::compact2([0.75, -0.5]),
        Algebra::blocks(2),
        Algebra::compact(3),
    ] {
        let kind = algebra.kinds()[algebra.kinds().len() - 1];
        for len in LENGTHS {
            if len > 2000 && algebra.dim > 2 {
                continue;
            }
            let clean = Operand::<T>::new(&algebra, kind, vec![vec![0.5; len]; algebra.slots]);
            for at in positions(len) {
                for plane in 0..algebra.dim {
                    for (nth, odd) in [T::nan(), T::infinity(), T::neg_infinity()]
                        .into_iter()
                        .enumerate()
                    {
                        let mut spoilt = clean.buffer.clone();
                        spoilt.view_mut().plane_mut(plane)[at] = odd;
                        // On long tensors each kind of number takes its turn at the cuts.
                        let execs = execs_for(len).into_iter().enumerate();
                        for (_, exec) in execs.filter(|(i, _)| len < 100 || (i + at) % 3 == nth) {
                            let context = || {
                                let name = &algebra.name;
                                format!(
                                    "{odd:?} in {name} at {at} of {len}, plane {plane}, {exec:?}"
                                )
                            };
                            let arithmetic = &algebra.arithmetic;
                            let seen = slot_maxima(&exec, arithmetic, spoilt.view());
                            assert!(!seen.expect("it fits").finite(), "{}", context());
                            let mut values = spoilt.clone();
                            let seen = function_map_in_place(
                                &exec,
                                arithmetic,
                                Function::Relu,
                                &mut values.view_mut(),
                            );
                            assert!(!seen.expect("it fits").finite(), "{}", context());
                            let mut gradient = spoilt.clone();
                            let seen = function_map_gradient(
                                &exec,
                                arithmetic,
                                Function::Relu,
                                clean.view(),
                                &mut gradient.view_mut(),
                            );
                            assert!(!seen.expect("it fits").finite(), "{}", context());
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn nothing_escapes_f32() {
    nothing_escapes::<f32>();
}

#[test]
fn nothing_escapes_f64() {
    nothing_escapes::<f64>();
}

/// NaN hides no magnitude, wherever it stands beside the largest, and gives none itself.
#[test]
fn nan_does_not_hide_the_largest() {
    let real = Algebra::real();
    for exec in single() {
        for largest in 0..40 {
            for nan in (0..40).filter(|nan| *nan != largest) {
                let mut values = [0.5f32; 40];
                values[largest] = -3.0;
                values[nan] = f32::NAN;
                let seen = slot_maxima(&exec, &real.arithmetic, Planes::plain(&values))
                    .expect("the operand fits");
                assert_eq!(
                    (seen.max_abs(), seen.finite()),
                    (&[3.0][..], false),
                    "{exec:?}"
                );
            }
        }
        let seen = slot_maxima(
            &exec,
            &real.arithmetic,
            Planes::plain(&[1.0, f32::NEG_INFINITY]),
        )
        .expect("the operand fits");
        assert_eq!(
            (seen.max_abs(), seen.finite()),
            (&[f64::INFINITY][..], false)
        );
    }
}

/// A number may be finite and its slots not: the sum overflows in registers, and is seen there.
#[test]
fn overflow_of_a_slot_is_seen() {
    let compact = Algebra::compact2([0.75, -0.5]);
    let planes = [vec![1.0, f32::MAX], vec![0.0, f32::MAX]];
    let values = Guarded::filled(&planes, 0);
    for exec in single() {
        let seen = slot_maxima(&exec, &compact.arithmetic, values.view()).expect("it fits");
        assert!(!seen.finite(), "{exec:?}");
    }
}

/// The largest over the smallest slot, and none where there is nothing to compare.
#[test]
fn ratio_of_slots() {
    // With roots 1/2 and -1/2 these slots are stored and formed without rounding.
    let exact = Algebra::compact2([0.5, -0.5]);
    let cipher = |slots: Vec<Vec<f64>>| Operand::<f32>::new(&exact, Kind::Cipher, slots);
    for exec in single() {
        let ratio = |operand: &Operand<f32>| {
            let seen = slot_maxima(&exec, &exact.arithmetic, operand.view());
            seen.expect("the operand fits").ratio()
        };
        let values = cipher(vec![vec![0.25, -8.0, 1.0], vec![0.5, 0.0, -0.125]]);
        assert_eq!(ratio(&values), Some(16.0));
        // The same whichever slot is the larger.
        let values = cipher(vec![vec![0.5, 0.0, -0.125], vec![0.25, -8.0, 1.0]]);
        assert_eq!(ratio(&values), Some(16.0));
        assert_eq!(ratio(&cipher(vec![vec![0.0; 20], vec![0.0; 20]])), None);
        assert_eq!(ratio(&cipher(vec![vec![1.0; 20], vec![0.0; 20]])), None);
        assert_eq!(ratio(&cipher(vec![vec![], vec![]])), None);
        let plain = Operand::<f32>::new(&exact, Kind::Plain, vec![vec![1.0, 2.0]]);
        assert_eq!(ratio(&plain), None);
    }
    let four = Algebra::compact(4);
    let slots = [3.0, -1.0, 0.5, 2.0].map(|x| vec![x; 50]).to_vec();
    let values = Operand::<f64>::new(&four, Kind::Cipher, slots);
    let (_, errors) = formed(&four, &values, 0);
    for exec in single() {
        let seen = slot_maxima(&exec, &four.arithmetic, values.view()).expect("it fits");
        let ratio = seen.ratio().expect("four slots");
        // Both 3 and 1/2 are off by their errors; a quotient adds relative errors.
        let bound = 6.0 * (errors[0] / 3.0 + errors[2] / 0.5) * 1.01;
        assert!((ratio - 6.0).abs() <= bound, "{ratio} within {bound}");
    }
}

/// Parts of a tensor are merged as if it had been seen at once; nothing seen changes nothing.
#[test]
fn merging() {
    let compact = Algebra::compact2([0.5, -0.5]);
    let exec = Exec {
        isa: Isa::PORTABLE,
        threads: 1,
    };
    let see = |m: f64, r: f64| {
        let operand = Operand::<f64>::new(&compact, Kind::Cipher, vec![vec![m], vec![r]]);
        slot_maxima(&exec, &compact.arithmetic, operand.view()).expect("it fits")
    };
    let (a, b) = (see(1.0, -4.0), see(-2.0, 0.5));
    assert_eq!(a.merge(b).max_abs(), [2.0, 4.0]);
    assert_eq!(a.merge(b), b.merge(a));
    assert_eq!(SlotMaxima::NONE.merge(a), a);
    assert_eq!(a.merge(SlotMaxima::NONE), a);
    assert_eq!(SlotMaxima::NONE.max_abs(), [0.0; 0]);
    assert_eq!(
        (SlotMaxima::NONE.ratio(), SlotMaxima::NONE.finite()),
        (None, true)
    );
    let nan = see(f64::NAN, 1.0);
    assert!(!a.merge(nan).finite() && !nan.merge(a).finite());
}

/// In place and out of place, a tensor of no elements is seen as one of finite zeros.
#[test]
fn empty_tensors() {
    let compact = Algebra::compact2([0.75, -0.5]);
    for exec in single() {
        let mut none = PlanesMut::<f32>::new(&mut [], 2, 0, 0).expect("nothing fits nothing");
        let seen = function_map_in_place(&exec, &compact.arithmetic, Function::Tanh, &mut none);
        let seen = seen.expect("it fits");
        assert_eq!((seen.max_abs(), seen.finite()), (&[0.0, 0.0][..], true));
    }
}
