//! Plans: what is left out of them, what may share memory, and what leaves them.

use std::sync::Arc;

use furthermore::Algebra;
use furthermore::network::{
    Convolution, Function, Init, Network, Optimizer, Parameters, Pool, Window,
};
use furthermore::plan::{CompileOptions, Kernel, Plan, Region, Role};
use furthermore::session::Session;
use furthermore::tensor::{DType, Plaintext, Tensor};

use crate::support::{
    FUNCTIONS, Graph, Loss, Mlp, Noise, Point, REGIMES, compare, compiled, cpu, decrypted, key,
    open, parameters_encrypted, random, refused, tensor, write_inputs,
};

fn names(plan: &Plan, role: Role) -> Vec<&str> {
    let with_role = plan.bindings().iter().filter(|b| b.role == role);
    with_role.map(|b| b.name.as_str()).collect()
}

fn is_update(kernel: &Kernel) -> bool {
    matches!(kernel, Kernel::Sgd { .. })
}

/// Runs a graph at a point, with weights encrypted by masks of their own, and compares every output
/// with the oracle.
fn check(graph: &Graph, outputs: &[(&str, usize)], point: &Point, algebra: Algebra) -> Session {
    let key = key(algebra.slots().max(2), 91);
    let plan = compiled(&graph.network, graph.batch, DType::F64, algebra, REGIMES[2]);
    let device = cpu();
    let mut weights = Parameters::default();
    let mut inputs = Vec::new();
    for binding in plan.bindings().iter().filter(|b| b.role != Role::Output) {
        let values = tensor(&binding.shape, &point[&binding.name], DType::F64);
        match binding.role {
            Role::Input => inputs.push((binding.name.as_str(), values)),
            _ => weights.insert(&binding.name, Tensor::Plaintext(values)),
        }
    }
    let mut session = open(&device, Arc::clone(&plan), &key, &weights);
    parameters_encrypted(&mut session, &key, &weights, 92);
    let inputs: Vec<(&str, &Plaintext)> = inputs.iter().map(|(n, t)| (*n, t)).collect();
    write_inputs(&mut session, &key, 93, &inputs);
    session.run().unwrap_or_else(|error| panic!("{error}"));
    let expected = graph.evaluate(point);
    for (name, node) in outputs {
        let found = decrypted(&session, &key, name);
        compare(&found, &expected[*node], 1e-11)
            .unwrap_or_else(|error| panic!("{name}, {algebra}: {error}"));
    }
    session
}

#[test]
fn what_no_output_needs_is_left_out() {
    let mut network = Network::new();
    let init = Init::Uniform { bound: 1.0 };
    let x = network.input("x", [3]).expect("a new name");
    let unused = network.input("unused input", [3]).expect("a new name");
    network
        .parameter("unused weight", [3], init)
        .expect("a new name");
    let w = network.parameter("w", [3, 2], init).expect("a new name");
    let y = network.matmul("y", x, w).expect("a new name");
    let idle = network
        .matmul("idle product", unused, w)
        .expect("a new name");
    network.relu("idle relu", idle).expect("a new name");
    network.output("y", y).expect("a new name");
    let plan = Plan::compile(&network, &CompileOptions::plain(4, DType::F32)).expect("a plan");
    assert_eq!(names(&plan, Role::Input), ["x"]);
    assert_eq!(names(&plan, Role::Parameter), ["w"]);
    assert!(plan.commands().iter().all(|command| command.name == "y"));

    // A network without outputs has nothing to do at all.
    let mut empty = Network::new();
    empty.input("x", [3]).expect("a new name");
    let plan = Plan::compile(&empty, &CompileOptions::plain(4, DType::F32)).expect("a plan");
    assert!(plan.commands().is_empty() && plan.bindings().is_empty());
    let device = cpu();
    Session::new(&device, Arc::new(plan), None)
        .expect("a session")
        .run()
        .expect("nothing to do");
}

