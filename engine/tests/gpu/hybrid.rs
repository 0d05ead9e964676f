//! Hybrid MORE on a graphics processor.

use furthermore::Algebra;
use furthermore::device::{Cpu, Device};
use furthermore::network::{Init, Network, Parameters};
use furthermore::plan::{CompileOptions, Plan};
use furthermore::session::Session;
use furthermore::tensor::{DType, Tensor};

use std::sync::Arc;

use crate::bindings::limited;
use crate::gpu;
use crate::support::hybrid::{check_networks, check_products, cipher, encrypt, key, random};

#[test]
fn networks_are_those_on_plaintext() {
    let Some(gpu) = gpu() else { return };
    check_networks(&gpu, &[DType::F32]);
    check_products(&gpu, &[DType::F32]);
}

/// Products of polynomials of several degrees are the processor's, coordinate by coordinate, whole and
/// in the parts that small bindings leave.
#[test]
fn products_are_the_processors() {
    let Some(gpu) = gpu() else { return };
    let mut network = Network::new();
    let n = &mut network;
    let a = n.input("a", [7, 5]).expect("an input");
    let b = n
        .parameter("b", [5, 3], Init::Uniform { bound: 0.0 })
        .expect("a parameter");
    let c = n.matmul("c", a, b).expect("a product");
    let d = n.multiply("d", c, c).expect("a square");
    let e = n.add("e", d, c).expect("a sum");
    for (name, value) in [("c", c), ("d", d), ("e", e)] {
        n.output(name, value).expect("an output");
    }
    let (key, small) = (key(), limited(1024, false));
    for degree in [1, 2] {
        let algebra = Algebra::Graded(degree);
        let tensors = [("a", [40, 7, 5].as_slice()), ("b", &[5, 3])].map(|(name, shape)| {
            let messages = random(shape, -1.0..1.0, DType::F32, 3);
            (name, encrypt(&key, algebra, &messages, 4))
        });
        let options = CompileOptions::encrypted(40, DType::F32, algebra);
        let plan = Arc::new(Plan::compile(&network, &options).expect("it compiles"));
        let cpu = Cpu::new().expect("an instruction set");
        // More planes than these are more bindings than some adapters have, plane by plane.
        let third = if degree == 1 { &small } else { &gpu };
        let devices = [&cpu as &dyn Device, &gpu, third];
        let results = devices.map(|device| {
            let public = Some(key.evaluation_key());
            let mut session = Session::new(device, Arc::clone(&plan), public).expect("a session");
            let mut parameters = Parameters::default();
            parameters.insert("b", Tensor::Ciphertext(tensors[1].1.clone()));
            session.load_parameters(&parameters).expect("its parameter");
            session.write("a", &tensors[0].1).expect("its input");
            session.run().expect("a run");
            ["c", "d", "e"].map(|name| cipher(session.read(name).expect("an output")))
        });
        let [expected, whole, parts] = &results;
        let found = expected.iter().zip(whole).chain(expected.iter().zip(parts));
        for (nth, (x, y)) in found.enumerate() {
            let grown = if nth % 3 == 0 { 2 * degree } else { 4 * degree };
            assert_eq!(x.algebra(), Algebra::Graded(grown));
            let (x, y) = (x.to_interleaved::<f32>(), y.to_interleaved::<f32>());
            let (x, y) = (x.expect("of f32"), y.expect("of f32"));
            let scale = x.iter().fold(1.0f32, |m, x| m.max(x.abs()));
            for (x, y) in x.iter().zip(&y) {
                assert!((x - y).abs() <= 1e-5 * scale, "{nth}: {x} {y}");
            }
        }
    }
}
