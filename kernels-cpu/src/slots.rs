//! Slots in registers: an element's coordinates taken apart and put together, a vector at a time.

use crate::algebra::{Arithmetic, MAX_DIM, MAX_SLOTS};
use crate::element::Element;
use crate::planes::RawPlanes;
use crate::simd::{MAX_LANES, Simd};

/// The largest magnitude seen in each slot of a tensor, for the mask guard.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlotMaxima {
    max_abs: [f64; MAX_SLOTS],
    slots: usize,
    finite: bool,
}

impl SlotMaxima {
    /// Nothing seen.
    pub const NONE: SlotMaxima = SlotMaxima {
        max_abs: [0.0; MAX_SLOTS],
        slots: 0,
        finite: true,
    };

    /// Nothing seen but whether all was finite.
    pub fn of_finite(finite: bool) -> SlotMaxima {
        SlotMaxima {
            finite,
            ..SlotMaxima::NONE
        }
    }

    /// Takes in what another part of the tensor showed.
    pub fn merge(mut self, other: SlotMaxima) -> SlotMaxima {
        for (m, o) in self.max_abs.iter_mut().zip(other.max_abs) {
            *m = m.max(o);
        }
        self.slots = self.slots.max(other.slots);
        self.finite &= other.finite;
        self
    }

    /// Whether every slot of every element was finite.
    pub fn finite(&self) -> bool {
        self.finite
    }

    /// The largest magnitude of each slot; empty where nothing was observed.
    pub fn max_abs(&self) -> &[f64] {
        &self.max_abs[..self.slots]
    }

    /// The largest slot's magnitude over the smallest's. `None` for plaintext, and where a slot is
    /// exactly zero throughout. A slot that is zero but for rounding cannot be told from one that
    /// rounding has drowned, and gives the large ratio of the latter.
    pub fn ratio(&self) -> Option<f64> {
        let seen = self.max_abs();
        let low = seen.iter().copied().fold(f64::INFINITY, f64::min);
        let high = seen.iter().copied().fold(0.0, f64::max);
        (seen.len() > 1 && low > 0.0).then(|| high / low)
    }
}

/// Takes vectors of coordinates to vectors of slots and back. `D` and `N` bound the counts.
pub(crate) trait Form<T: Element, S: Simd<T>, const D: usize, const N: usize>: Copy {
    fn dim(&self) -> usize;
    fn slots(&self) -> usize;
    fn split(&self, c: &[S; D]) -> [S; N];
    fn join(&self, f: &[S; N]) -> [S; D];
}

/// Plaintext: the coordinate is the slot.
#[derive(Clone, Copy)]
pub(crate) struct RealForm;

impl<T: Element, S: Simd<T>> Form<T, S, 1, 1> for RealForm {
    #[inline(always)]
    fn dim(&self) -> usize {
        1
    }
    #[inline(always)]
    fn slots(&self) -> usize {
        1
    }
    #[inline(always)]
    fn split(&self, c: &[S; 1]) -> [S; 1] {
        *c
    }
    #[inline(always)]
    fn join(&self, f: &[S; 1]) -> [S; 1] {
        *f
    }
}

/// Two slots, as [`TwoSlots`](crate::algebra::TwoSlots) describes them. Where the slots agree the
/// result is a multiple of one, exactly.
#[derive(Clone, Copy)]
pub(crate) struct TwoForm<S, const D: usize> {
    mean: [S; D],
    half: [S; D],
    one: [S; D],
    span: [S; D],
}

impl<T: Element, S: Simd<T>, const D: usize> Form<T, S, D, 2> for TwoForm<S, D> {
    #[inline(always)]
    fn dim(&self) -> usize {
        D
    }
    #[inline(always)]
    fn slots(&self) -> usize {
        2
    }
    #[inline(always)]
    fn split(&self, c: &[S; D]) -> [S; 2] {
        let mut mean = self.mean[0].mul(c[0]);
        let mut half = self.half[0].mul(c[0]);
        for i in 1..D {
            mean = self.mean[i].mul_add(c[i], mean);
            half = self.half[i].mul_add(c[i], half);
        }
        [mean.add(half), mean.sub(half)]
    }
    #[inline(always)]
    fn join(&self, f: &[S; 2]) -> [S; D] {
        let two = S::splat(T::of(0.5));
        let mean = f[0].add(f[1]).mul(two);
        let half = f[0].sub(f[1]).mul(two);
        let mut c = [mean; D];
        for i in 0..D {
            c[i] = self.span[i].mul_add(half, self.one[i].mul(mean));
        }
        c
    }
}

/// As many slots as coordinates, through the algebra's two matrices.
#[derive(Clone, Copy)]
pub(crate) struct SquareForm<S, const N: usize> {
    to_slots: [[S; N]; N],
    from_slots: [[S; N]; N],
}

#[inline(always)]
fn transform<T: Element, S: Simd<T>, const N: usize>(matrix: &[[S; N]; N], x: &[S; N]) -> [S; N] {
    let mut y = *x;
    for i in 0..N {
        y[i] = matrix[i][0].mul(x[0]);
        for j in 1..N {
            y[i] = matrix[i][j].mul_add(x[j], y[i]);
        }
    }
    y
}