/// Gradients need no value of the loss, so training computes it only where it is asked for.
#[test]
fn training_computes_the_loss_only_for_an_output() {
    for loss in [Loss::CrossEntropy, Loss::SquaredError] {
        let mlp = Mlp::new(&[3, 4, 2], Function::Relu, loss);
        let (judged, value) = mlp.judged();
        let with_loss = judged
            .with_optimizer(value, Optimizer::sgd(0.5), None)
            .expect("gradients");
        let computes_loss = |network: &Network| {
            let options = CompileOptions::encrypted(5, DType::F32, Algebra::Compact(2));
            let plan = Plan::compile(network, &options).expect("a plan");
            plan.commands().iter().any(|command| {
                matches!(
                    command.kernel,
                    Kernel::SoftmaxCrossEntropy { .. } | Kernel::MeanSquaredError
                )
            })
        };
        assert!(computes_loss(&with_loss), "{loss:?}");
        let mut bare = Network::new();
        let x = bare.input("x", [3]).expect("a new name");
        let y = bare.linear("fc", x, 3, 2).expect("a new name");
        let target = bare.input("target", [2]).expect("a new name");
        let value = match loss {
            Loss::CrossEntropy => bare.softmax_cross_entropy("loss", y, target),
            Loss::SquaredError => bare.mean_squared_error("loss", y, target),
        };
        let without = bare
            .with_optimizer(value.expect("a new name"), Optimizer::sgd(0.5), None)
            .expect("gradients");
        assert!(!computes_loss(&without), "{loss:?}");
    }
}

#[test]
fn updates_come_after_everything_that_can_fail() {
    let mlp = Mlp::new(&[3, 5, 4, 2], Function::Sigmoid, Loss::CrossEntropy);
    let (network, loss) = mlp.judged();
    let network = network
        .with_optimizer(loss, Optimizer::sgd(0.9), None)
        .expect("gradients");
    let options = CompileOptions::encrypted(6, DType::F32, Algebra::Compact(2));
    let plan = Plan::compile(&network, &options).expect("a plan");
    let commands = plan.commands();
    let first = commands
        .iter()
        .position(|c| is_update(&c.kernel))
        .expect("updates");
    assert!(commands[first..].iter().all(|c| is_update(&c.kernel)));
    assert_eq!(commands.len() - first, names(&plan, Role::Parameter).len());
    assert_eq!(
        names(&plan, Role::State).len(),
        names(&plan, Role::Parameter).len()
    );
    // Each gradient that steps a parameter is looked at before.
    for update in &commands[first..] {
        let looked_at = commands[..first]
            .iter()
            .any(|c| c.kernel == Kernel::SlotMaxima && c.reads[0] == update.reads[0]);
        assert!(looked_at, "{}", update.name);
    }
}

/// A kernel that writes a buffer it also reads would see its own results; what works in place names
/// its tensor among the written only.
#[test]
fn no_command_reads_what_it_writes() {
    for activation in FUNCTIONS {
        let mlp = Mlp::new(&[3, 5, 4, 2], activation, Loss::CrossEntropy);
        let (network, loss) = mlp.judged();
        let network = network
            .with_optimizer(loss, Optimizer::sgd(0.9), None)
            .expect("gradients");
        for algebra in [Algebra::Real, Algebra::Compact(2), Algebra::Blocks(3)] {
            let options = CompileOptions::encrypted(6, DType::F64, algebra);
            let plan = Plan::compile(&network, &options).expect("a plan");
            for command in plan.commands() {
                for write in &command.writes {
                    let apart = |read: &Region| read.buffer != write.buffer;
                    assert!(command.reads.iter().all(apart), "{command:?}");
                }
            }
        }
    }
}

/// Buffers are shared by tensors that are never needed together, so a deeper network of one width
/// takes no more of them.
#[test]
fn memory_does_not_grow_with_depth() {
    let bytes = |depth: usize| {
        let mut network = Network::new();
        let mut x = network.input("x", [16]).expect("a new name");
        for i in 0..depth {
            // Not in place: the value before is needed for the sum.
            let bent = network.tanh(&format!("bent{i}"), x).expect("a new name");
            x = network
                .add(&format!("sum{i}"), bent, x)
                .expect("a new name");
        }
        network.output("y", x).expect("a new name");
        let options = CompileOptions::encrypted(32, DType::F32, Algebra::Compact(2));
        Plan::compile(&network, &options).expect("a plan").bytes()
    };
    assert_eq!(bytes(4), bytes(64));
}

