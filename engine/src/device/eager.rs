//! Single operations on tensors: each is a plan of one command.

use std::sync::Arc;

use super::Cpu;
use crate::algebra::Algebra;
use crate::error::Result;
use crate::network::{Function, Init, Network, Value};
use crate::plan::{CompileOptions, Plan};
use crate::session::Session;
use crate::tensor::{Ciphertext, DType, Tensor, TensorView};

impl Cpu {
    /// `a + b`; `b` may be a row that is added to every row of `a`.
    ///
    /// # Errors
    /// When shapes, keys, algebras or element types differ, as for every operation below. Graded
    /// polynomials of lower degrees are taken for such of the highest.
    pub fn add<'a>(
        &self,
        a: impl Into<TensorView<'a>>,
        b: impl Into<TensorView<'a>>,
    ) -> Result<Tensor> {
        self.evaluate(&[a.into(), b.into()], |network, v| {
            network.add("add", v[0], v[1])
        })
    }

    /// `a - b`; `b` may be a row.
    ///
    /// # Errors
    /// See [`Cpu::add`].
    pub fn subtract<'a>(
        &self,
        a: impl Into<TensorView<'a>>,
        b: impl Into<TensorView<'a>>,
    ) -> Result<Tensor> {
        self.evaluate(&[a.into(), b.into()], |network, v| {
            network.subtract("subtract", v[0], v[1])
        })
    }

    /// `a b`, element by element.
    ///
    /// # Errors
    /// See [`Cpu::add`].
    pub fn multiply<'a>(
        &self,
        a: impl Into<TensorView<'a>>,
        b: impl Into<TensorView<'a>>,
    ) -> Result<Tensor> {
        self.evaluate(&[a.into(), b.into()], |network, v| {
            network.multiply("multiply", v[0], v[1])
        })
    }

    /// The matrix product of `a` and `b`.
    ///
    /// # Errors
    /// See [`Cpu::add`].
    pub fn matmul<'a>(
        &self,
        a: impl Into<TensorView<'a>>,
        b: impl Into<TensorView<'a>>,
    ) -> Result<Tensor> {
        self.evaluate(&[a.into(), b.into()], |network, v| {
            network.matmul("matmul", v[0], v[1])
        })
    }

    /// `factor a`.
    ///
    /// # Errors
    /// When the factor or a result is not finite.
    pub fn scale<'a>(&self, a: impl Into<TensorView<'a>>, factor: f64) -> Result<Tensor> {
        self.evaluate(&[a.into()], |network, v| {
            network.scale("scale", v[0], factor)
        })
    }

    /// `function` of each element of `a`.
    ///
    /// # Errors
    /// When a result is not finite.
    pub fn map<'a>(&self, function: Function, a: impl Into<TensorView<'a>>) -> Result<Tensor> {
        self.evaluate(&[a.into()], |network, v| {
            network.map(function.name(), function, v[0])
        })
    }

    fn evaluate(
        &self,
        operands: &[TensorView<'_>],
        build: impl FnOnce(&mut Network, &[Value]) -> Result<Value>,
    ) -> Result<Tensor> {
        let raised = level(operands)?;
        let leveled = operands.iter().zip(&raised);
        let operands: Vec<TensorView<'_>> = leveled
            .map(|(&given, raised)| raised.as_ref().map_or(given, TensorView::Ciphertext))
            .collect();
        let mut network = Network::new();
        let key = operands.iter().find_map(|t| match t {
            TensorView::Ciphertext(c) => Some(c),
            TensorView::Plaintext(_) => None,
        });
        // Operands are parameters, which have no batch axis.
        let mut values = Vec::new();
        let mut plaintext = Vec::new();
        for (nth, operand) in operands.iter().enumerate() {
            let name = operand_name(nth);
            let shape = operand.shape().clone();
            values.push(network.parameter(&name, shape, Init::Uniform { bound: 0.0 })?);
            if let TensorView::Plaintext(_) = operand {
                plaintext.push(name);
            }
        }
        let result = build(&mut network, &values)?;
        network.output("result", result)?;
        let dtype = operands.first().map_or(DType::F32, |t| t.dtype());
        let algebra = key.map_or(Algebra::Real, |c| c.algebra());
        let options = CompileOptions {
            plaintext,
            ..CompileOptions::encrypted(1, dtype, algebra)
        };
        let plan = Arc::new(Plan::compile(&network, &options)?);
        let mut session = Session::new(self, plan, key.map(|c| c.key()))?;
        for (nth, operand) in operands.iter().enumerate() {
            session.write(&operand_name(nth), *operand)?;
        }
        session.run()?;
        session.read("result")
    }
}

/// Graded polynomials of lower degrees than another operand's, as such of that degree.
fn level(operands: &[TensorView<'_>]) -> Result<Vec<Option<Ciphertext>>> {
    let degree = |ciphertext: &Ciphertext| match ciphertext.algebra() {
        Algebra::Graded(degree) => degree,
        _ => 0,
    };
    let ciphertexts = operands.iter().map(|operand| match operand {
        TensorView::Ciphertext(ciphertext) => Some(*ciphertext),
        TensorView::Plaintext(_) => None,
    });
    let highest = ciphertexts.clone().flatten().map(degree).max().unwrap_or(0);
    let raise = |ciphertext: Option<&Ciphertext>| match ciphertext {
        Some(c) if (1..highest).contains(&degree(c)) => {
            c.convert(Algebra::Graded(highest)).map(Some)
        }
        _ => Ok(None),
    };
    ciphertexts.map(raise).collect()
}

fn operand_name(nth: usize) -> String {
    format!("operand {}", nth + 1)
}
