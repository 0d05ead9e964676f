//! What plans lower to is valid for every language that drivers take, without any device.

use std::collections::HashSet;

use furthermore_shaders::naga;
use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};

use super::*;
use crate::network::{Convolution, Network, Optimizer, Pool, Value as Node, Window};
use crate::plan::CompileOptions;
use crate::scheme::{KeyShape, SecretKey};
use crate::tensor::DType;

/// What adapters have at the least.
const WORKGROUP_BYTES: usize = 16_384 - 32;

/// Convolutions with averages of relu and with maxima, large and small products, a loss, and steps.
fn trained(optimizer: Optimizer, clip: Option<f64>) -> Network {
    let mut network = Network::new();
    let x = network.input("x", [1, 16, 16]).expect("a new name");
    let target = network.input("target", [10]).expect("a new name");
    let mut layers = || -> Result<Node> {
        let padded = Convolution::padded(1);
        let y = network.conv2d("first", x, [1, 6], [3, 3], padded)?;
        let y = network.relu("relu", y)?;
        let y = network.pool("average", Pool::Average, y, Window::tiling(2))?;
        let y = network.conv2d("second", y, [6, 70], [3, 3], padded)?;
        let y = network.map("tanh", Function::Tanh, y)?;
        let y = network.pool("maximum", Pool::Max, y, Window::tiling(2))?;
        let y = network.flatten("flat", y)?;
        let y = network.linear("third", y, 70 * 16, 130)?;
        let y = network.map("sigmoid", Function::Sigmoid, y)?;
        let y = network.linear("last", y, 130, 10)?;
        network.softmax_cross_entropy("loss", y, target)
    };
    let loss = layers().expect("sizes fit");
    network.output("loss", loss).expect("a new name");
    network
        .with_optimizer(loss, optimizer, clip)
        .expect("gradients")
}

/// Sums and products alone.
fn polynomial() -> Network {
    let mut network = Network::new();
    let x = network.input("x", [1, 8, 8]).expect("a new name");
    let mut layers = || -> Result<Node> {
        let y = network.conv2d("first", x, [1, 5], [3, 3], Convolution::default())?;
        let y = network.polynomial("bent", y, vec![0.1, 0.5, 0.25])?;
        let y = network.pool("average", Pool::Average, y, Window::tiling(2))?;
        let y = network.flatten("flat", y)?;
        network.linear("last", y, 45, 10)
    };
    let y = layers().expect("sizes fit");
    network.output("y", y).expect("a new name");
    network
}

/// The module in every language that a driver takes.
fn write(name: &str, module: &naga::Module, info: &ModuleInfo, stored: Stored) {
    let options = spv::Options::default();
    spv::write_vec(module, info, &options, None).unwrap_or_else(|e| panic!("{name}: {e}"));
    let mut text = String::new();
    let options = hlsl::Options {
        fake_missing_bindings: true,
        shader_model: match stored {
            Stored::F32 => hlsl::ShaderModel::V5_1,
            Stored::F16 => hlsl::ShaderModel::V6_2,
        },
        ..hlsl::Options::default()
    };
    let of_pipeline = hlsl::PipelineOptions::default();
    hlsl::Writer::new(&mut text, &options, &of_pipeline)
        .write(module, info, None)
        .unwrap_or_else(|e| panic!("{name}: {e}"));
    let options = msl::Options {
        lang_version: (2, 4),
        fake_missing_bindings: true,
        ..msl::Options::default()
    };
    msl::write_string(module, info, &options, &msl::PipelineOptions::default())
        .unwrap_or_else(|e| panic!("{name}: {e}"));
}

#[test]
fn what_plans_lower_to_is_valid_in_every_language() {
    let adam = Optimizer::adam();
    let networks = [
        (trained(Optimizer::sgd(0.9), None), true),
        (trained(adam, Some(1.0)), true),
        (polynomial(), false),
    ];
    let algebras = [
        (Algebra::Real, KeyShape::from(2)),
        (Algebra::Compact(2), KeyShape::from(2)),
        (Algebra::Blocks(2), KeyShape::from(2)),
        (Algebra::Compact(5), KeyShape::from(5)),
        (Algebra::Compact(8), KeyShape::from(8)),
        (Algebra::Blocks(3), KeyShape::from(3)),
        (Algebra::Reduced(2), KeyShape::reduced(2)),
        (Algebra::Graded(2), KeyShape::from(2)),
    ];
    let mut seen: HashSet<Variant> = HashSet::new();
    for (algebra, shape) in algebras {
        let key = SecretKey::generate(shape).expect("a key");
        let arithmetic = match algebra {
            Algebra::Real => Arithmetic::real(),
            _ => key.evaluation_key().arithmetic(algebra).expect("its own"),
        };
        for (network, functions) in &networks {
            if *functions && matches!(algebra, Algebra::Reduced(_) | Algebra::Graded(_)) {
                continue;
            }
            // Whole tiles of images, and a part of one.
            for batch in [64, 5] {
                let options = [
                    CompileOptions::encrypted(batch, DType::F32, algebra),
                    CompileOptions::encrypted_inputs(batch, DType::F32, algebra),
                ];
                for options in &options[..if *functions { 1 } else { 2 }] {
                    let plan = Plan::compile(network, options).expect("a plan");
                    for stored in [Stored::F32, Stored::F16] {
                        let tiles = TileTable::default();
                        let lowering =
                            Lowering::new(&plan, &arithmetic, stored, WORKGROUP_BYTES, tiles);
                        for command in plan.commands() {
                            let lowered = lowering.lower(command, &Share::default());
                            let lowered = lowered.expect("sizes that shaders count");
                            seen.extend(lowered.into_iter().map(|l| l.variant));
                        }
                    }
                }
            }
        }
    }
    for variant in &seen {
        let name = format!("{} {:?}", variant.entry, variant.form);
        let shader = variant.compile().unwrap_or_else(|e| panic!("{name}: {e}"));
        let module = shader.module();
        let half = match variant.stored {
            Stored::F32 => Capabilities::empty(),
            Stored::F16 => Capabilities::SHADER_FLOAT16,
        };
        let info = Validator::new(ValidationFlags::all(), half).validate(module);
        let info = info.unwrap_or_else(|e| panic!("{name}: {e}"));
        write(&name, module, &info, variant.stored);
    }
    println!("{} variants", seen.len());
    assert!(seen.len() > 200, "{} variants", seen.len());
}
