//! Verification by check inputs: faults are seen, honest rows are not.

use std::sync::Arc;

use furthermore::Algebra;
use furthermore::network::{Function, Network, Parameters};
use furthermore::plan::{CompileOptions, Plan};
use furthermore::scheme::{KeyShape, MaskPolicy, SecretKey, Verifier};
use furthermore::session::Session;
use furthermore::tensor::{Ciphertext, DType, Plaintext, Tensor};

use crate::support::{
    DTYPES, Loss, Mlp, Noise, cipher, coordinates, cpu, from_coordinates, random, refused, tensor,
};

const SIZES: [usize; 4] = [13, 17, 8, 3];
const ROWS: usize = 200;
/// Samples of a run: no divisor of the rows.
const BATCH: usize = 48;

/// A network with its weights and an oracle, and samples.
struct Case {
    key: SecretKey,
    algebra: Algebra,
    network: Network,
    weights: Parameters,
    oracle: Mlp,
    samples: Plaintext,
}

impl Case {
    fn new(algebra: Algebra, dtype: DType) -> Self {
        let mut oracle = Mlp::new(&SIZES, Function::Relu, Loss::SquaredError);
        let network = oracle.inference();
        let weights = network.initial_parameters(5, dtype).expect("weights");
        oracle.load(&weights);
        let shape = KeyShape::packed(algebra.slots(), 2);
        Self {
            key: SecretKey::from_known_seed(shape, 31).expect("a key"),
            algebra,
            network,
            weights,
            oracle,
            samples: random(&[ROWS, SIZES[0]], (-2.0, 2.0), dtype, &mut Noise::new(6)),
        }
    }

    /// A verifier that knows what the oracle says of its check inputs.
    fn verifier(&self, count: usize, seed: u64) -> Verifier<'_> {
        let encryptor = self.key.encryptor_from_known_seed(self.algebra, seed);
        let encryptor = encryptor.expect("an algebra of the key");
        let mut verifier = Verifier::generate(encryptor, &self.samples, count).expect("a pool");
        let outputs = self.oracle.forward(&verifier.pool().to_f64(), count);
        let outputs = tensor(&[count, SIZES[3]], &outputs, DType::F64);
        verifier.set_outputs(&outputs).expect("a row for each");
        verifier
    }

    /// What a network of these weights makes of ciphertexts.
    fn run(&self, network: &Network, weights: &Parameters, x: &Ciphertext) -> Ciphertext {
        let options = CompileOptions::encrypted_inputs(BATCH, x.dtype(), self.algebra);
        let plan = Arc::new(Plan::compile(network, &options).expect("a plan"));
        let key = Some(self.key.evaluation_key());
        let mut session = Session::new(&cpu(), plan, key).expect("a session");
        session.load_parameters(weights).expect("its weights");
        cipher(session.predict(&[("x", x.into())], "y", |_| ()))
    }
}

/// The same ciphertexts with rows in another order.
fn reordered(c: &Ciphertext, order: impl Fn(usize) -> usize) -> Ciphertext {
    let (elements, width) = (coordinates(c), c.shape()[1]);
    let rows = (0..c.shape()[0]).map(order);
    let moved = rows.flat_map(|row| elements[row * width..][..width].to_vec());
    let moved: Vec<_> = moved.collect();
    from_coordinates(c.shape(), c.algebra(), c.key(), &moved, c.dtype())
}

const ALGEBRAS: [Algebra; 3] = [Algebra::Compact(3), Algebra::Blocks(3), Algebra::Compact(4)];

