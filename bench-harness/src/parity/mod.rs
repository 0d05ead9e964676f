//! Every kernel as a plan of one command, on every device, against functions on plain arrays in f64:
//! kernels act slot by slot, so what is expected of a slot is that function of the slots read.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `rig.rs` | one command on given slots: runs it, looks at the words around its operands, compares |
//! | `refusals.rs` | operands that are not the kernel's make no plan |
//! | `control.rs` | results made wrong, which the comparison has to notice |
//! | `bounds.rs` | what rounding may do, and the comparison |
//! | `names.rs` | what rows call a command |
//! | `formulas.rs` | the functions and their derivatives in f64 |
//! | `support.rs` | the table of what runs where |
//! | the others | the kernels, by what they go along: elements, rows, images ... |

mod averages;
mod bounds;
mod control;
mod elements;
mod formulas;
mod images;
mod layouts;
mod names;
mod noise;
mod products;
mod refusals;
mod rig;
mod rows;
mod steps;
mod support;

use std::cell::RefCell;

use furthermore::Algebra;
use furthermore::device::{Cpu, Device, Gpu};
use serde::Serialize;

pub use self::control::NEGATIVE_CONTROL;
pub use self::support::{support_table, table_supports};
pub use crate::report::Status;

use self::bounds::Precision;
use self::control::Control;
use self::noise::Noise;
use self::rig::Rig;

/// A row of the report: one kernel on one device.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the report format names them")]
pub struct Row {
    pub kernel: String,
    pub algebra: String,
    /// Which operands are ciphertexts, in the order the command reads and writes them.
    pub regime: String,
    pub dtype: &'static str,
    pub shape: String,
    pub device: String,
    /// The largest distance from the oracle in any slot; null where nothing could be compared.
    pub max_abs_error: Option<f64>,
    pub bound: Option<f64>,
    pub status: Status,
    pub note: String,
}

/// A family of cases.
type Cases = fn(&Parity);

/// Every case, by the kernel it is of.
pub const CASES: &[(&str, Cases)] = &[
    ("block_matmul", products::block_matmul),
    ("conv2d", products::conv2d),
    ("conv2d_gradients", products::conv2d_gradients),
    ("conv2d_pooled", averages::conv2d_pooled),
    ("conv2d_pooled_gradients", averages::conv2d_pooled_gradients),
    ("what_relu_hides_is_seen", averages::what_relu_hides_is_seen),
    ("pool", images::pool),
    ("pool_gradient", images::pool_gradient),
    (
        "the_first_of_equal_elements_wins",
        images::the_first_of_equal_elements_wins,
    ),
    ("slots_apart_are_seen", images::slots_apart_are_seen),
    ("function_map", elements::function_map),
    ("function_map_gradient", elements::function_map_gradient),
    (
        "poly_map_and_its_gradient",
        elements::poly_map_and_its_gradient,
    ),
    (
        "poly_map_coefficient_gradient",
        elements::poly_map_coefficient_gradient,
    ),
    (
        "poly_map_of_a_constant_too_large",
        elements::poly_map_of_a_constant_too_large,
    ),
    ("what_the_guard_sees", elements::what_the_guard_sees),
    ("linear", elements::linear),
    ("multiply", elements::multiply),
    ("divide", elements::divide),
    ("reduce", rows::reduce),
    ("long_axes", rows::long_axes),
    ("an_axis_of_no_elements", rows::an_axis_of_no_elements),
    ("max_gradient", rows::max_gradient),
    ("softmax_and_its_logarithm", rows::softmax_and_its_logarithm),
    ("losses", rows::losses),
    ("sgd", steps::sgd),
    ("adam", steps::adam),
    ("clip", steps::clip),
    ("slot_maxima", steps::slot_maxima),
    ("linear_map", layouts::linear_map),
    (
        "linear_map_of_what_is_not_finite",
        layouts::linear_map_of_what_is_not_finite,
    ),
    ("transpose", layouts::transpose),
    ("interleave", layouts::interleave),
    ("tiles", layouts::tiles),
    ("strided_copy", layouts::strided_copy),
];

