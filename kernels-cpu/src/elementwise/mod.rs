//! Sums, multiples, products and quotients, element by element, of operands that may broadcast.

mod broadcast;
mod divide;
mod multiply;

pub use broadcast::{Broadcast, BroadcastAxis, MAX_AXES};
pub use divide::divide;
pub use multiply::multiply;

pub(crate) use divide::Divide;
pub(crate) use multiply::Multiply;

use std::ops::Range;

use broadcast::Side;

use crate::algebra::Arithmetic;
use crate::element::Element;
use crate::error::KernelError;
use crate::planes::{Planes, PlanesMut, RawPlanes};
use crate::simd::{Simd, WithSimd};
use crate::slots;
use crate::threads::Exec;

const NAME: &str = "elementwise";

/// Computes `output = alpha a + beta b`.
///
/// Operands are plaintext or ciphertexts; a plaintext stands for its multiple of the algebra's one.
///
/// # Errors
/// When planes differ from the larger operand's, or lengths from the broadcast's.
pub fn linear<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    broadcast: &Broadcast,
    (alpha, a): (f64, Planes<'_, T>),
    (beta, b): (f64, Planes<'_, T>),
    output: &mut PlanesMut<'_, T>,
) -> Result<(), KernelError> {
    let planes = arithmetic.ciphertext(a.count().max(b.count()));
    broadcast.expect(|_| planes, &a, &b)?;
    let planes = a.count().max(b.count());
    output.expect(NAME, "output", &[planes], broadcast.len())?;
    let (a, b) = broadcast.sides(&a, &b);
    let weigh = |operand: &Side<T>, weight: f64, i: usize| {
        let (plane, one) = if operand.planes.count == planes {
            (i, 1.0)
        } else {
            (0, arithmetic.one()[i])
        };
        (operand.only(plane), T::of(weight * one))
    };
    for i in 0..planes {
        let (a, b) = (weigh(&a, alpha, i), weigh(&b, beta, i));
        let output = output.raw().only(i);
        exec.spans(
            broadcast.len(),
            exec.isa.lanes::<T>(),
            3 * size_of::<T>(),
            |range| {
                let body = Linear {
                    broadcast,
                    a,
                    b,
                    output,
                    range,
                };
                T::run_linear(exec.isa, body);
            },
            |(), ()| (),
        );
    }
    Ok(())
}

pub(crate) struct Linear<'a, T> {
    broadcast: &'a Broadcast,
    a: (Side<T>, T),
    b: (Side<T>, T),
    output: RawPlanes<T>,
    range: Range<usize>,
}

impl<T: Element> WithSimd<T> for Linear<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self) {
        let (alpha, beta) = (S::splat(self.a.1), S::splat(self.b.1));
        self.broadcast.runs(
            self.range.clone(),
            #[inline(always)]
            |at, a, b, len| {
                let output = self.output.plane(0).wrapping_add(at);
                slots::sweep(
                    len,
                    S::LANES,
                    #[inline(always)]
                    |i, count| {
                        // SAFETY: `linear` checked the lengths, and gives every thread elements of
                        // its own.
                        unsafe {
                            let a: S = self.a.0.vector(0, a, i, count);
                            let b: S = self.b.0.vector(0, b, i, count);
                            alpha
                                .mul_add(a, beta.mul(b))
                                .store_some(output.add(i), count);
                        }
                    },
                );
            },
        );
    }
}