#[test]
fn honest_rows_pass_and_have_their_messages() {
    for dtype in DTYPES {
        for algebra in ALGEBRAS {
            let case = Case::new(algebra, dtype);
            let mut verifier = case.verifier(Verifier::POOL, 1);
            let expected = case.oracle.forward(&case.samples.to_f64(), ROWS);
            for policy in [MaskPolicy::Uniform, MaskPolicy::PairedRows] {
                let (x, receipt) = verifier.encrypt_with(&case.samples, policy).expect("like");
                let y = case.run(&case.network, &case.weights, &x);
                let verified = verifier.check(&y, &receipt).expect("its own");
                assert_eq!(verified.failed_rows, [0; 0], "{algebra} {dtype}");
                assert!(verified.largest_deviation <= verifier.tolerance());
                assert!(verified.largest_deviation > 0.0, "nothing is exact");
                let bound = if dtype == DType::F32 { 1e-5 } else { 1e-14 };
                for (found, expected) in verified.messages.to_f64().iter().zip(&expected) {
                    assert!((found - expected).abs() <= bound, "{found} {expected}");
                }
            }
        }
    }
}

#[test]
fn a_layer_left_out_is_seen_in_every_row() {
    for dtype in DTYPES {
        let case = Case::new(Algebra::Compact(3), dtype);
        let mut verifier = case.verifier(Verifier::POOL, 2);
        let (x, receipt) = verifier.encrypt(&case.samples).expect("like");
        for left_out in 0..2 {
            let mut network = Network::new();
            let mut y = network.input("x", [SIZES[0]]).expect("an input");
            for layer in 0..3 {
                let name = format!("fc{}", layer + 1);
                let [from, to] = [SIZES[layer], SIZES[layer + 1]];
                y = network.linear(&name, y, from, to).expect("a layer");
                if layer < 2 && layer != left_out {
                    y = network.relu(&format!("relu{layer}"), y).expect("a map");
                }
            }
            network.output("y", y).expect("an output");
            let y = case.run(&network, &case.weights, &x);
            let verified = verifier.check(&y, &receipt).expect("its own");
            assert_eq!(verified.failed_rows.len(), ROWS, "{dtype} {left_out}");
        }
    }
}

/// One weight of each layer off by a hundredth, and one bias.
#[test]
fn a_wrong_weight_is_seen() {
    for dtype in DTYPES {
        let case = Case::new(Algebra::Compact(3), dtype);
        let mut verifier = case.verifier(Verifier::POOL, 3);
        let (x, receipt) = verifier.encrypt(&case.samples).expect("like");
        for name in ["fc1.weight", "fc2.weight", "fc3.weight", "fc3.bias"] {
            let mut weights = case.weights.clone();
            let Tensor::Plaintext(right) = weights.get(name).expect("a weight") else {
                panic!("weights are plaintext");
            };
            let mut numbers = right.to_f64();
            numbers[1] += 0.01;
            let wrong = tensor(right.shape(), &numbers, dtype);
            weights.insert(name, Tensor::Plaintext(wrong));
            let y = case.run(&case.network, &weights, &x);
            let verified = verifier.check(&y, &receipt).expect("its own");
            assert!(verified.failed_rows.len() > ROWS / 4, "{dtype} {name}");
        }
    }
}

/// All but those that exchange rows of the same check input, and results of another batch.
#[test]
fn rows_that_are_not_theirs_are_seen() {
    for dtype in DTYPES {
        let case = Case::new(Algebra::Compact(3), dtype);
        let mut verifier = case.verifier(Verifier::POOL, 4);
        let (x, receipt) = verifier.encrypt(&case.samples).expect("like");
        let y = case.run(&case.network, &case.weights, &x);
        let swapped = verifier
            .check(&reordered(&y, |row| row ^ 1), &receipt)
            .expect("its own");
        // One in 64 is not seen: six in a hundred would be five standard deviations.
        assert!(swapped.failed_rows.len() >= ROWS * 94 / 100, "{dtype}");
        let rotated = verifier
            .check(&reordered(&y, |row| (row + 7) % ROWS), &receipt)
            .expect("its own");
        assert!(rotated.failed_rows.len() >= ROWS * 90 / 100, "{dtype}");
        let mut expected: Vec<usize> = [8, 9].to_vec();
        let one = |row: usize| if row / 2 == 4 { row ^ 1 } else { row };
        let one = verifier
            .check(&reordered(&y, one), &receipt)
            .expect("its own");
        if one.failed_rows.is_empty() {
            expected.clear();
        }
        assert_eq!(one.failed_rows, expected);

        let (again, later) = verifier.encrypt(&case.samples).expect("like");
        let replayed = verifier.check(&y, &later).expect("its own");
        assert!(replayed.failed_rows.len() >= ROWS * 90 / 100, "{dtype}");
        let y = case.run(&case.network, &case.weights, &again);
        let verified = verifier.check(&y, &later).expect("its own");
        assert!(verified.failed_rows.is_empty());
    }
}

