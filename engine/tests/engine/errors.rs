//! What is refused before anything runs, and that the message says what was wrong and where.

use std::process::Command;
use std::sync::Arc;

use furthermore::Algebra;
use furthermore::network::{Init, Network, Value};
use furthermore::plan::{CompileOptions, Plan};
use furthermore::scheme::{MaskPolicy, SecretKey};
use furthermore::session::Session;
use furthermore::tensor::{Ciphertext, DType, Plaintext, Shape};
use furthermore_kernels_cpu::{ISA_VARIABLE, Isa};

use crate::support::{DTYPES, cpu, encrypt, key, ones, refused, tensor};

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
fn keys_have_two_to_eight_slots() {
    for slots in [0, 1, 9, usize::MAX] {
        let parts = [&slots.to_string()[..], "2 to 8"];
        refused("a key", SecretKey::generate(slots), &parts);
        refused("a known key", SecretKey::from_known_seed(slots, 1), &parts);
    }
    for name in ["compact1", "blocks9", "compact", "real2", ""] {
        let parts = [&format!("'{name}'")[..], "compact2 to compact8"];
        refused("a name", name.parse::<Algebra>(), &parts);
    }
    refused("a type", "f16".parse::<DType>(), &["'f16'", "f32 and f64"]);
    let policy = "paired".parse::<MaskPolicy<'static>>();
    refused("a policy", policy, &["'paired'", "paired-rows"]);
}

#[test]
fn a_key_of_another_size_does_not_fit() {
    let key = key(2, 1);
    let id = key.id().to_string();
    let parts = ["compact3 needs a key of 3 slots", &id, "has 2"];
    refused("an encryptor", key.encryptor(Algebra::Compact(3)), &parts);
    let real = key.encryptor(Algebra::Real);
    refused("an encryptor", real, &["real", "the plaintext algebra"]);
    let c = encrypt(&key, Algebra::Compact(2), 1, &ones(&[2]));
    refused(
        "a conversion",
        c.convert(Algebra::Blocks(4)),
        &["blocks4", "4 slots"],
    );
    refused("a conversion", c.convert(Algebra::Real), &["real"]);
    let zeros = Ciphertext::zeros([2], DType::F32, Algebra::Blocks(3), key.evaluation_key());
    refused("a tensor", zeros, &["blocks3 needs a key of 3 slots"]);

    let (network, ..) = linear();
    let options = CompileOptions::encrypted_inputs(2, DType::F32, Algebra::Compact(3));
    let plan = Arc::new(Plan::compile(&network, &options).expect("a plan"));
    let session = Session::new(&cpu(), Arc::clone(&plan), Some(key.evaluation_key()));
    refused(
        "a session",
        session,
        &["compact3 needs a key of 3 slots", &id],
    );
    let session = Session::new(&cpu(), plan, None);
    refused("a session", session, &["compact3 needs the evaluation key"]);
    let wrong = CompileOptions::encrypted(2, DType::F32, Algebra::Blocks(9));
    refused("a plan", Plan::compile(&network, &wrong), &["'blocks9'"]);
}

#[test]
fn other_keys_ciphertexts_are_refused() {
    let (ours, theirs) = (key(2, 2), key(2, 3));
    let (a, b) = (
        encrypt(&ours, Algebra::Compact(2), 1, &ones(&[2, 3])),
        encrypt(&theirs, Algebra::Compact(2), 1, &ones(&[2, 3])),
    );
    let (our, their) = (ours.id().to_string(), theirs.id().to_string());
    let parts = ["shape [2, 3]", &our[..], &their[..]];
    refused("decryption", ours.decrypt(&b), &parts);
    refused("a sum", cpu().add(&a, &b), &["operand 2", &our, &their]);
}