#[test]
fn inputs_and_parameters_can_be_outputs() {
    let mut graph = Graph::new(5);
    let (x, w) = (graph.input("x", &[3]), graph.parameter("w", &[3, 4]));
    let h = graph.matmul(x, w);
    let y = graph.map(Function::Relu, h);
    graph.output("the input", x);
    graph.output("the weight", w);
    graph.output("y", y);
    graph.output("y again", y);
    graph.output("h", h);
    let mut noise = Noise::new(94);
    let point = Point::from([
        ("x".to_owned(), noise.numbers(15, -1.0, 1.0)),
        ("w".to_owned(), noise.numbers(12, -1.0, 1.0)),
    ]);
    let outputs = [
        ("the input", x),
        ("the weight", w),
        ("y", y),
        ("y again", y),
        ("h", h),
    ];
    for algebra in [Algebra::Real, Algebra::Compact(2), Algebra::Blocks(2)] {
        let mut session = check(&graph, &outputs, &point, algebra);
        // Nothing of the first run may be worn off by it.
        let key = key(algebra.slots().max(2), 91);
        let read = |session: &Session| outputs.map(|(name, _)| decrypted(session, &key, name));
        let first = read(&session);
        session.run().expect("a run");
        assert_eq!(first, read(&session), "{algebra}");
    }
}

/// A function may overwrite its argument only where nobody reads that again.
#[test]
fn functions_keep_arguments_that_are_needed() {
    for function in FUNCTIONS {
        let mut graph = Graph::new(4);
        let (x, w) = (graph.input("x", &[3]), graph.parameter("w", &[3, 3]));
        // A sum, so that the function is not fused to a product.
        let product = graph.matmul(x, w);
        let h = graph.add(product, x);
        let early = graph.map(function, h);
        let of_input = graph.map(function, x);
        let late = graph.add(h, early);
        let twice = graph.map(function, late);
        let y = graph.add(twice, of_input);
        graph.output("y", y);
        graph.output("late", late);
        let mut noise = Noise::new(95);
        let point = Point::from([
            ("x".to_owned(), noise.numbers(12, -1.0, 1.0)),
            ("w".to_owned(), noise.numbers(9, -1.0, 1.0)),
        ]);
        for algebra in [Algebra::Real, Algebra::Compact(2), Algebra::Compact(3)] {
            check(&graph, &[("y", y), ("late", late)], &point, algebra);
        }
    }
}

/// A convolution of which only averages of relu are wanted is one command with them, and its gradients
/// read what the averages saved; not so where something else reads it, or windows do not tile it.
#[test]
fn convolutions_under_averages_are_never_written() {
    let plan = |pool: Pool, window: Window, shown: bool| {
        let mut network = Network::new();
        let x = network.input("x", [1, 6, 6]).expect("a new name");
        let padded = Convolution::padded(1);
        let h = network.conv2d("c", x, [1, 2], [3, 3], padded).expect("new");
        if shown {
            network.output("shown", h).expect("a new name");
        }
        let h = network.relu("relu", h).expect("a new name");
        let h = network.pool("pool", pool, h, window).expect("a new name");
        let h = network.flatten("flat", h).expect("a new name");
        let width = network.shapes(1).expect("they fit").last().expect("some")[1];
        let target = network.input("target", [width]).expect("a new name");
        let loss = network.mean_squared_error("loss", h, target).expect("new");
        network.output("loss", loss).expect("a new name");
        let network = network
            .with_optimizer(loss, Optimizer::sgd(0.0), None)
            .expect("gradients");
        compiled(&network, 3, DType::F32, Algebra::Compact(2), REGIMES[2])
    };
    let count = |plan: &Plan, is: fn(&Kernel) -> bool| {
        let commands = plan.commands().iter();
        commands.filter(|command| is(&command.kernel)).count()
    };
    let pooled = |kernel: &Kernel| matches!(kernel, Kernel::Conv2dPooled { .. });
    let passes =
        |kernel: &Kernel| matches!(kernel, Kernel::Pool { .. } | Kernel::PoolGradient { .. });
    let two = Window::tiling(2);
    let one = plan(Pool::Average, two, false);
    assert_eq!([count(&one, pooled), count(&one, passes)], [1, 0]);
    let overlapping = Window {
        stride: [1, 1],
        ..two
    };
    for (pool, window, shown) in [
        (Pool::Average, two, true),
        (Pool::Max, two, false),
        (Pool::Average, Window::tiling(4), false),
        (Pool::Average, overlapping, false),
    ] {
        let apart = plan(pool, window, shown);
        let counts = [count(&apart, pooled), count(&apart, passes)];
        assert_eq!(counts, [0, 2], "{pool:?} {window:?} {shown}");
    }
}