/// What the check does not cover, as its documentation says: a message changed in its own slot.
#[test]
fn a_message_changed_in_its_slot_passes() {
    let case = Case::new(Algebra::Compact(3), DType::F64);
    let mut verifier = case.verifier(Verifier::POOL, 5);
    let (x, receipt) = verifier.encrypt(&case.samples).expect("like");
    let y = case.run(&case.network, &case.weights, &x);
    let key = case.key.evaluation_key();
    let arithmetic = key.arithmetic(case.algebra).expect("its own");
    let honest = verifier.check(&y, &receipt).expect("its own").messages;
    let mut ends = [0; 3];
    for slot in 0..3 {
        let mut elements = coordinates(&y);
        for element in &mut elements {
            for (row, x) in element.iter_mut().enumerate() {
                *x += arithmetic.from_slots()[row * 3 + slot];
            }
        }
        let forged = from_coordinates(y.shape(), y.algebra(), key, &elements, y.dtype());
        let verified = verifier.check(&forged, &receipt).expect("its own");
        let changed = verified.messages.to_f64()[0] - honest.to_f64()[0] > 0.5;
        // Message, check and mask, in an order that the key has.
        let end = match (changed, verified.failed_rows.len()) {
            (true, 0) => 0,
            (false, ROWS) => 1,
            (false, 0) => 2,
            other => panic!("{other:?}"),
        };
        ends[end] += 1;
    }
    assert_eq!(ends, [1, 1, 1]);
}

