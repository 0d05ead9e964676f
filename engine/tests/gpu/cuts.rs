//! Planes larger than one binding: commands go through them in parts, and give what a processor does.

mod cases;

use std::collections::HashMap;
use std::sync::Arc;

use furthermore::device::{Cpu, Device, Gpu, Program, RunOptions, Source};
use furthermore::network::Function;
use furthermore::plan::{Kernel, Operand, Plan, Region};
use furthermore::scheme::Guard;
use furthermore::tensor::{Buffer, DType};
use furthermore::{Algebra, Error};
use furthermore_kernels_cpu::Arithmetic;
use half::f16;

use self::cases::{Case, MOST, case};
use crate::bindings::{command, device, largest_plane, limited};
use crate::{gpu, skipped};

/// Ciphertexts with slots of either sign, or near 2 where these are divided by; and words.
fn numbers(region: &Region, nth: usize, arithmetic: &Arithmetic, divided: bool) -> Buffer {
    let wave = |at: usize| ((at + 101 * nth) as f64 * 0.7).sin();
    if region.planes == 0 {
        let mut buffer = Buffer::zeroed(DType::F32, region.elements).expect("memory");
        for (at, word) in buffer.as_mut_words().iter_mut().enumerate() {
            *word = (wave(at) as f32).to_bits().wrapping_mul(0x9e37_79b1);
        }
        return buffer;
    }
    let (slots, from_slots) = (arithmetic.slots(), arithmetic.from_slots());
    let slot =
        |at: usize, slot: usize| 0.4 * wave(at + 37 * slot) + if divided { 2.0 } else { 0.0 };
    let len = region.planes * region.stride;
    let mut buffer = Buffer::zeroed(DType::F32, len).expect("memory");
    for plane in 0..region.planes {
        let to = &mut buffer.as_mut_slice::<f32>()[plane * region.stride..][..region.elements];
        for (at, x) in to.iter_mut().enumerate() {
            let coordinate = |k: usize| from_slots[plane * slots + k] * slot(at, k);
            let sum: f64 = (0..slots).map(coordinate).sum();
            *x = match region.planes <= slots {
                // Half precision holds it too. (Of blocks that would be no ciphertext.)
                true => f16::from_f64(sum).to_f32(),
                false => sum as f32,
            };
        }
    }
    buffer
}

/// What a command writes: numbers, and words.
fn run(device: &dyn Device, plan: &Arc<Plan>, arithmetic: &Arithmetic) -> (Vec<f32>, Vec<u32>) {
    let program = device.load(Arc::clone(plan), arithmetic.clone());
    let mut program = program.expect("the device takes it");
    let command = &plan.commands()[0];
    let divided = matches!(command.kernel, Kernel::Divide { .. });
    let regions = command.reads.iter().chain(&command.writes);
    for (nth, region) in regions.enumerate() {
        let source = Source {
            buffer: &numbers(region, nth, arithmetic, divided),
            stride: region.stride,
            row: 1,
            rows: None,
            embed: None,
        };
        program.upload(region, source).expect("it fits");
    }
    program.run(&options()).expect("it runs");
    let (mut numbers, mut words) = (Vec::new(), Vec::new());
    for region in &command.writes {
        let len = (region.planes * region.stride).max(region.elements);
        let mut buffer = Buffer::zeroed(DType::F32, len).expect("memory");
        program.download(region, &mut buffer).expect("it fits");
        if region.planes == 0 {
            words.extend_from_slice(&buffer.as_words()[..region.elements]);
        } else {
            numbers.extend_from_slice(buffer.as_slice::<f32>());
        }
    }
    (numbers, words)
}

/// Nothing is limited.
pub(crate) fn options() -> RunOptions<'static> {
    RunOptions {
        learning_rate: 0.1,
        step: 2,
        guard: Guard {
            warn: f64::INFINITY,
            fail: f64::INFINITY,
        },
        cancel: None,
    }
}

