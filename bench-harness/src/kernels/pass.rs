//! A kernel that goes over its operands once, as a row measures it.

use furthermore_kernels_cpu::{Arithmetic, Element, Exec, KernelError};

use super::operands::{Operand, call};
use super::{Case, Regime, Setup, Side};

/// What a call works on, as long as its [`Pass`] says.
pub(super) struct Tensors<T> {
    pub(super) exec: Exec,
    pub(super) arithmetic: Arithmetic,
    /// To read.
    pub(super) a: Operand<T>,
    /// To read; plaintext in ct-pt.
    pub(super) b: Operand<T>,
    /// To write. Zeros, so that what is multiplied in place does not become subnormal.
    pub(super) y: Operand<T>,
    /// What an optimiser remembers, as long as `y`.
    pub(super) memory: [Operand<T>; 2],
}

/// The tensors of a call: elements of each, each read or written once.
#[derive(Clone, Copy, Default)]
pub(super) struct Pass {
    pub(super) a: usize,
    pub(super) b: usize,
    pub(super) y: usize,
    /// `b` may be plaintext where `a` is not.
    pub(super) two: bool,
    /// The kernel takes `a` and does not look at it.
    pub(super) unread: bool,
    /// `y` is read before it is written.
    pub(super) in_place: bool,
    /// Tensors of an optimiser's memory that are read and written.
    pub(super) remembered: usize,
    /// Floating-point operations in each slot; see [`Side::flop`].
    pub(super) flop: usize,
}

impl Pass {
    /// The sides of `body` on these tensors.
    pub(super) fn case<T: Element, R>(
        self,
        setup: &Setup,
        kernel: &str,
        shape: impl ToString,
        body: impl Fn(&mut Tensors<T>) -> Result<R, KernelError> + Copy + 'static,
    ) -> Case {
        let exec = setup.exec;
        let sides = setup
            .of_two()
            .filter(|(regime, ..)| self.two || *regime != Regime::CtPt)
            .map(|(regime, algebra, arithmetic)| {
                let dim = arithmetic.dim();
                let right = if regime == Regime::CtPt { 1 } else { dim };
                let written = self.y * (1 + usize::from(self.in_place) + 2 * self.remembered);
                let read = if self.unread { 0 } else { self.a };
                let elements = dim * (read + written) + right * self.b;
                let arithmetic = arithmetic.clone();
                Side {
                    regime,
                    algebra,
                    flop: (self.flop * arithmetic.slots()) as f64,
                    bytes: (elements * size_of::<T>()) as f64,
                    prepare: Box::new(move || {
                        let memory = |nth| {
                            let len = if nth < self.remembered { self.y } else { 0 };
                            Operand::zeros(dim, len)
                        };
                        let mut tensors = Tensors {
                            exec,
                            arithmetic: arithmetic.clone(),
                            a: Operand::random(dim, self.a),
                            b: Operand::random(right, self.b),
                            y: Operand::zeros(dim, self.y),
                            memory: [memory(0), memory(1)],
                        };
                        call(move || body(&mut tensors).map(drop))
                    }),
                }
            });
        Case {
            kernel: kernel.to_owned(),
            shape: shape.to_string(),
            sides: sides.collect(),
        }
    }
}