/// After a training run, a parameter that is an output too reads as what it was stepped to.
#[test]
fn a_parameter_as_output_follows_its_updates() {
    let mut network = Network::new();
    let x = network.input("x", [3]).expect("a new name");
    let init = Init::Uniform { bound: 1.0 };
    let w = network.parameter("w", [3, 2], init).expect("a new name");
    let y = network.matmul("y", x, w).expect("a new name");
    let target = network.input("target", [2]).expect("a new name");
    let loss = network
        .mean_squared_error("loss", y, target)
        .expect("a new name");
    network.output("weight", w).expect("a new name");
    let network = network
        .with_optimizer(loss, Optimizer::sgd(0.0), None)
        .expect("gradients");
    let weights = network.initial_parameters(2, DType::F64).expect("weights");
    let key = key(2, 96);
    let plan = compiled(&network, 4, DType::F64, Algebra::Compact(2), REGIMES[2]);
    let device = cpu();
    let mut session = open(&device, plan, &key, &weights);
    session.set_learning_rate(0.5).expect("a rate");
    let mut noise = Noise::new(97);
    let x = random(&[4, 3], (-1.0, 1.0), DType::F64, &mut noise);
    let target = random(&[4, 2], (-1.0, 1.0), DType::F64, &mut noise);
    write_inputs(&mut session, &key, 98, &[("x", &x), ("target", &target)]);
    let before = decrypted(&session, &key, "w");
    session.run().expect("a run");
    let after = decrypted(&session, &key, "w");
    assert!(
        compare(&after, &before, 1e-6).is_err(),
        "nothing was learnt"
    );
    assert_eq!(after, decrypted(&session, &key, "weight"));
}

#[test]
fn plans_keep_to_their_memory() {
    let mut network = Network::new();
    let x = network.input("x", [3, 20, 20]).expect("a new name");
    let y = network.conv2d("conv", x, [3, 8], [5, 5], Convolution::default());
    network
        .output("y", y.expect("a new name"))
        .expect("a new name");
    let key = key(2, 95);
    let weights = network.initial_parameters(5, DType::F32).expect("weights");
    let limited = |batch, memory_limit| {
        let algebra = Algebra::Compact(2);
        let options = CompileOptions {
            memory_limit,
            ..CompileOptions::encrypted_inputs(batch, DType::F32, algebra)
        };
        Plan::compile(&network, &options).map(Arc::new)
    };
    let free = limited(40, None).expect("no limit");
    let (plan, whole) = (free.bytes(), open(&cpu(), free, &key, &weights).bytes());
    assert!(plan < whole, "{plan} and {whole}: kernels need some too");
    let refusal = limited(40, Some(plan - 1));
    let (needed, allowed) = (format!("{plan} bytes"), format!("{} are allowed", plan - 1));
    refused("a plan", refusal, &["batch of 40", &needed, &allowed]);
    // What kernels need beside the plan is known with the device.
    let tight = limited(40, Some(whole - 1)).expect("the plan itself fits");
    let refusal = Session::new(&cpu(), tight, Some(key.evaluation_key()));
    let (needed, allowed) = (
        format!("{whole} bytes"),
        format!("{} are allowed", whole - 1),
    );
    refused("a program", refusal, &[&needed, &allowed]);
    let fits = limited(40, Some(whole)).expect("the plan fits");
    assert_eq!(open(&cpu(), fits, &key, &weights).bytes(), whole);
    // Far more than there is costs nothing but the plan.
    refused(
        "a plan",
        limited(1 << 24, Some(1 << 30)),
        &["1073741824 are allowed"],
    );
}