#[test]
fn tolerances_are_compared_with_deviations() {
    let case = Case::new(Algebra::Compact(3), DType::F32);
    let mut verifier = case.verifier(7, 6);
    assert_eq!(verifier.tolerance(), 32.0);
    let (x, receipt) = verifier.encrypt(&case.samples).expect("like");
    let y = case.run(&case.network, &case.weights, &x);
    let deviation = verifier.check(&y, &receipt).expect("its own");
    let deviation = deviation.largest_deviation;
    verifier.set_tolerance(deviation * 0.999).expect("positive");
    let failed = verifier.check(&y, &receipt).expect("its own").failed_rows;
    assert!(!failed.is_empty() && failed.len() < ROWS / 4, "{failed:?}");
    verifier.set_tolerance(deviation).expect("positive");
    let failed = verifier.check(&y, &receipt).expect("its own").failed_rows;
    assert!(failed.is_empty());
    for tolerance in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        refused(
            "a tolerance",
            verifier.set_tolerance(tolerance),
            &["tolerance"],
        );
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let case = Case::new(Algebra::Compact(3), DType::F32);
    let encryptor = || {
        let encryptor = case.key.encryptor_from_known_seed(case.algebra, 1);
        encryptor.expect("an algebra of the key")
    };
    let pool = |shape: &[usize], numbers: &[f64]| {
        Verifier::new(encryptor(), tensor(shape, numbers, DType::F32))
    };
    assert!(pool(&[2, 2], &[1.0, -2.0, -1.0, 2.0]).is_ok());
    assert!(pool(&[3, 0], &[]).is_ok());
    for (what, shape, numbers, part) in [
        (
            "one check input",
            &[1, 2][..],
            &[0.0, 0.0][..],
            "fewer than two rows",
        ),
        ("none", &[0, 2], &[], "fewer than two rows"),
        ("a number", &[], &[0.0], "fewer than two rows"),
        (
            "a mean",
            &[2, 2],
            &[1.0, 1.0, -1.0, -0.5],
            "feature 1 has a mean of 2.5e-1",
        ),
        (
            "infinity",
            &[2, 1],
            &[f64::INFINITY, 0.0],
            "element 0 is inf",
        ),
    ] {
        refused(what, pool(shape, numbers), &["check inputs", part]);
    }
    let number = tensor(&[], &[1.0], DType::F32);
    refused(
        "samples without rows",
        Verifier::generate(encryptor(), &number, 4),
        &["a single number has no rows"],
    );
    for (count, part) in [
        (usize::MAX / 2, "more elements than can be addressed"),
        (1 << 45, "bytes of memory"),
    ] {
        let pool = Verifier::generate(encryptor(), &case.samples, count);
        refused("a pool past memory", pool, &[part]);
    }
    let plain = SecretKey::from_known_seed(3, 1).expect("a key");
    refused(
        "a key of one message",
        Verifier::generate(
            plain.encryptor(case.algebra).expect("its algebra"),
            &case.samples,
            4,
        ),
        &["hold 1 messages", "KeyShape::packed(3, 2)"],
    );

    let mut verifier = Verifier::generate(encryptor(), &case.samples, 4).expect("a pool");
    let (x, receipt) = verifier.encrypt(&case.samples).expect("like");
    let y = case.run(&case.network, &case.weights, &x);
    refused("no outputs", verifier.check(&y, &receipt), &["set_outputs"]);
    for shape in [&[3, 3][..], &[5], &[]] {
        let outputs = Plaintext::zeros(shape, DType::F32).expect("zeros");
        refused(
            "outputs of other rows",
            verifier.set_outputs(&outputs),
            &["no row for each of 4 check inputs"],
        );
    }
    let odd = tensor(&[4, 1], &[0.0, 1.0, f64::NAN, 2.0], DType::F64);
    refused("NaN", verifier.set_outputs(&odd), &["element 2 is NaN"]);
    let outputs = Plaintext::zeros([4, SIZES[3]], DType::F64).expect("zeros");
    verifier.set_outputs(&outputs).expect("a row for each");
    refused(
        "results of another shape",
        verifier.check(&x, &receipt),
        &["[200, 13]", "[200, 3]"],
    );
    let fewer = case.samples.rows(&[0, 1, 2]).expect("rows");
    let (_, other) = verifier.encrypt(&fewer).expect("like");
    refused("another batch's", verifier.check(&y, &other), &["[3, 3]"]);
    refused(
        "samples of another shape",
        verifier.encrypt(&tensor(&[2, 2], &[0.0; 4], DType::F32)),
        &["[2, 13]", "[2, 2]"],
    );
    refused(
        "samples of another type",
        verifier.encrypt(&case.samples.to_dtype(DType::F64).expect("memory")),
        &["f32", "f64"],
    );
    let elsewhere = SecretKey::from_known_seed(KeyShape::packed(3, 2), 32).expect("a key");
    let zeros = Ciphertext::zeros(
        [ROWS, SIZES[3]],
        DType::F32,
        case.algebra,
        elsewhere.evaluation_key(),
    );
    refused(
        "another key's",
        verifier.check(&zeros.expect("zeros"), &receipt),
        &["under key"],
    );
    // No rows are none to fail.
    let none = case.samples.rows(&[]).expect("no rows");
    let (_, receipt) = verifier.encrypt(&none).expect("like");
    let zeros = Ciphertext::zeros(
        [0, SIZES[3]],
        DType::F32,
        case.algebra,
        case.key.evaluation_key(),
    );
    let verified = verifier.check(&zeros.expect("zeros"), &receipt);
    assert!(verified.expect("its own").failed_rows.is_empty());
}
