//! What is refused while a network is built, differentiated and compiled, and that the message names
//! the operation.

use furthermore::network::{Function, Init, Network, Optimizer, Reduction, Value};
use furthermore::plan::{CompileOptions, Plan};
use furthermore::tensor::DType;
use furthermore::{Algebra, Error};

use crate::support::{Loss, Mlp, cpu, encrypt, key, ones, refused, tensor};

const UNIFORM: Init = Init::Uniform { bound: 1.0 };

/// `y = x w + b` of 3 inputs and 2 outputs.
fn linear() -> (Network, Value, Value) {
    let mut network = Network::new();
    let x = network.input("x", [3]).expect("a new name");
    let y = network.linear("fc", x, 3, 2).expect("a new name");
    network.output("y", y).expect("a new name");
    (network, x, y)
}

#[test]
fn shapes_that_do_not_go_together_name_the_operation() {
    let compile = |build: &dyn Fn(&mut Network, Value, Value) -> Result<Value, Error>| {
        let mut network = Network::new();
        let a = network.input("a", [3]).expect("a new name");
        let b = network.parameter("b", [4, 2], UNIFORM).expect("a new name");
        let value = build(&mut network, a, b)?;
        network.output("out", value)?;
        Plan::compile(&network, &CompileOptions::plain(5, DType::F32))
    };
    let product = compile(&|n, a, b| n.matmul("my product", a, b));
    let parts = ["`my product`", "[5, 3]", "[4, 2]", "depths 3 and 4"];
    refused("a product", product, &parts);
    let product = compile(&|n, a, _| {
        let row = n.parameter("row", [3], UNIFORM)?;
        n.matmul("my product", a, row)
    });
    refused(
        "a product",
        product,
        &["`my product`", "two matrices", "[3]"],
    );
    let sum = compile(&|n, a, b| n.add("my sum", a, b));
    refused("a sum", sum, &["`my sum`", "[4, 2]", "[5, 3]"]);
    let sum = compile(&|n, a, b| n.subtract("my difference", a, b));
    refused("a difference", sum, &["`my difference`"]);
    let product = compile(&|n, a, b| n.multiply("my product", a, b));
    refused(
        "a product",
        product,
        &["`my product`", "[5, 3]", "[4, 2]", "differ"],
    );
    let loss = compile(&|n, a, b| n.softmax_cross_entropy("my loss", a, b));
    refused("a loss", loss, &["`my loss`", "[5, 3]", "[4, 2]"]);
    let loss = compile(&|n, a, b| n.mean_squared_error("my loss", a, b));
    refused("a loss", loss, &["`my loss`", "differ"]);
    let loss = compile(&|n, _, _| {
        let (x, y) = (n.input("x", [2, 2])?, n.input("y", [2, 2])?);
        n.softmax_cross_entropy("my loss", x, y)
    });
    refused("a loss", loss, &["`my loss`", "[5, 2, 2]", "not a matrix"]);

    let (a, b) = (ones(&[2, 3]), ones(&[4, 3]));
    refused(
        "a product",
        cpu().matmul(&a, &b),
        &["`matmul`", "depths 3 and 4"],
    );
    refused("a sum", cpu().add(&a, &b), &["`add`", "[4, 3]", "[2, 3]"]);
    refused(
        "a product",
        cpu().multiply(&a, &b),
        &["`multiply`", "differ"],
    );
    let wide = tensor(&[2, 3], &[1.0; 6], DType::F64);
    refused(
        "a sum",
        cpu().add(&a, &wide),
        &["operand 2", "f64 where f32"],
    );
    let key = key(2, 7);
    let (c, d) = (
        encrypt(&key, Algebra::Compact(2), 1, &ones(&[2])),
        encrypt(&key, Algebra::Blocks(2), 1, &ones(&[2])),
    );
    refused(
        "a sum",
        cpu().add(&c, &d),
        &["operand 2", "blocks2 where compact2"],
    );
}

