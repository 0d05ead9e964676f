//! What is looked at in every run: numbers that are not finite, and slots that grow apart.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use furthermore::network::{Function, Network};
use furthermore::plan::{CompileOptions, Plan};
use furthermore::scheme::{Guard, MaskPolicy, SecretKey};
use furthermore::session::Session;
use furthermore::tensor::{Ciphertext, DType, Plaintext};
use furthermore::{Algebra, Error};
use tracing::span;

use crate::support::{Noise, compare, cpu, decrypted, encrypt, key, refused, tensor, value};

const ALGEBRA: Algebra = Algebra::Compact(2);
const BATCH: usize = 4;

#[test]
fn single_operations_are_watched_too() {
    let big = tensor(&[3], &[1e30, -1e30, 1.0], DType::F32);
    refused(
        "a product",
        cpu().multiply(&big, &big),
        &["`multiply`", "not finite", "f32"],
    );
    let found = cpu().map(Function::Square, &big);
    refused("a square", found, &["`square`", "not finite"]);
    refused(
        "a multiple",
        cpu().scale(&big, 1e30),
        &["`scale`", "not finite"],
    );
    let key = key(2, 115);
    let c = encrypt(&key, ALGEBRA, 1, &big);
    refused(
        "a product",
        cpu().multiply(&c, &c),
        &["`multiply`", "not finite"],
    );
    let wide = tensor(&[1], &[1e200], DType::F64);
    refused(
        "a sum",
        cpu().multiply(&wide, &wide),
        &["`multiply`", "f64"],
    );
}

/// Messages of about one under masks of about `ratio`.
fn apart(key: &SecretKey, ratio: f64, dtype: DType) -> (Plaintext, Ciphertext) {
    let mut noise = Noise::new(4);
    let messages = tensor(&[BATCH, 3], &noise.either_sign(12, 0.5, 1.0), dtype);
    let masks = noise.either_sign(12, 0.5 * ratio, ratio);
    let masks = tensor(&[BATCH, 3], &masks, dtype);
    let ciphertext = key
        .encryptor_from_known_seed(ALGEBRA, 5)
        .expect("its algebra")
        .encrypt_with(&messages, MaskPolicy::From(&masks))
        .expect("finite messages");
    (messages, ciphertext)
}

fn guarded(key: &SecretKey, dtype: DType) -> Session {
    let mut network = Network::new();
    let x = network.input("x", [3]).expect("a new name");
    let y = network.relu("first function", x).expect("a new name");
    let y = network.sigmoid("second function", y).expect("a new name");
    network.output("y", y).expect("a new name");
    let options = CompileOptions::encrypted_inputs(BATCH, dtype, ALGEBRA);
    let plan = Arc::new(Plan::compile(&network, &options).expect("a plan"));
    Session::new(&cpu(), plan, Some(key.evaluation_key())).expect("a session")
}

#[test]
fn masks_far_from_messages_trip_the_guard() {
    let key = key(2, 116);
    for (dtype, ratio) in [(DType::F32, 1e6), (DType::F64, 1e15)] {
        let mut session = guarded(&key, dtype);
        let (_, x) = apart(&key, ratio, dtype);
        session.write("x", &x).expect("it fits");
        let limit = Guard::for_dtype(dtype).fail;
        let parts = [
            "`first function`",
            "times the other",
            &format!("past {limit:.0e}"),
        ];
        let found = session.run();
        let Err(Error::MaskGuard { ratio: seen, .. }) = &found else {
            panic!("{found:?}");
        };
        assert!(
            (0.3 * ratio..3.0 * ratio).contains(seen),
            "{seen:e} of {ratio:e}"
        );
        refused("a run", found, &parts);
        refused(
            "an operation",
            cpu().map(Function::Relu, &x),
            &["`relu`", "times the other"],
        );
        refused(
            "a result",
            cpu().scale(&x, 2.0),
            &["`scale`", "times the other"],
        );
        // Whoever knows better may say so.
        let (warn, fail) = (1e16, 1e17);
        session.set_guard(Guard { warn, fail });
        session.run().expect("a guard that lets it through");
    }
}

/// Counts events of the level of warnings.
#[derive(Default)]
struct Warnings(Arc<AtomicUsize>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// Past the first limit a run says so, once for each operation, and goes on.
#[test]
fn a_ratio_between_the_limits_only_warns() {
    let key = key(2, 117);
    let count = Arc::new(AtomicUsize::new(0));
    let warnings = Warnings(Arc::clone(&count));
    // Events go to the thread that runs the plan, so it has to be the one that listens.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    pool.expect("a thread").install(|| {
        tracing::subscriber::with_default(warnings, || {
            for (ratio, expected) in [(1.0, 0), (1e4, 1)] {
                count.store(0, Ordering::SeqCst);
                let mut session = guarded(&key, DType::F32);
                let (messages, x) = apart(&key, ratio, DType::F32);
                session.write("x", &x).expect("it fits");
                for _ in 0..3 {
                    session.run().expect("a run");
                }
                // Sigmoid's arguments are as far apart as the first function's.
                let seen = count.load(Ordering::SeqCst);
                assert_eq!(seen, 2 * expected, "ratio {ratio:e}");
                let found = decrypted(&session, &key, "y");
                let of = |x: &f64| value(Function::Sigmoid, x.max(0.0));
                let wanted: Vec<f64> = messages.to_f64().iter().map(of).collect();
                compare(&found, &wanted, 4.0 * 6e-8 * ratio.max(4.0))
                    .unwrap_or_else(|error| panic!("ratio {ratio:e}: {error}"));
            }
        });
    });
}