impl<T: Element, S: Simd<T>, const N: usize> Form<T, S, N, N> for SquareForm<S, N> {
    #[inline(always)]
    fn dim(&self) -> usize {
        N
    }
    #[inline(always)]
    fn slots(&self) -> usize {
        N
    }
    #[inline(always)]
    fn split(&self, c: &[S; N]) -> [S; N] {
        transform(&self.to_slots, c)
    }
    #[inline(always)]
    fn join(&self, f: &[S; N]) -> [S; N] {
        transform(&self.from_slots, f)
    }
}

/// Any number of slots, through the algebra's two matrices.
#[derive(Clone, Copy)]
pub(crate) struct ManyForm<'a>(&'a Arithmetic);

impl<T: Element, S: Simd<T>> Form<T, S, MAX_DIM, MAX_SLOTS> for ManyForm<'_> {
    #[inline(always)]
    fn dim(&self) -> usize {
        self.0.dim()
    }
    #[inline(always)]
    fn slots(&self) -> usize {
        self.0.slots()
    }
    #[inline(always)]
    fn split(&self, c: &[S; MAX_DIM]) -> [S; MAX_SLOTS] {
        let mut s = [S::splat(T::zero()); MAX_SLOTS];
        for (s, row) in s.iter_mut().zip(self.0.to_slots().chunks(self.0.dim())) {
            for (c, &w) in c.iter().zip(row) {
                *s = S::splat(T::of(w)).mul_add(*c, *s);
            }
        }
        s
    }
    #[inline(always)]
    fn join(&self, f: &[S; MAX_SLOTS]) -> [S; MAX_DIM] {
        let mut c = [S::splat(T::zero()); MAX_DIM];
        for (c, row) in c.iter_mut().zip(self.0.from_slots().chunks(self.0.slots())) {
            for (f, &w) in f.iter().zip(row) {
                *c = S::splat(T::of(w)).mul_add(*f, *c);
            }
        }
        c
    }
}

/// A body that works on slots, compiled once for each form.
pub(crate) trait WithForm<T: Element, S: Simd<T>> {
    type Output;
    fn run<F: Form<T, S, D, N>, const D: usize, const N: usize>(self, form: F) -> Self::Output;
}

/// Picks the form of a tensor with that many planes: plaintext where there is one.
#[inline(always)]
pub(crate) fn with_form<T: Element, S: Simd<T>, W: WithForm<T, S>>(
    arithmetic: &Arithmetic,
    planes: usize,
    body: W,
) -> W::Output {
    #[inline(always)]
    fn wide<T: Element, S: Simd<T>, const D: usize>(weights: &[f64]) -> [S; D] {
        let mut wide = [S::splat(T::zero()); D];
        for i in 0..D {
            wide[i] = S::splat(T::of(weights[i]));
        }
        wide
    }
    #[inline(always)]
    fn two<T: Element, S: Simd<T>, const D: usize>(arithmetic: &Arithmetic) -> TwoForm<S, D> {
        let two = arithmetic
            .two()
            .expect("an algebra of two slots has its constants");
        TwoForm {
            mean: wide(&two.mean),
            half: wide(&two.half),
            one: wide(&two.one),
            span: wide(&two.span),
        }
    }
    #[inline(always)]
    fn square<T: Element, S: Simd<T>, const N: usize>(weights: &[f64]) -> [[S; N]; N] {
        let mut matrix = [[S::splat(T::zero()); N]; N];
        for i in 0..N {
            matrix[i] = wide(&weights[i * N..][..N]);
        }
        matrix
    }
    match (planes, arithmetic.slots()) {
        (1, _) => body.run(RealForm),
        (2, 2) => body.run(two::<T, S, 2>(arithmetic)),
        (4, 2) => body.run(two::<T, S, 4>(arithmetic)),
        // Three messages that share a mask, and reduced polynomials of degree 1.
        (4, 4) => body.run(SquareForm::<S, 4> {
            to_slots: square(arithmetic.to_slots()),
            from_slots: square(arithmetic.from_slots()),
        }),
        _ => body.run(ManyForm(arithmetic)),
    }
}

/// Loads `count` elements of each plane at `at`.
///
/// # Safety
/// `planes` has `form.dim()` planes valid for reading `at..at + count`, `count <= LANES`.
#[inline(always)]
pub(crate) unsafe fn load<T: Element, S: Simd<T>, const D: usize>(
    planes: &RawPlanes<T>,
    dim: usize,
    at: usize,
    count: usize,
) -> [S; D] {
    let mut c = [S::splat(T::zero()); D];
    for (i, c) in c.iter_mut().enumerate().take(dim) {
        let p = planes.plane(i).wrapping_add(at);
        // SAFETY: the caller's promise.
        *c = unsafe { S::load_some(p, count) };
    }
    c
}