#[test]
fn names_and_factors_are_checked() {
    let (mut network, x, y) = linear();
    let taken = ["the name is taken"];
    refused("an input", network.input("x", [2]), &["`x`", taken[0]]);
    refused(
        "a weight",
        network.parameter("fc.bias", [2], UNIFORM),
        &["`fc.bias`", taken[0]],
    );
    refused("a function", network.relu("fc", x), &["`fc`", taken[0]]);
    refused(
        "a layer",
        network.linear("fc", x, 3, 2),
        &["`fc.weight`", taken[0]],
    );
    refused("an output", network.output("y", x), &["`y`", "taken"]);
    for factor in [f64::NAN, f64::INFINITY] {
        let parts = ["`scaled`", &factor.to_string(), "not finite"];
        refused("a factor", network.scale("scaled", y, factor), &parts);
    }
    let (small, ..) = linear();
    let mut large = small.clone();
    let foreign = large.relu("more", y).expect("a new name");
    let mut small = small;
    refused(
        "an operand",
        small.relu("bent", foreign),
        &["`bent`", "not a value"],
    );
    refused(
        "an output",
        small.output("z", foreign),
        &["`z`", "not of this network"],
    );
    let parameters = network.initial_parameters(1, DType::F32).expect("weights");
    let parts = ["'fc.wieght'", "fc.bias, fc.weight"];
    refused("a weight", parameters.get("fc.wieght"), &parts);
}

#[test]
fn gradients_that_do_not_exist_are_refused() {
    let (mut network, x, y) = linear();
    let target = network.input("target", [2]).expect("a new name");
    let unused = network
        .parameter("unused", [2], UNIFORM)
        .expect("a new name");
    let w = network.parameters()[0];
    let squared = network
        .mean_squared_error("squared", y, target)
        .expect("a new name");
    let entropy = network
        .softmax_cross_entropy("entropy", y, target)
        .expect("a new name");
    for (name, loss) in [("squared", squared), ("entropy", entropy)] {
        let ignored = network.gradients(loss, &[w, unused]);
        refused(
            "an unused weight",
            ignored,
            &["`unused`", "the loss ignores it"],
        );
        let targets = network.gradients(loss, &[target]);
        refused(
            "targets",
            targets,
            &[&format!("`{name}`"), "by its targets"],
        );
    }
    refused(
        "no loss",
        network.gradients(y, &[w]),
        &["`fc`", "as a loss"],
    );
    let training = network.with_optimizer(squared, Optimizer::sgd(0.0), None);
    refused(
        "an unused weight",
        training,
        &["`unused`", "the loss ignores it"],
    );
    for momentum in [1.0, -0.1, f64::NAN, 2.0] {
        let parts = ["sgd", &momentum.to_string(), "[0, 1)"];
        refused(
            "a momentum",
            network.with_optimizer(squared, Optimizer::sgd(momentum), None),
            &parts,
        );
    }
    let scaled = network
        .scale("scaled loss", squared, 2.0)
        .expect("a new name");
    refused(
        "a scaled loss",
        network.gradients(scaled, &[w]),
        &["`scaled loss`", "as a loss"],
    );

    // A loss of targets that hang on the same weights has a path that no gradient here follows.
    for bent in [true, false] {
        let mut network = Network::new();
        let x = network.input("x", [2]).expect("a new name");
        let w = network.parameter("w", [2, 2], UNIFORM).expect("a new name");
        let y = network.matmul("y", x, w).expect("a new name");
        let t = network.sigmoid("t", y).expect("a new name");
        let loss = match bent {
            true => network.softmax_cross_entropy("loss", y, t),
            false => network.mean_squared_error("loss", y, t),
        };
        let found = network.gradients(loss.expect("a new name"), &[w]);
        refused("moving targets", found, &["`loss`", "by its targets"]);
    }

    // Values of another network, near and far.
    let mut other = Network::new();
    let mut far = other.input("x", [3]).expect("a new name");
    for i in 0..40 {
        far = other.relu(&format!("relu{i}"), far).expect("a new name");
    }
    refused(
        "a foreign value",
        network.gradients(squared, &[far]),
        &["not one of this network"],
    );
    refused(
        "a foreign loss",
        network.gradients(far, &[x]),
        &["not one of this network"],
    );
    refused(
        "a foreign loss",
        network.with_optimizer(far, Optimizer::sgd(0.5), None),
        &["not one of this network"],
    );
}