#[test]
fn tensors_of_wrong_data_are_refused() {
    let short = Plaintext::new([2, 3], &[1.0f32; 5]);
    refused("a tensor", short, &["5 numbers", "[2, 3]", "needs 6"]);
    let key = key(2, 4);
    let evaluation = key.evaluation_key();
    let numbers = [0.0f64; 11];
    let short = Ciphertext::from_interleaved([3], Algebra::Blocks(2), evaluation, &numbers);
    refused(
        "blocks",
        short,
        &["blocks2 ciphertext", "11 numbers", "[3]", "needs 12"],
    );
    refused("a view", ones(&[2]).as_slice::<f64>(), &["f32 where f64"]);
    let c = encrypt(&key, Algebra::Compact(2), 1, &ones(&[2]));
    refused("a view", c.planes::<f64>(), &["f32 where f64"]);
    refused(
        "interleaving",
        c.to_interleaved::<f64>(),
        &["f32 where f64"],
    );
    refused(
        "rows",
        ones(&[2, 3]).rows(&[0, 2]),
        &["row 2", "there are 2"],
    );
    refused("rows", ones(&[]).rows(&[0]), &["no rows"]);
}

#[test]
fn numbers_that_are_not_finite_are_not_encrypted() {
    let key = key(2, 5);
    for (value, shown) in [
        (f64::NAN, "NaN"),
        (f64::INFINITY, "inf"),
        (f64::NEG_INFINITY, "-inf"),
    ] {
        for dtype in DTYPES {
            let mut values = vec![1.0; 6];
            values[4] = value;
            let bad = tensor(&[2, 3], &values, dtype);
            let good = tensor(&[2, 3], &[1.0; 6], dtype);
            let mut encryptor = key.encryptor(Algebra::Compact(2)).expect("its algebra");
            let parts = ["element 4", shown, "finite"];
            refused("messages", encryptor.encrypt(&bad), &parts);
            let masks = encryptor.encrypt_with(&good, MaskPolicy::From(&bad));
            refused("masks", masks, &["masks: element 4", shown]);
            let policy = MaskPolicy::PairedRows;
            let set = encryptor.encrypt_training_set(&bad, &good, policy);
            refused("inputs", set, &["inputs: element 4"]);
            let set = encryptor.encrypt_training_set(&good, &bad, policy);
            refused("labels", set, &["labels: element 4"]);
            let eager = cpu().add(&good, &bad);
            refused("an operand", eager, &["operand 2", "element 4", shown]);
        }
    }
    // A mask that is finite in f64 and not in the messages' type.
    let masks = tensor(&[2], &[1e300, 1.0], DType::F64);
    let mut encryptor = key.encryptor(Algebra::Compact(2)).expect("its algebra");
    let found = encryptor.encrypt_with(&ones(&[2]), MaskPolicy::From(&masks));
    refused("masks", found, &["masks: element 0", "inf"]);
}

#[test]
fn policies_that_do_not_fit_are_refused() {
    let key = key(3, 6);
    let mut encryptor = key.encryptor(Algebra::Blocks(3)).expect("its algebra");
    for (policy, name) in [
        (MaskPolicy::PairedRows, "paired-rows"),
        (MaskPolicy::Features, "features"),
    ] {
        for shape in [&[1usize, 3][..], &[0, 3], &[]] {
            let found = encryptor.encrypt_with(&ones(shape), policy);
            let shown = Shape::from(shape).to_string();
            refused("one row", found, &[name, &shown, "fewer than two rows"]);
        }
    }
    let masks = ones(&[3, 2]);
    let found = encryptor.encrypt_with(&ones(&[2, 3]), MaskPolicy::From(&masks));
    refused("masks", found, &["from", "[3, 2]", "[2, 3]"]);
    let found = encryptor.encrypt_training_set(&ones(&[3, 2]), &ones(&[4, 1]), MaskPolicy::Uniform);
    refused(
        "a set",
        found,
        &["encrypt_training_set", "3 rows", "4 of labels"],
    );
}