/// The slots of `lanes` elements from `at` on; a plaintext has its value in each slot of `form`.
/// Lanes past them are zero.
///
/// # Safety
/// The elements are valid for reading, in one plane or in as many as the form has; `lanes <= LANES`.
#[inline(always)]
pub(crate) unsafe fn values<T: Element, S: Simd<T>, F, const D: usize, const N: usize>(
    form: &F,
    planes: &RawPlanes<T>,
    at: usize,
    lanes: usize,
) -> [S; N]
where
    F: Form<T, S, D, N>,
{
    // SAFETY: the caller's promise.
    unsafe {
        if planes.count == form.dim() {
            form.split(&load(planes, form.dim(), at, lanes))
        } else {
            [S::load_some(planes.plane(0).wrapping_add(at), lanes); N]
        }
    }
}

/// Stores `count` elements of each plane at `at`.
///
/// # Safety
/// `planes` has `dim` planes valid for writing `at..at + count`, `count <= LANES`.
#[inline(always)]
pub(crate) unsafe fn store<T: Element, S: Simd<T>, const D: usize>(
    planes: &RawPlanes<T>,
    dim: usize,
    at: usize,
    count: usize,
    c: &[S; D],
) {
    for (i, c) in c.iter().enumerate().take(dim) {
        let p = planes.plane(i).wrapping_add(at);
        // SAFETY: the caller's promise.
        unsafe {
            c.store_some(p, count);
        }
    }
}

/// Calls `body(at, count)` over `0..len` in whole vectors, then once for what remains.
#[inline(always)]
pub(crate) fn sweep(len: usize, lanes: usize, mut body: impl FnMut(usize, usize)) {
    let whole = len - len % lanes;
    let mut at = 0;
    while at < whole {
        body(at, lanes);
        at += lanes;
    }
    if at < len {
        body(at, len - at);
    }
}

/// Which lanes of the last vector of a row hold elements, where it is not whole.
#[derive(Clone, Copy)]
pub(crate) struct Edge<S> {
    inside: S,
    outside: S,
}

impl<S> Edge<S> {
    /// That of rows of `len` elements.
    #[inline(always)]
    pub(crate) fn of<T: Element>(len: usize) -> Self
    where
        S: Simd<T>,
    {
        let ones = [T::one(); MAX_LANES];
        // SAFETY: the count is below `LANES`, which is at most `MAX_LANES`.
        let inside = unsafe { S::load_partial(ones.as_ptr(), len % S::LANES) };
        let outside = S::splat(T::one()).sub(inside);
        Self { inside, outside }
    }

    /// A vector of `count` elements, `otherwise` in the lanes past them.
    #[inline(always)]
    pub(crate) fn fill<T: Element>(&self, x: S, count: usize, otherwise: T) -> S
    where
        S: Simd<T>,
    {
        if count == S::LANES {
            return x;
        }
        x.where_positive(self.inside)
            .add(S::splat(otherwise).where_positive(self.outside))
    }
}

/// Gathers [`SlotMaxima`] in registers.
#[derive(Clone, Copy)]
pub(crate) struct Watch<S, const N: usize> {
    max: [S; N],
    /// Of what was seen with its magnitude and without: sums of their own, since each waits for the
    /// one before.
    odd: [S; 2],
}

impl<S, const N: usize> Watch<S, N> {
    #[inline(always)]
    pub(crate) fn new<T: Element>() -> Self
    where
        S: Simd<T>,
    {
        let zero = S::splat(T::zero());
        Self {
            max: [zero; N],
            odd: [zero; 2],
        }
    }

    #[inline(always)]
    pub(crate) fn see<T: Element>(&mut self, slots: &[S; N], count: usize)
    where
        S: Simd<T>,
    {
        for k in 0..count {
            self.max[k] = slots[k].abs().max(self.max[k]);
        }
        self.odd[0] = self.odd[0].add(oddity(&slots[..count]));
    }

    /// Looks for numbers that are not finite, whatever the magnitudes.
    #[inline(always)]
    pub(crate) fn see_finite<T: Element>(&mut self, slots: &[S])
    where
        S: Simd<T>,
    {
        self.odd[1] = self.odd[1].add(oddity(slots));
    }

    #[inline(always)]
    pub(crate) fn finish<T: Element>(&self, count: usize) -> SlotMaxima
    where
        S: Simd<T>,
    {
        let mut seen = SlotMaxima {
            slots: count,
            ..SlotMaxima::NONE
        };
        for k in 0..count {
            let lanes = self.max[k].lanes();
            seen.max_abs[k] = lanes.iter().map(|x| x.wide()).fold(0.0, f64::max);
        }
        seen.finite = self.odd[0]
            .add(self.odd[1])
            .lanes()
            .iter()
            .all(|x| *x == T::zero());
        seen
    }
}

/// Zero where all are finite, NaN elsewhere.
#[inline(always)]
fn oddity<T: Element, S: Simd<T>>(slots: &[S]) -> S {
    let zero = S::splat(T::zero());
    let mut sum = slots[0].mul(zero);
    for slot in &slots[1..] {
        sum = slot.mul_add(zero, sum);
    }
    sum
}
