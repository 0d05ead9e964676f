//! Tensors larger than one binding: bound plane by plane, they give the same bits.

use std::sync::Arc;

use furthermore::device::gpu::{ADAPTER_VARIABLE, GpuOptions};
use furthermore::device::{Device, Gpu, RunOptions, Source};
use furthermore::network::Function;
use furthermore::plan::{CompileOptions, Kernel, Operand, Plan, Reduction, Region};
use furthermore::scheme::{Guard, SecretKey};
use furthermore::tensor::{Buffer, DType};
use furthermore::{Algebra, Error};
use furthermore_kernels_cpu::Arithmetic;
use furthermore_kernels_cpu::block_matmul::MatmulShape;
use furthermore_kernels_cpu::conv2d::Conv2dShape;
use furthermore_kernels_cpu::convert::{CopyAxis, Rest, StridedCopy};
use furthermore_kernels_cpu::elementwise::Broadcast;
use furthermore_kernels_cpu::pool::{Pool, PoolShape};
use furthermore_kernels_cpu::reduce::Axis;

use crate::training;
use crate::{gpu, skipped};

const ALGEBRAS: [Algebra; 2] = [Algebra::Compact(2), Algebra::Blocks(2)];

/// A device that binds no more than so many bytes as one, given those of numbers in single precision.
pub(crate) fn limited(bytes: u64, half: bool) -> Gpu {
    device(Some(if half { bytes / 2 } else { bytes }), half).expect("it was there a moment ago")
}

pub(crate) fn device(largest_binding: Option<u64>, half: bool) -> Result<Gpu, Error> {
    Gpu::with_options(&GpuOptions {
        adapter: std::env::var(ADAPTER_VARIABLE).ok(),
        half,
        largest_binding,
        ..GpuOptions::default()
    })
}

/// The most bytes that a plane of the plan's tensors takes in single precision, in whole vectors of
/// half precision.
pub(crate) fn largest_plane(plan: &Plan) -> u64 {
    let regions = plan
        .commands()
        .iter()
        .flat_map(|c| c.reads.iter().chain(&c.writes));
    let largest = regions.map(|region| region.elements).max();
    (largest.expect("a command has operands") as u64 * 4).next_multiple_of(32)
}

/// Whether some tensor of the plan has to be split for that limit.
fn splits(plan: &Plan, limit: u64) -> bool {
    let span = |region: &Region| (region.planes - 1) * region.stride + region.elements;
    let commands = plan.commands().iter();
    let mut regions = commands.flat_map(|c| c.reads.iter().chain(&c.writes));
    regions.any(|region| span(region) as u64 * 4 > limit)
}

/// A plan of one command and the arithmetic of some key.
pub(crate) fn command(
    algebra: Algebra,
    kernel: Kernel,
    reads: &[Operand],
    writes: &[Operand],
) -> (Arc<Plan>, Arithmetic) {
    let key = SecretKey::from_known_seed(2, 7).expect("a key of two slots");
    let arithmetic = match algebra {
        Algebra::Real => Arithmetic::real(),
        _ => key.evaluation_key().arithmetic(algebra).expect("its own"),
    };
    let options = CompileOptions::encrypted(1, DType::F32, algebra);
    let plan = Plan::of_command(&options, kernel, reads, writes).expect("operands fit");
    (Arc::new(plan), arithmetic)
}

/// Multiples of one near 2, with smaller numbers in every coordinate, so that nothing divides by zero.
fn numbers(region: &Region, nth: usize) -> Buffer {
    let mut buffer = Buffer::zeroed(DType::F32, region.planes * region.stride).expect("memory");
    for plane in 0..region.planes {
        let one = plane == 0 || region.planes == 4 && plane == 3;
        let plane_at = plane * region.stride;
        let to = &mut buffer.as_mut_slice::<f32>()[plane_at..][..region.elements];
        for (at, x) in to.iter_mut().enumerate() {
            let wave = ((at + 37 * plane + 101 * nth) as f32 * 0.7).sin();
            *x = 0.2 * wave + if one { 2.0 } else { 0.0 };
        }
    }
    buffer
}