/// The operands of a case in an algebra.
fn operands(case: &Case, algebra: Algebra) -> [Vec<Operand>; 2] {
    let of = |lens: &[usize], first: usize| {
        let operand = |(nth, elements): (usize, &usize)| {
            let other = case.other.filter(|(other, _)| *other == first + nth);
            let planes = other.map_or(algebra.dim(), |(_, planes)| planes.min(algebra.dim()));
            let slots = if planes == 0 { algebra.slots() } else { 1 };
            Operand {
                planes,
                elements: elements * slots,
            }
        };
        lens.iter().enumerate().map(operand).collect()
    };
    [of(&case.reads, 0), of(&case.writes, case.reads.len())]
}

/// Holds numbers to others: they are off by a part of the largest, since sums of thousands of terms
/// partly cancel, and where they are stored in half precision by a step of that, since drivers round to
/// either neighbour and may flush what is subnormal.
fn expect_near(name: &str, found: &[f32], expected: &[f32], half: bool) {
    const PART: f32 = 2e-5;
    /// The least exponent of half precision, and its digits after the first.
    const LEAST: f32 = -14.0;
    const DIGITS: f32 = 10.0;
    let largest = expected.iter().fold(0.1f32, |most, x| most.max(x.abs()));
    assert_eq!(found.len(), expected.len());
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let off = (found - expected).abs();
        let step = (expected.abs().log2().floor().max(LEAST) - DIGITS).exp2();
        let stored = if half {
            step + f32::from(f16::MIN_POSITIVE)
        } else {
            0.0
        };
        let bound = PART * largest + stored;
        assert!(off <= bound, "{name} at {at}: {found}, {expected}");
    }
}

/// Whole on a processor, and in parts. Ciphertexts of two coordinates also as the device stores them in
/// half precision where it can: results are rounded to that once, and no parts of them.
fn hold_to_processor(cases: impl Fn(usize) -> Vec<Case>) {
    if gpu().is_none() {
        return;
    }
    let half = device(None, true).map_err(|e| skipped(format_args!("half precision: {e}")));
    let cpu = Cpu::new().expect("an instruction set of this machine");
    // Kept, and with them their compiled kernels.
    let mut devices: HashMap<(u64, bool), Gpu> = HashMap::new();
    let mut limited = |limit: u64, half: bool| {
        let made = devices.entry((limit, half));
        made.or_insert_with(|| limited(limit, half)).clone()
    };
    for algebra in [Algebra::Real, Algebra::Compact(2), Algebra::Blocks(2)] {
        for (nth, case) in cases(algebra.dim()).into_iter().enumerate() {
            let name = format!("{algebra} {} {nth}", case.kernel.name());
            let [reads, writes] = operands(&case, algebra);
            let (plan, arithmetic) = command(algebra, case.kernel, &reads, &writes);
            let limit = (case.most * 4) as u64;
            assert!(largest_plane(&plan) > limit, "{name}");
            let (expected, bits) = run(&cpu, &plan, &arithmetic);
            let (found, found_bits) = run(&limited(limit, false), &plan, &arithmetic);
            expect_near(&name, &found, &expected, false);
            assert_eq!(found_bits, bits, "{name}");
            if half.is_err() || algebra != Algebra::Compact(2) {
                continue;
            }
            let name = format!("{name} in half precision");
            let (found, found_bits) = run(&limited(limit, true), &plan, &arithmetic);
            expect_near(&name, &found, &expected, true);
            assert_eq!(found_bits, bits, "{name}");
        }
    }
}

#[test]
#[should_panic(expected = "control at 1")]
fn a_number_that_is_off_is_noticed() {
    expect_near("control", &[1.0, 0.5001], &[1.0, 0.5], false);
}

/// Parts of a sum that were each rounded to half precision.
#[test]
#[should_panic(expected = "control at 0")]
fn parts_that_are_rounded_are_noticed() {
    let parts = [0.3; 100];
    let add = |sum: f16, part: &f32| f16::from_f32(sum.to_f32() + part);
    let rounded = parts.iter().fold(f16::ZERO, add).to_f32();
    expect_near("control", &[rounded], &[parts.iter().sum()], true);
}

#[test]
fn products_go_by_products_and_rows() {
    hold_to_processor(|_| cases::products());
}

#[test]
fn products_go_by_columns_and_terms() {
    hold_to_processor(|_| cases::products_of_terms());
}

#[test]
fn images_go_by_tiles() {
    hold_to_processor(|_| cases::images());
}

