//! Element types: f32 and f64 to compute with, f16 and bf16 to store.
//!
//! Casts run in the caller's instruction set but for f16, where the crate `half` looks for the
//! processor's instructions itself, whatever set is forced.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use crate::element::Element;
use crate::error::KernelError;
use crate::isa::Isa;
use crate::planes::{Planes, PlanesMut};
use crate::simd::{Simd, WithSimd};
use crate::threads::Exec;

use super::NAME;

mod sealed {
    pub trait Sealed<To> {}
}

/// A number type that [`cast`] rounds to `To`.
pub trait Cast<To>: Copy + Send + Sync + sealed::Sealed<To> {
    #[doc(hidden)]
    fn cast_slice(isa: Isa, from: &[Self], to: &mut [To]);
}

/// Converts every element of `input`, with one rounding to the nearest, ties to even.
///
/// What is past the largest number of the output's type becomes infinite, what is below half of its
/// smallest a zero of the same sign; NaN stays NaN. From f16 or bf16 nothing is rounded. Types are
/// f32, f64 and [`half`]'s f16 and bf16, of which one at least is f32 or f64. Every instruction set
/// gives the same bits.
///
/// # Errors
/// When planes or lengths differ.
pub fn cast<A: Cast<B>, B: Send + Sync>(
    exec: &Exec,
    input: Planes<'_, A>,
    output: &mut PlanesMut<'_, B>,
) -> Result<(), KernelError> {
    output.expect(NAME, "output", &[input.count()], input.len())?;
    if input.is_empty() {
        return Ok(());
    }
    for i in 0..input.count() {
        let (from, to) = (input.plane(i), output.raw().only(i));
        exec.spans(
            input.len(),
            CAST_BLOCK,
            size_of::<A>() + size_of::<B>(),
            |range| {
                let at = to.plane(0).wrapping_add(range.start);
                // SAFETY: the output has as many elements, and every thread its own.
                let to = unsafe { std::slice::from_raw_parts_mut(at, range.len()) };
                A::cast_slice(exec.isa, &from[range], to);
            },
            |(), ()| (),
        );
    }
    Ok(())
}

/// Elements converted by way of f32 at a time.
const CAST_BLOCK: usize = 256;

/// Converts number by number, in the vectors of an instruction set.
struct Each<'a, A, B, F> {
    from: &'a [A],
    to: &'a mut [B],
    convert: F,
}

impl<A: Copy, B, F: Fn(A) -> B> WithSimd<f32> for Each<'_, A, B, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<f32>>(self) {
        for (to, from) in self.to.iter_mut().zip(self.from) {
            *to = (self.convert)(*from);
        }
    }
}

/// Rounds to f32 so that rounding on to fewer digits is as if done at once: a number between two f32
/// goes to the one whose last digit is odd, which no tie and no rounded number of fewer digits is.
///
/// Boldo and Melquiond, "Emulation of FMA and correctly rounded sums: proved algorithms using rounding
/// to odd", IEEE Transactions on Computers 57 (2008).
#[inline(always)]
fn round_to_odd(x: f64) -> f32 {
    let nearest = x as f32;
    let (bits, back) = (nearest.to_bits(), f64::from(nearest));
    let exact = back == x || x.is_nan();
    if exact || bits & 1 == 1 {
        nearest
    } else if back.abs() > x.abs() {
        f32::from_bits(bits - 1)
    } else {
        f32::from_bits(bits + 1)
    }
}

/// Fills `to` with `convert` of each number of `from`.
#[inline(always)]
fn each<A: Copy, B>(isa: Isa, from: &[A], to: &mut [B], convert: impl Fn(A) -> B) {
    isa.run::<f32, _>(Each { from, to, convert });
}

macro_rules! casts {
    ($($from:ty => $to:ty: |$isa:ident, $input:ident, $output:ident| $body:expr;)*) => {$(
        impl sealed::Sealed<$to> for $from {}
        impl Cast<$to> for $from {
            fn cast_slice($isa: Isa, $input: &[$from], $output: &mut [$to]) {
                $body
            }
        }
    )*};
}

casts! {
    f32 => f64: |isa, from, to| each(isa, from, to, #[inline(always)] |x| x.wide());
    f64 => f32: |isa, from, to| each(isa, from, to, #[inline(always)] |x| x as f32);
    f32 => bf16: |isa, from, to| each(isa, from, to, bf16::from_f32);
    f64 => bf16: |isa, from, to| each(isa, from, to, #[inline(always)] |x| bf16::from_f32(round_to_odd(x)));
    bf16 => f32: |isa, from, to| each(isa, from, to, bf16::to_f32);
    bf16 => f64: |isa, from, to| each(isa, from, to, #[inline(always)] |x| bf16::to_f32(x).wide());
    // `half` has the processor's instructions for f16, where there are any.
    f32 => f16: |_isa, from, to| to.convert_from_f32_slice(from);
    f16 => f32: |_isa, from, to| from.convert_to_f32_slice(to);
    f64 => f16: |isa, from, to| {
        let mut single = [0.0; CAST_BLOCK];
        for (from, to) in from.chunks(CAST_BLOCK).zip(to.chunks_mut(CAST_BLOCK)) {
            let single = &mut single[..from.len()];
            each(isa, from, single, round_to_odd);
            to.convert_from_f32_slice(single);
        }
    };
    f16 => f64: |isa, from, to| {
        let mut single = [0.0; CAST_BLOCK];
        for (from, to) in from.chunks(CAST_BLOCK).zip(to.chunks_mut(CAST_BLOCK)) {
            let single = &mut single[..from.len()];
            from.convert_to_f32_slice(single);
            each(isa, single, to, #[inline(always)] |x| x.wide());
        }
    };
}
