//! Boxes of elements go where a loop over their places puts them, bit by bit, and nothing else changes.

use crate::support::{Guarded, Noise, execs, same_bits, single};
use furthermore_kernels_cpu::convert::{CopyAxis, Rest, StridedCopy, strided_copy};
use furthermore_kernels_cpu::{Element, Exec};

/// What a copy is made of: length and first element of either side, and the axes.
#[derive(Debug, Clone)]
struct Moved {
    from_len: usize,
    from: usize,
    to_len: usize,
    to: usize,
    axes: Vec<CopyAxis>,
}

/// How one side of a box lies in a row-major tensor, along one of its axes.
#[derive(Debug, Clone, Copy)]
struct Side {
    /// Places of the tensor before the box.
    before: usize,
    after: usize,
    step: usize,
    backwards: bool,
}

const WHOLE: Side = Side {
    before: 0,
    after: 0,
    step: 1,
    backwards: false,
};

/// Length of a row-major tensor, first element of the box in it, and the box's strides; `order` lists
/// its axes, outermost first.
fn laid_out(sizes: &[usize], order: &[usize], sides: &[Side]) -> (usize, usize, Vec<isize>) {
    let (mut len, mut first) = (1, 0);
    let mut strides = vec![0; sizes.len()];
    for &axis in order.iter().rev() {
        let (size, side) = (sizes[axis], sides[axis]);
        let reach = size.saturating_sub(1) * side.step;
        let start = side.before + if side.backwards { reach } else { 0 };
        first += start * len;
        strides[axis] = (side.step * len) as isize * if side.backwards { -1 } else { 1 };
        let places = if size == 0 { 0 } else { reach + 1 };
        len *= side.before + places + side.after;
    }
    (len, first, strides)
}

impl Moved {
    /// A box of these sizes, read and written in tensors whose axes have those orders.
    fn new(sizes: &[usize], orders: [&[usize]; 2], sides: [&[Side]; 2]) -> Self {
        let (from_len, from, read) = laid_out(sizes, orders[0], sides[0]);
        let (to_len, to, written) = laid_out(sizes, orders[1], sides[1]);
        let axis = |k: usize| CopyAxis {
            size: sizes[k],
            from: read[k],
            to: written[k],
        };
        Self {
            from_len,
            from,
            to_len,
            to,
            axes: (0..sizes.len()).map(axis).collect(),
        }
    }

    /// All of a tensor, its axes in another order.
    fn permuted(sizes: &[usize], order: &[usize]) -> Self {
        let natural: Vec<usize> = (0..sizes.len()).collect();
        let whole = vec![WHOLE; sizes.len()];
        Self::new(sizes, [&natural, order], [&whole, &whole])
    }

    fn copy(&self) -> StridedCopy {
        StridedCopy::new(self.from_len, self.from, self.to_len, self.to, &self.axes)
            .unwrap_or_else(|e| panic!("{self:?}: {e}"))
    }

    /// Where each element comes from and goes.
    fn pairs(&self) -> Vec<(usize, usize)> {
        let mut pairs = vec![(self.from as isize, self.to as isize)];
        for axis in &self.axes {
            let along = |&(from, to): &(isize, isize)| {
                let place = move |i: isize| (from + i * axis.from, to + i * axis.to);
                (0..axis.size as isize).map(place)
            };
            pairs = pairs.iter().flat_map(along).collect();
        }
        let pair = |&(from, to): &(isize, isize)| (from as usize, to as usize);
        pairs.iter().map(pair).collect()
    }
}

/// Random numbers, and some that arithmetic would change.
fn planes<T: Element>(noise: &mut Noise, count: usize, len: usize) -> Vec<Vec<T>> {
    let odd = [T::of(-0.0), T::nan(), T::infinity()];
    let plane = |noise: &mut Noise| {
        let mut plane: Vec<T> = (0..len).map(|_| T::of(noise.uniform(-1.0, 1.0))).collect();
        plane.iter_mut().zip(odd).for_each(|(x, odd)| *x = odd);
        plane
    };
    (0..count).map(|_| plane(noise)).collect()
}

/// Runs a copy into poison and returns what is there then, guards and padding looked at.
fn run<T: Element>(
    exec: &Exec,
    copy: &StridedCopy,
    rest: Rest,
    x: &[Vec<T>],
) -> Result<Guarded<T>, String> {
    let input = Guarded::filled(x, 3);
    let mut target = Guarded::poisoned(x.len(), copy.to_len(), 5);
    strided_copy(exec, copy, rest, input.view(), &mut target.view_mut())
        .map_err(|e| e.to_string())?;
    target.intact()?;
    Ok(target)
}