#[test]
fn encrypted_gradients_need_encrypted_parameters() {
    for loss in [Loss::CrossEntropy, Loss::SquaredError] {
        let (network, value) = Mlp::new(&[3, 4, 2], Function::Tanh, loss).judged();
        let network = network
            .with_optimizer(value, Optimizer::sgd(0.9), None)
            .expect("gradients");
        let options = CompileOptions::encrypted_inputs(5, DType::F32, Algebra::Compact(2));
        let parts = [
            ".step`",
            "the gradient is encrypted and the parameter is not",
        ];
        refused("a plan", Plan::compile(&network, &options), &parts);
        // Encrypted targets alone do it, too: they meet plaintext predictions in the loss.
        let options = CompileOptions {
            plaintext: vec!["x".to_owned()],
            ..options
        };
        let parts = ["`loss`", "targets are encrypted and predictions are not"];
        refused("a plan", Plan::compile(&network, &options), &parts);
    }
    // A function of plaintext weights cannot take an encrypted gradient back.
    let mut network = Network::new();
    let x = network.input("x", [3]).expect("a new name");
    let w = network.parameter("w", [3, 2], UNIFORM).expect("a new name");
    let bent = network.tanh("bent", w).expect("a new name");
    let y = network.matmul("y", x, bent).expect("a new name");
    let target = network.input("target", [2]).expect("a new name");
    let loss = network
        .mean_squared_error("loss", y, target)
        .expect("a new name");
    let (mut network, found) = network.gradients(loss, &[w]).expect("a gradient");
    network.output("dw", found[0]).expect("a new name");
    let options = CompileOptions::encrypted_inputs(5, DType::F32, Algebra::Compact(2));
    let parts = ["`w.gradient`", "not encrypted alike"];
    refused("a plan", Plan::compile(&network, &options), &parts);
}

#[test]
fn sizes_that_run_over_are_refused() {
    let mut n = Network::new();
    let x = n.input("x", [3]).expect("a new name");
    let most = usize::MAX;
    let odd = n.softmax("soft", x, most, false);
    refused("an axis", odd, &["`soft`", "no axis"]);
    let compiled = |build: &dyn Fn(&mut Network, Value) -> Result<Value, Error>| {
        let mut n = Network::new();
        let x = n.input("x", [3])?;
        let y = build(&mut n, x)?;
        n.output("y", y)?;
        Plan::compile(&n, &CompileOptions::plain(5, DType::F32))
    };
    let sum = Reduction::Sum;
    let odd = compiled(&|n, x| n.reduce("sum", sum, x, &[most - 1, most], false));
    refused("axes", odd, &["`sum`", "no axes"]);
    let odd = compiled(&|n, x| n.pad("pad", x, &[[most, most], [0, 0]]));
    refused("padding", odd, &["pad"]);
    let odd = compiled(&|n, x| n.slice("cut", x, 1, 2, isize::MAX, 2));
    refused("a slice", odd, &["`cut`", "no 2 elements"]);
    // Of one element nothing comes after.
    for step in [isize::MAX, isize::MIN] {
        compiled(&|n, x| n.slice("cut", x, 1, 1, step, 1)).expect("one element");
    }
    let mut n = Network::new();
    let x = n.input("x", [0, 1 << 40, 1 << 40]).expect("a new name");
    let y = n.slice("cut", x, 0, 0, 1, 1).expect("a new name");
    n.output("y", y).expect("a new name");
    let odd = Plan::compile(&n, &CompileOptions::plain(1, DType::F32));
    refused("a shape", odd, &["x", "more elements"]);
    let mut n = Network::new();
    let w = n.parameter("w", [4, 2], UNIFORM).expect("a new name");
    let odd = n.dropout("dropped", w, 0.5);
    refused("dropout of a weight", odd, &["`dropped`", "samples"]);
}
