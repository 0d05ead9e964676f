//! Commands that move elements: each is a copy between boxes of two tensors.

use super::Compiler;
use crate::error::Result;
use crate::network::{Op, Value};
use crate::plan::Region;

impl Compiler<'_> {
    pub(super) fn emit_moves(&mut self, value: Value, reads: &[Region]) -> Result<()> {
        match &self.network.node(value).op {
            Op::Reshape { .. } => {
                self.copy(value, reads[0]);
                Ok(())
            }
            _ => self.refuse(value, "it moves no elements"),
        }
    }
}