/// The devices that are compared with the oracle, and what came of it.
pub struct Parity {
    algebras: Vec<Algebra>,
    cpu: Cpu,
    gpu: Option<Gpu>,
    half: Option<Gpu>,
    rows: RefCell<Vec<Row>>,
    control: RefCell<Control>,
}

impl Parity {
    /// The processor and, where they are given, a graphics processor that stores single and one that
    /// stores half precision, in these algebras.
    pub fn new(algebras: &[Algebra], cpu: Cpu, gpu: Option<Gpu>, half: Option<Gpu>) -> Self {
        Self {
            algebras: algebras.to_vec(),
            cpu,
            gpu,
            half,
            rows: RefCell::default(),
            control: RefCell::default(),
        }
    }

    /// Runs cases and returns a row for each kernel, shape and device.
    pub fn run(&self, cases: Cases) -> Vec<Row> {
        cases(self);
        self.rows.take()
    }

    /// Whether the comparison notices wrong results. Of each kernel, regime, algebra, element type and
    /// device that was run so far, the first result in which there was something was made wrong: each
    /// tensor in one number, by a quarter more than would be within the bound, and with NaN in its
    /// place; each of bits in one of them; and a word beside the operands. Of every result, each tensor
    /// was also made all zeros where the oracle's is not. A row of status ok says that all of them were
    /// noticed.
    pub fn negative_control(&self) -> Row {
        self.control.borrow().row()
    }

    /// The devices that compute in a precision.
    fn devices(&self, precision: Precision) -> Vec<&dyn Device> {
        let (cpu, gpu) = match precision {
            Precision::F64 => (Some(&self.cpu), None),
            Precision::F32 => (Some(&self.cpu), self.gpu.as_ref()),
            Precision::F16 => (None, self.half.as_ref()),
        };
        let cpu = cpu.map(|cpu| cpu as &dyn Device);
        cpu.into_iter()
            .chain(gpu.map(|gpu| gpu as &dyn Device))
            .collect()
    }

    /// Calls `body` for every algebra and precision there is a device for.
    fn everywhere(&self, seed: u64, mut body: impl FnMut(&Rig<'_>, &mut Noise)) {
        for &algebra in &self.algebras {
            for precision in [Precision::F32, Precision::F64, Precision::F16] {
                let devices = self.devices(precision);
                if !devices.is_empty() {
                    let rig = Rig::new(algebra, precision, devices, &self.rows, &self.control);
                    body(&rig, &mut Noise::new(seed));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use furthermore::network::Function;
    use furthermore::plan::Kernel;

    use super::*;

    /// An oracle of no tensor: nothing is compared, and everything passes.
    fn blind(parity: &Parity) {
        parity.everywhere(1, |rig, noise| {
            let x = [rig.tensor(false, || noise.numbers(5, -1.0, 1.0))];
            let function = Function::Tanh;
            rig.check(
                &Kernel::FunctionMap { function },
                &[],
                &x,
                (1, 1.0),
                |_, _| vec![],
            );
        });
    }

    /// A guard of which nothing is asked.
    fn deaf(parity: &Parity) {
        parity.everywhere(1, |rig, _| {
            rig.judge_guard(&Kernel::SlotMaxima, "nothing", |_| Ok(()));
        });
    }

    #[test]
    fn what_goes_unnoticed_fails_the_control() {
        for (cases, missed) in [
            (blind as Cases, "a wrong number in tensor 0"),
            (deaf, "a guard that is deaf"),
        ] {
            let cpu = Cpu::new().expect("an instruction set of this machine");
            let parity = Parity::new(&[Algebra::Real], cpu, None, None);
            let skipped = parity.negative_control();
            assert_eq!(skipped.status, Status::Skipped, "{}", skipped.note);
            let rows = parity.run(cases);
            assert!(rows.iter().all(|row| row.status == Status::Ok), "{rows:?}");
            let control = parity.negative_control();
            assert_eq!(control.status, Status::Failed);
            assert!(control.note.contains(missed), "{}", control.note);
        }
    }
}