fn check<T: Element>(moved: &Moved, count: usize, noise: &mut Noise, execs: &[Exec]) {
    let (copy, pairs) = (moved.copy(), moved.pairs());
    assert_eq!(copy.len(), pairs.len(), "{moved:?}");
    let x = planes::<T>(noise, count, moved.from_len);
    for (rest, left) in [(Rest::Keep, T::nan()), (Rest::Zero, T::zero())] {
        let expected = x.iter().map(|x| {
            let mut plane = vec![left; moved.to_len];
            pairs.iter().for_each(|&(from, to)| plane[to] = x[from]);
            plane
        });
        let expected: Vec<Vec<T>> = expected.collect();
        for exec in execs {
            let context = format!("{} {count} planes, {rest:?}, {exec:?}, {moved:?}", T::NAME);
            let found = run(exec, &copy, rest, &x).unwrap_or_else(|e| panic!("{e}: {context}"));
            for (found, expected) in found.planes().into_iter().zip(&expected) {
                assert!(same_bits(found, expected), "{context}");
            }
        }
    }
}

/// Both element types, on one thread.
fn both(moved: &Moved, noise: &mut Noise) {
    for count in [1, 3] {
        check::<f32>(moved, count, noise, &single());
        check::<f64>(moved, count, noise, &single());
    }
}

/// Every order of so many axes.
fn orders(axes: usize) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for axis in 0..axes {
        let longer = |order: &Vec<usize>| -> Vec<Vec<usize>> {
            let at = |at: usize| {
                let mut order = order.clone();
                order.insert(at, axis);
                order
            };
            (0..=order.len()).map(at).collect()
        };
        all = all.iter().flat_map(longer).collect();
    }
    all
}

#[test]
fn axes_in_every_order() {
    let mut noise = Noise::new(31);
    for sizes in [
        &[1, 1][..],
        &[5, 0],
        &[19, 40],
        &[3, 530],
        &[530, 2],
        &[5, 17, 23],
        &[2, 16, 33],
        &[3, 5, 7, 11],
        &[2, 1, 3, 5, 17],
    ] {
        for order in orders(sizes.len()) {
            both(&Moved::permuted(sizes, &order), &mut noise);
        }
    }
}

/// Every combination of steps, directions, paddings and orders, drawn.
#[test]
fn drawn_boxes() {
    let mut noise = Noise::new(32);
    for _ in 0..400 {
        let axes = noise.below(6);
        let orders = orders(axes);
        let sizes: Vec<usize> = (0..axes)
            .map(|_| noise.pick(&[0, 1, 2, 2, 3, 3, 5, 7, 16, 17]))
            .collect();
        let [read, written] = [0, 1].map(|_| {
            let side = |_| Side {
                before: noise.pick(&[0, 0, 1, 3]),
                after: noise.pick(&[0, 0, 1, 2]),
                step: noise.pick(&[1, 1, 1, 2, 3]),
                backwards: noise.below(4) == 0,
            };
            let sides: Vec<Side> = (0..axes).map(side).collect();
            (sides, orders[noise.below(orders.len())].clone())
        });
        let moved = Moved::new(&sizes, [&read.1, &written.1], [&read.0, &written.0]);
        if moved.from_len.max(moved.to_len) <= 60_000 {
            both(&moved, &mut noise);
        }
    }
}

/// An element that is read again and again.
#[test]
fn repeated_elements() {
    let mut noise = Noise::new(33);
    for (inner, outer) in [(1, 0), (0, 1), (0, 0), (2, 0), (5, 0)] {
        let axis = |size, from, to| CopyAxis { size, from, to };
        let moved = Moved {
            from_len: 100,
            from: 3,
            to_len: 20 * 21,
            to: 1,
            axes: vec![axis(19, inner, 1), axis(20, outer, 21)],
        };
        both(&moved, &mut noise);
    }
}

/// Past the size from which threads share: lines, tiles, lines apart, long lines, much between few.
#[test]
fn shared_by_threads() {
    let mut noise = Noise::new(34);
    let sized = |before, after, step| Side {
        before,
        after,
        step,
        backwards: false,
    };
    let (sizes, natural) = ([7, 16, 27, 28], [0, 1, 2, 3]);
    let (padded, apart) = (sized(1, 2, 1), sized(0, 1, 2));
    let long = |read: Side, written: Side| {
        let (orders, sides) = ([&[0, 1][..]; 2], [[WHOLE, read], [WHOLE, written]]);
        Moved::new(&[2, 40_009], orders, [&sides[0], &sides[1]])
    };
    let cases = [
        Moved::permuted(&sizes, &[0, 2, 3, 1]),
        Moved::permuted(&sizes, &[1, 0, 2, 3]),
        Moved::permuted(&[40_009, 3], &[1, 0]),
        Moved::permuted(&[3, 40_009], &[1, 0]),
        Moved::new(&sizes, [&natural; 2], [&[WHOLE; 4], &[padded; 4]]),
        Moved::new(&sizes, [&natural; 2], [&[WHOLE; 4], &[apart; 4]]),
        Moved::new(&sizes, [&natural; 2], [&[apart; 4], &[WHOLE; 4]]),
        long(WHOLE, WHOLE),
        long(sized(5, 40_009, 1), WHOLE),
        long(WHOLE, sized(40_009, 3, 1)),
        Moved::new(
            &[3, 5],
            [&[0, 1]; 2],
            [&[WHOLE; 2], &[WHOLE, sized(70_000, 9, 1)]],
        ),
    ];
    for moved in cases {
        check::<f32>(&moved, 2, &mut noise, &execs());
        check::<f64>(&moved, 1, &mut noise, &execs());
    }
}