/// The bits of all that a command writes, after a run.
fn run(gpu: &Gpu, plan: &Arc<Plan>, arithmetic: &Arithmetic) -> Vec<u32> {
    let mut program = gpu
        .load(Arc::clone(plan), arithmetic.clone())
        .expect("the device takes it");
    let command = &plan.commands()[0];
    let regions = command.reads.iter().chain(&command.writes);
    for (nth, region) in regions.enumerate() {
        let source = Source {
            buffer: &numbers(region, nth),
            stride: region.stride,
            row: 1,
            rows: None,
            embed: None,
        };
        program.upload(region, source).expect("it fits");
    }
    let options = RunOptions {
        learning_rate: 0.1,
        step: 2,
        guard: Guard {
            warn: f64::INFINITY,
            fail: f64::INFINITY,
        },
        cancel: None,
    };
    program.run(&options).expect("it runs");
    let mut bits = Vec::new();
    for region in &command.writes {
        let len = region.planes * region.stride;
        let mut buffer = Buffer::zeroed(DType::F32, len).expect("memory");
        program.download(region, &mut buffer).expect("it fits");
        bits.extend(buffer.as_slice::<f32>().iter().map(|x| x.to_bits()));
    }
    bits
}

/// Kernels with the elements of what they read and write; ciphertexts all.
fn kernels(dim: usize) -> Vec<(Kernel, Vec<usize>, Vec<usize>)> {
    let matmul = |m, k, n, transpose_a, transpose_b| {
        let shape = MatmulShape {
            batch: 1,
            m,
            k,
            n,
            transpose_a,
            transpose_b,
        };
        let kernel = Kernel::BlockMatmul {
            shape,
            bias: false,
            activation: None,
        };
        (kernel, vec![m * k, k * n], vec![m * n])
    };
    let shape = Conv2dShape {
        batch: 32,
        in_channels: 2,
        out_channels: 2,
        input: [4, 4],
        kernel: [3, 3],
        stride: [1, 1],
        padding: [[1, 1], [1, 1]],
        dilation: [1, 1],
        groups: 1,
    };
    let (images, weights) = (shape.input_len(), shape.weight_len());
    let pool = Kernel::Pool {
        pool: Pool::Max,
        shape: PoolShape {
            batch: 32,
            channels: 2,
            input: [4, 4],
            kernel: [3, 3],
            stride: [1, 1],
            padding: [[1, 1], [1, 1]],
            dilation: [1, 1],
            ceil: false,
        },
        rectified: false,
    };
    let convolution = Kernel::Conv2d {
        shape,
        bias: true,
        activation: Some(Function::Tanh),
    };
    let axis = Axis {
        outer: 1,
        length: 2,
        inner: 1024,
    };
    let sum = Kernel::Reduce {
        reduction: Reduction::Sum,
        axis,
    };
    let broadcast = || Broadcast::same(1024);
    let matrix = (0..dim * dim).map(|i| 0.25 + (i as f64).sin()).collect();
    let adam = Kernel::Adam {
        beta1: 0.9,
        beta2: 0.99,
        epsilon: 1e-4,
        weight_decay: 0.1,
    };
    let part = |rest| {
        let axis = |size, from, to| CopyAxis { size, from, to };
        let axes = [axis(31, 1, 32), axis(29, -32, 1)];
        let copy = StridedCopy::new(1024, 31 * 32, 1024, 33, &axes).expect("it lies in both");
        Kernel::StridedCopy { copy, rest }
    };
    let sgd = Kernel::Sgd {
        rate: None,
        momentum: 0.5,
        weight_decay: 0.1,
    };
    vec![
        // Read four numbers at a time on both sides, on the right, and on neither.
        matmul(32, 32, 32, false, false),
        matmul(30, 32, 32, true, false),
        matmul(32, 30, 32, false, true),
        (convolution, vec![images, weights, 2], vec![images]),
        (
            Kernel::Conv2dGradientInput {
                shape,
                pooled: None,
            },
            vec![images, weights],
            vec![images],
        ),
        (
            Kernel::Conv2dGradientWeights {
                shape,
                pooled: None,
            },
            vec![images, images],
            vec![weights],
        ),
        (pool, vec![images], vec![images]),
        (
            Kernel::Divide {
                broadcast: broadcast(),
            },
            vec![1024; 2],
            vec![1024],
        ),
        (
            Kernel::Multiply {
                broadcast: broadcast(),
            },
            vec![1024; 2],
            vec![1024],
        ),
        (
            Kernel::FunctionMap {
                function: Function::Tanh,
            },
            vec![1023],
            vec![1023],
        ),
        (
            Kernel::PolyMap { constants: None },
            vec![1024, 3],
            vec![1024],
        ),
        (sum, vec![2048], vec![1024]),
        (
            Kernel::Softmax {
                columns: 64,
                logarithm: false,
            },
            vec![1024],
            vec![1024],
        ),
        (Kernel::LinearMap { matrix }, vec![1024], vec![1024]),
        (
            Kernel::Transpose { sizes: [2, 16, 32] },
            vec![1024],
            vec![1024],
        ),
        (part(Rest::Keep), vec![1024], vec![1024]),
        (part(Rest::Zero), vec![1024], vec![1024]),
        (sgd, vec![1024], vec![1024; 2]),
        (adam, vec![1024], vec![1024; 3]),
    ]
}