#[test]
fn sizes_past_memory_are_refused() {
    let huge: [&[usize]; 4] = [
        &[usize::MAX],
        &[usize::MAX, usize::MAX],
        &[1 << 40, 1 << 40],
        &[3, usize::MAX / 2, 5],
    ];
    let key = key(2, 8);
    for shape in huge {
        let shown = Shape::from(shape).to_string();
        let parts = [&shown[..], "more elements than can be addressed"];
        refused("a plaintext", Plaintext::zeros(shape, DType::F32), &parts);
        refused("a plaintext", Plaintext::new::<f32>(shape, &[]), &parts);
        let evaluation = key.evaluation_key();
        let zeros = Ciphertext::zeros(shape, DType::F64, Algebra::Blocks(2), evaluation);
        refused("a ciphertext", zeros, &parts);

        let mut network = Network::new();
        let x = network.input("wide", shape).expect("a new name");
        network.output("y", x).expect("a new name");
        let plan = Plan::compile(&network, &CompileOptions::plain(2, DType::F32));
        refused(
            "a plan",
            plan,
            &["wide", "more elements than can be addressed"],
        );
        let mut network = Network::new();
        network
            .parameter("wide", shape, UNIFORM)
            .expect("a new name");
        refused("weights", network.initial_parameters(1, DType::F32), &parts);
    }
    // A batch that is too large for a sample that is not.
    let (network, ..) = linear();
    let plan = Plan::compile(&network, &CompileOptions::plain(usize::MAX / 2, DType::F32));
    refused(
        "a batch",
        plan,
        &["x", "more elements than can be addressed"],
    );
    let plan = Plan::compile(&network, &CompileOptions::plain(0, DType::F32));
    refused("a batch", plan, &["batch of 0"]);

    // Any number of rows of a size that can be addressed, and none of them.
    let odd = Plaintext::zeros([0, usize::MAX, 2], DType::F32);
    refused("rows", odd, &["more elements than can be addressed"]);
    let none = Plaintext::zeros([0, 1 << 30, 2], DType::F32).expect("an empty tensor");
    assert_eq!(none.rows(&[]).expect("no rows").shape(), none.shape());
    let encrypted = encrypt(&key, Algebra::Compact(2), 1, &none);
    let sum = cpu().add(&encrypted, &encrypted).expect("nothing to add");
    assert_eq!(sum.view().shape(), none.shape());

    // What a plan of tensors at the limit would take is counted, not wrapped around.
    let mut network = Network::new();
    for name in ["a", "b", "c", "d", "e"] {
        let x = network.input(name, [1 << 52]).expect("a new name");
        network.output(name, x).expect("a new name");
    }
    let options = CompileOptions::encrypted(1, DType::F64, Algebra::Blocks(8));
    let plan = Plan::compile(&network, &options).expect("a plan is only data");
    assert!(plan.bytes() >= 1 << 62);
}

/// Not a test by itself: what the next test runs in processes with an environment of their own.
#[test]
fn report_conversions() {
    let (key, blocks) = (key(2, 1), Algebra::Blocks(2));
    let numbers = [1.0f32, 2.0, 3.0, 4.0];
    let evaluation = key.evaluation_key();
    let zeros = Ciphertext::zeros([1], DType::F32, blocks, evaluation).expect("it fits the key");
    let mut encryptor = key.encryptor(blocks).expect("it fits the key");
    for outcome in [
        encryptor.encrypt(&ones(&[1])).map(drop),
        key.decrypt(&zeros).map(drop),
        zeros.convert(Algebra::Compact(2)).map(drop),
        zeros.to_interleaved::<f32>().map(drop),
        Ciphertext::from_interleaved([1], blocks, evaluation, &numbers).map(drop),
    ] {
        match outcome {
            Ok(()) => println!("done"),
            Err(error) => println!("refused: {error}"),
        }
    }
}

/// What is computed without a device takes the instruction set that the environment forces, as devices
/// do, and no other where that is not here.
#[test]
fn conversions_take_the_forced_instruction_set() {
    let with = |value: &str| {
        let this = std::env::current_exe().expect("a test knows where it is");
        let mut command = Command::new(this);
        command.args(["--exact", "errors::report_conversions", "--nocapture"]);
        let output = command.env(ISA_VARIABLE, value).output();
        let output = output.expect("a test can run itself");
        String::from_utf8(output.stdout).expect("messages are text")
    };
    for isa in Isa::available() {
        assert_eq!(with(isa.name()).matches("done").count(), 5, "{isa}");
    }
    let refused = with("bogus");
    let message = "refused: instruction set 'bogus'";
    assert_eq!(refused.matches(message).count(), 5, "{refused}");
}