/// No plane, planes of nothing, and a box of nothing.
#[test]
fn nothing_to_carry() {
    let mut noise = Noise::new(35);
    let nothing = |from_len, to_len| Moved {
        from_len,
        from: usize::MAX,
        to_len,
        to: usize::MAX,
        axes: vec![
            CopyAxis {
                size: usize::MAX,
                from: isize::MIN,
                to: isize::MIN,
            },
            CopyAxis {
                size: 0,
                from: 0,
                to: 0,
            },
        ],
    };
    for (from_len, to_len) in [(0, 0), (3, 0), (0, 5), (4, 7)] {
        let moved = nothing(from_len, to_len);
        assert!(moved.copy().is_empty());
        for count in [1, 2] {
            let x = planes::<f32>(&mut noise, count, from_len);
            for exec in single() {
                let kept = run(&exec, &moved.copy(), Rest::Keep, &x).expect("operands fit");
                assert!(kept.planes().concat().iter().all(|x| x.is_nan()));
                let zeros = run(&exec, &moved.copy(), Rest::Zero, &x).expect("operands fit");
                assert!(same_bits(
                    &zeros.planes().concat(),
                    &vec![0.0; count * to_len]
                ));
            }
        }
    }
    let one = Moved {
        from_len: 4,
        from: 2,
        to_len: 3,
        to: 1,
        axes: Vec::new(),
    };
    both(&one, &mut noise);
    let none: Guarded<f32> = Guarded::poisoned(0, 0, 0);
    let mut nowhere = none.clone();
    for exec in single() {
        let empty = nothing(0, 0).copy();
        let outcome = strided_copy(
            &exec,
            &empty,
            Rest::Zero,
            none.view(),
            &mut nowhere.view_mut(),
        );
        assert_eq!(outcome, Ok(()));
    }
}

/// Axes have one form: forwards and outwards where they are written, and joined.
#[test]
fn one_form() {
    let axis = |size, from, to| CopyAxis { size, from, to };
    let of = |from, to, axes: &[CopyAxis]| {
        StridedCopy::new(60, from, 60, to, axes).expect("it lies in both planes")
    };
    let joined = of(0, 0, &[axis(60, 1, 1)]);
    assert_eq!(joined.axes(), [axis(60, 1, 1)]);
    for axes in [
        [axis(3, 20, 20), axis(4, 5, 5), axis(5, 1, 1)],
        [axis(5, 1, 1), axis(3, 20, 20), axis(4, 5, 5)],
    ] {
        assert_eq!(of(0, 0, &axes), joined);
    }
    assert_eq!(of(59, 59, &[axis(60, -1, -1), axis(1, 99, -99)]), joined);
    let turned = of(59, 0, &[axis(60, -1, 1)]);
    assert_eq!(of(0, 59, &[axis(60, 1, -1)]), turned);
    assert_eq!((turned.from(), turned.to()), (59, 0));
    assert_ne!(turned, joined);
}

/// A wrong axis, a wrong start and a wrong rest give numbers that the comparison refuses.
#[test]
fn wrong_copies_are_found() {
    let mut noise = Noise::new(36);
    let sides = [Side {
        before: 1,
        after: 1,
        ..WHOLE
    }; 3];
    let right = Moved::new(&[3, 4, 5], [&[0, 1, 2], &[2, 0, 1]], [&sides, &sides]);
    let x = planes::<f32>(&mut noise, 2, right.from_len);
    let of = |moved: &Moved, rest| {
        let exec = single()[0];
        let found = run(&exec, &moved.copy(), rest, &x).expect("operands fit");
        found.planes().concat()
    };
    let expected = of(&right, Rest::Zero);
    assert!(same_bits(&expected, &of(&right, Rest::Zero)));
    assert!(!same_bits(&expected, &of(&right, Rest::Keep)));
    let mut wrong = vec![right.clone(); 4];
    wrong[0].from += 1;
    wrong[1].to -= 1;
    wrong[2].axes[1].from -= 1;
    wrong[3].axes[2].size -= 1;
    for wrong in wrong {
        assert!(!same_bits(&expected, &of(&wrong, Rest::Zero)), "{wrong:?}");
    }
}