#[test]
fn kernels_give_the_same_bits_plane_by_plane() {
    let Some(single) = gpu() else { return };
    let half = device(None, true).map_err(skipped).ok();
    let [compact, blocks] = ALGEBRAS;
    let ways = [
        (compact, Some(single.clone())),
        (compact, half),
        (blocks, Some(single)),
    ];
    for (algebra, gpu) in ways {
        let Some(gpu) = gpu else { continue };
        let dim = algebra.dim();
        for (kernel, reads, writes) in kernels(dim) {
            let name = format!("{algebra} {}", kernel.name());
            let operands = |lens: &[usize]| -> Vec<Operand> {
                let operand = |&elements: &usize| Operand {
                    planes: dim,
                    elements,
                };
                lens.iter().map(operand).collect()
            };
            let (reads, writes) = (operands(&reads), operands(&writes));
            let (plan, arithmetic) = command(algebra, kernel, &reads, &writes);
            let expected = run(&gpu, &plan, &arithmetic);
            assert!(expected.iter().any(|&bits| bits != 0), "{name}");
            // Planes one by one, and by threes: of blocks one is left over.
            for together in [1, 3] {
                let limit = together * largest_plane(&plan);
                if !splits(&plan, limit) {
                    assert!(together as usize >= dim, "{name}");
                    continue;
                }
                let limited = limited(limit, gpu.half());
                let found = run(&limited, &plan, &arithmetic);
                assert_eq!(found, expected, "{name}, {together} together");
            }
        }
    }
}

/// Planes that are read one by one, and the same numbers interleaved, which are one.
#[test]
fn planes_are_interleaved_from_bindings_of_their_own() {
    let Some(gpu) = gpu() else { return };
    for algebra in ALGEBRAS {
        let dim = algebra.dim();
        // The space between planes makes them larger than what is interleaved.
        let elements = 4 * 75;
        let planes = Operand {
            planes: dim,
            elements,
        };
        let interleaved = Operand {
            planes: 1,
            elements: dim * elements,
        };
        for (into, read, written) in [(true, planes, interleaved), (false, interleaved, planes)] {
            let kernel = Kernel::Interleave { into };
            let (plan, arithmetic) = command(algebra, kernel, &[read], &[written]);
            let limit = largest_plane(&plan);
            assert!(splits(&plan, limit), "{algebra}");
            let expected = run(&gpu, &plan, &arithmetic);
            let found = run(&limited(limit, false), &plan, &arithmetic);
            assert_eq!(found, expected, "{algebra}, into {into}");
        }
    }
}

#[test]
fn training_gives_the_same_bits_plane_by_plane() {
    let Some(gpu) = gpu() else { return };
    for algebra in ALGEBRAS {
        let key = SecretKey::from_known_seed(2, 7).expect("a key of two slots");
        let network = training::linear();
        let plan = training::plan(&network, algebra);
        let limit = largest_plane(&plan);
        assert!(splits(&plan, limit), "{algebra}");
        let train = |device: &Gpu| {
            let mut session = training::session(device, &network, &key, algebra, (0.5, 1.0));
            for _ in 0..3 {
                session.run().expect("a step");
            }
            let weights = training::weights(&key, &session.parameters().expect("weights"));
            let bits: Vec<u64> = weights.iter().map(|w| w.to_bits()).collect();
            bits
        };
        assert_eq!(train(&limited(limit, false)), train(&gpu), "{algebra}");
    }
}
