//! Kernels one by one, each plain and encrypted on the same operands: what `kernels` measures and
//! what the criterion benches run.

mod images;
mod matrices;
mod operands;
mod peaks;
mod vectors;

use furthermore::Algebra;
use furthermore::scheme::SecretKey;
use furthermore_kernels_cpu::{Arithmetic, Element, Exec};

use crate::error::Result;

pub use peaks::Peaks;

/// A kernel call that can be repeated, with operands of its own.
pub type Call = Box<dyn FnMut()>;

/// Who is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Regime {
    /// Nothing.
    Plain,
    /// The left operand, or the only one.
    CtPt,
    /// Both operands.
    CtCt,
}

impl Regime {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Regime::Plain => "pt-pt",
            Regime::CtPt => "ct-pt",
            Regime::CtCt => "ct-ct",
        }
    }
}

/// One way to call a kernel.
pub struct Side {
    /// Who is encrypted.
    pub regime: Regime,
    /// Under which algebra; `Real` for plaintext.
    pub algebra: Algebra,
    /// Floating-point operations of a call, a fused multiply-add counting as two; 0 where that is no
    /// measure of the work.
    pub flop: f64,
    /// Bytes of the operands that a call reads and writes, each once.
    pub bytes: f64,
    /// Sets up operands and returns the call.
    pub prepare: Box<dyn Fn() -> Result<Call>>,
}

/// One kernel at one shape, in every regime; the plain side comes first.
pub struct Case {
    /// The kernel's family, as its file in kernels-cpu is named, and which of its kernels.
    pub kernel: String,
    /// The shape, as "512x512x512" for products.
    pub shape: String,
    /// Ways to call it.
    pub sides: Vec<Side>,
}

/// The plain algebra and each encrypted one with the constants of a key.
pub(crate) struct Algebras(Vec<(Algebra, Arithmetic)>);

impl Algebras {
    fn new(encrypted: &[Algebra]) -> Result<Self> {
        let mut all = vec![(Algebra::Real, Arithmetic::real())];
        for &algebra in encrypted {
            let key = SecretKey::from_known_seed(algebra.slots(), 1)?;
            all.push((algebra, key.evaluation_key().arithmetic(algebra)?));
        }
        Ok(Self(all))
    }

    /// The sides of a kernel with two operands that may be plaintext or ciphertext.
    pub(crate) fn of_two(&self) -> impl Iterator<Item = (Regime, Algebra, &Arithmetic)> {
        self.0.iter().flat_map(|(algebra, arithmetic)| {
            let regimes: &[Regime] = match algebra {
                Algebra::Real => &[Regime::Plain],
                _ => &[Regime::CtPt, Regime::CtCt],
            };
            regimes.iter().map(move |r| (*r, *algebra, arithmetic))
        })
    }

    /// The sides of a kernel whose tensors are all plaintext or all ciphertext.
    pub(crate) fn of_one(&self) -> impl Iterator<Item = (Regime, Algebra, &Arithmetic)> {
        self.of_two().filter(|(regime, ..)| *regime != Regime::CtPt)
    }
}

/// All cases in `T` for these algebras of ciphertexts.
///
/// # Errors
/// When an algebra has no key.
pub fn cases<T: Element>(exec: Exec, encrypted: &[Algebra]) -> Result<Vec<Case>> {
    let algebras = Algebras::new(encrypted)?;
    let mut cases = matrices::cases::<T>(exec, &algebras);
    cases.extend(images::cases::<T>(exec, &algebras));
    cases.extend(vectors::cases::<T>(exec, &algebras));
    Ok(cases)
}