#[test]
fn tiles_go_by_channels() {
    hold_to_processor(|_| cases::channels());
}

#[test]
fn gradients_of_convolutions_add_up_tiles() {
    hold_to_processor(|_| cases::sums_of_images());
}

#[test]
fn elements_go_in_ranges() {
    hold_to_processor(cases::elements);
}

#[test]
fn rows_go_in_ranges() {
    hold_to_processor(|_| cases::rows());
}

#[test]
fn sums_and_maxima_go_by_terms() {
    hold_to_processor(|_| cases::sums());
}

#[test]
fn losses_and_their_gradients_go_by_rows() {
    hold_to_processor(|_| cases::losses());
}

#[test]
fn boxes_go_along_the_furthest_axis() {
    hold_to_processor(|_| cases::boxes());
}

#[test]
fn interleaved_elements_go_in_ranges() {
    hold_to_processor(cases::interleaved);
}

/// The guard sees every part, and what went wrong is looked for in every part.
#[test]
fn what_is_not_finite_in_the_last_part_is_named() {
    if gpu().is_none() {
        return;
    }
    const LEN: usize = 5003;
    let operand = Operand {
        planes: 2,
        elements: LEN,
    };
    let function = Function::Ln;
    let kernel = Kernel::FunctionMap { function };
    let (plan, arithmetic) = command(Algebra::Compact(2), kernel, &[operand], &[operand]);
    let gpu = limited((MOST * 4) as u64, false);
    let mut program = gpu
        .load(Arc::clone(&plan), arithmetic.clone())
        .expect("the device takes it");
    let region = plan.commands()[0].reads[0];
    let upload = |program: &mut dyn Program, last: f32| {
        let mut buffer = numbers(&region, 0, &arithmetic, true);
        buffer.as_mut_slice::<f32>()[LEN - 1] = last;
        let source = Source {
            buffer: &buffer,
            stride: region.stride,
            row: 1,
            rows: None,
            embed: None,
        };
        program.upload(&region, source).expect("it fits");
    };
    // What is read, and what is written of a negative number.
    for (last, of_operation) in [(f32::NAN, false), (-1.0, true)] {
        upload(program.as_mut(), last);
        match program.run(&options()) {
            Err(Error::RunNotFinite { detail, .. }) => {
                let blamed = detail.contains("from operands that all are");
                assert_eq!(blamed, of_operation, "{last}: {detail}");
            }
            other => panic!("{other:?}"),
        }
    }
    upload(program.as_mut(), 0.5);
    let before = gpu.counters();
    program.run(&options()).expect("all are finite");
    let after = gpu.counters();
    // Parts are dispatches of the one submit and pass there is.
    assert_eq!(after.submits - before.submits, 1);
    assert_eq!(after.passes - before.passes, 1);
    assert_eq!(after.readbacks - before.readbacks, 1);
}

#[test]
fn what_cannot_be_cut_is_bound_in_segments() {
    hold_to_processor(|_| cases::segments());
}

#[test]
fn steps_begin_anywhere() {
    hold_to_processor(|_| cases::late_steps());
}

/// Rows of so many segments that no shader binds them all.
#[test]
fn more_bindings_than_a_shader_takes_are_an_error() {
    if gpu().is_none() {
        return;
    }
    const ROW: usize = 1 << 20;
    let softmax = Kernel::Softmax {
        columns: ROW,
        logarithm: false,
    };
    let case = case(softmax, &[ROW], &[ROW]);
    let [reads, writes] = operands(&case, Algebra::Compact(2));
    let (plan, arithmetic) = command(Algebra::Compact(2), case.kernel, &reads, &writes);
    let loaded = limited((MOST * 4) as u64, false).load(plan, arithmetic);
    let error = loaded.err().expect("2048 segments of two operands");
    let error = error.to_string();
    for part in [
        "'reduce' takes operand 'y'",
        "2048 bindings",
        "a shader takes",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn bindings_that_are_too_small_to_be_aligned_are_refused() {
    if gpu().is_none() {
        return;
    }
    let error = device(Some(255), false).expect_err("too small");
    let error = error.to_string();
    assert!(error.contains("255 bytes"), "{error}");
}
