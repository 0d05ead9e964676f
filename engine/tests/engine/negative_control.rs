//! Controls: a comparison that cannot fail shows nothing, so each kind of error is made once on
//! purpose and has to be seen.

use furthermore::Algebra;
use furthermore::network::{Function, Network};
use furthermore::scheme::{MaskPolicy, SecretKey};
use furthermore::session::Session;
use furthermore::tensor::{Ciphertext, DType, Plaintext};

use crate::support::{
    Graph, Law, Loss, Mlp, More, Noise, Point, REGIMES, cipher, compare, compiled, cpu, decrypted,
    encrypt, key, open, random, tensor, write_inputs,
};

#[test]
fn the_comparison_sees_every_kind_of_error() {
    let expected = [1.0, -2.0, 0.0, 4.0];
    assert_eq!(compare(&expected, &expected, 0.0), Ok(0.0));
    assert!(compare(&[1.0, -2.0, 0.1, 4.0], &expected, 0.11).is_ok());
    let seen = |found: &[f64], bound: f64, words: &str| {
        let error = compare(found, &expected, bound).expect_err(words);
        assert!(error.to_string().contains(words), "{error}");
    };
    seen(&[1.0, -2.0, 0.1, 4.0], 0.09, "1 of 4 wrong, the first at 2");
    seen(&[1.1, -2.0, 0.1, 4.0], 0.09, "2 of 4 wrong, the first at 0");
    seen(&[1.0, f64::NAN, 0.0, 4.0], 1e9, "not a finite number");
    seen(&[1.0, f64::INFINITY, 0.0, 4.0], 1e9, "not a finite number");
    seen(&[1.0, -2.0, 0.0], 1e9, "3 numbers where 4 belong");
    seen(&[1.0, -2.0, 0.0, 4.0, 0.0], 1e9, "5 numbers where 4 belong");
    seen(&expected, f64::INFINITY, "no answer");
    seen(&expected, f64::NAN, "no answer");
    assert!(compare(&[f64::NAN], &[f64::NAN], 1.0).is_err());
}

/// A small network's result, its oracle, and the bound that the tests of networks would use.
struct Setup {
    key: SecretKey,
    session: Session,
    x: Plaintext,
    expected: Vec<f64>,
    bound: f64,
}

fn setup(algebra: Algebra, dtype: DType) -> Setup {
    let key = key(algebra.slots(), 121);
    let mut mlp = Mlp::new(&[4, 6, 3], Function::Sigmoid, Loss::SquaredError);
    let network = mlp.inference();
    let weights = network.initial_parameters(15, DType::F64).expect("weights");
    mlp.load(&weights);
    let x = random(&[5, 4], (-1.0, 1.0), dtype, &mut Noise::new(122));
    let plan = compiled(&network, 5, dtype, algebra, REGIMES[0]);
    let device = cpu();
    let session = open(&device, plan, &key, &weights);
    let law: Law = More::of(key.evaluation_key()).law(algebra, dtype);
    Setup {
        expected: mlp.forward(&x.to_f64(), 5),
        bound: law.bound(6, 1.0),
        key,
        session,
        x,
    }
}

impl Setup {
    fn result(&self) -> Ciphertext {
        cipher(self.session.read("y"))
    }

    fn decrypts_well(&self, ciphertext: &Ciphertext) -> bool {
        let found = self.key.decrypt(ciphertext).expect("its own key").to_f64();
        compare(&found, &self.expected, self.bound).is_ok()
    }
}

#[test]
fn a_corrupted_ciphertext_is_seen() {
    for algebra in [Algebra::Compact(2), Algebra::Blocks(2), Algebra::Compact(3)] {
        let mut setup = setup(algebra, DType::F32);
        write_inputs(&mut setup.session, &setup.key, 1, &[("x", &setup.x)]);
        setup.session.run().expect("a run");
        let good = setup.result();
        assert!(setup.decrypts_well(&good), "{algebra}");
        for plane in 0..algebra.dim() {
            let mut bad = good.clone();
            let mut planes = bad.planes_mut::<f32>().expect("its type");
            planes.plane_mut(plane)[7] += 1e-3;
            assert!(!setup.decrypts_well(&bad), "{algebra}, plane {plane}");
        }
        // One number of the input is enough, too.
        let mut values = setup.x.to_f64();
        values[11] += 1e-3;
        let x = tensor(&[5, 4], &values, DType::F32);
        write_inputs(&mut setup.session, &setup.key, 1, &[("x", &x)]);
        setup.session.run().expect("a run");
        assert!(!setup.decrypts_well(&setup.result()), "{algebra}");
    }
}

#[test]
fn the_wrong_slot_is_seen() {
    for algebra in [Algebra::Compact(2), Algebra::Blocks(2), Algebra::Blocks(3)] {
        let mut setup = setup(algebra, DType::F64);
        write_inputs(&mut setup.session, &setup.key, 1, &[("x", &setup.x)]);
        setup.session.run().expect("a run");
        let more = More::of(setup.key.evaluation_key());
        let slots = more.slots_of(&setup.result());
        let right = slots
            .iter()
            .filter(|slot| compare(slot, &setup.expected, setup.bound).is_ok());
        assert_eq!(
            right.count(),
            1,
            "{algebra}: of all slots one is the message's"
        );
    }
}

/// Without the algebra's product the coordinates' own products are no products of the messages.
#[test]
fn products_of_coordinates_are_seen() {
    let key = key(2, 123);
    let x = random(&[8], (-1.0, 1.0), DType::F64, &mut Noise::new(124));
    let c = encrypt(&key, Algebra::Compact(2), 1, &x);
    let mut naive = c.clone();
    let mut planes = naive.planes_mut::<f64>().expect("its type");
    for plane in 0..2 {
        planes.plane_mut(plane).iter_mut().for_each(|x| *x *= *x);
    }
    let squares: Vec<f64> = x.to_f64().iter().map(|x| x * x).collect();
    let cpu = cpu();
    let decrypt = |c: &Ciphertext| key.decrypt(c).expect("its own key").to_f64();
    let right = cipher(cpu.multiply(&c, &c));
    assert!(compare(&decrypt(&right), &squares, 1e-12).is_ok());
    assert!(compare(&decrypt(&naive), &squares, 1e-3).is_err());
}

/// The finite differences tell a gradient that misses one of two paths from the whole one.
#[test]
fn a_gradient_that_misses_a_path_is_seen() {
    let build = |both: bool| {
        let mut graph = Graph::new(3);
        let (x, w) = (graph.input("x", &[2]), graph.parameter("w", &[2, 2]));
        let target = graph.input("target", &[2]);
        let h = graph.matmul(x, w);
        let bent = graph.map(Function::Tanh, h);
        let y = if both { graph.add(bent, h) } else { bent };
        let loss = graph.squared_error(y, target);
        (graph, w, loss)
    };
    let mut noise = Noise::new(125);
    let point = Point::from([
        ("x".to_owned(), noise.numbers(6, -1.0, 1.0)),
        ("w".to_owned(), noise.numbers(4, -1.0, 1.0)),
        ("target".to_owned(), noise.numbers(6, -1.0, 1.0)),
    ]);
    let (graph, w, loss) = build(true);
    let (half, _, half_loss) = build(false);
    let (network, found) = graph
        .network
        .gradients(graph.value(loss), &[graph.value(w)])
        .expect("a gradient");
    let mut network: Network = network;
    network.output("dw", found[0]).expect("a new name");
    let plan = compiled(&network, 3, DType::F64, Algebra::Real, REGIMES[0]);
    let device = cpu();
    let mut session = Session::new(&device, plan, None).expect("a session");
    for (name, shape) in [("x", [3, 2]), ("w", [2, 2]), ("target", [3, 2])] {
        let values = tensor(&shape, &point[name], DType::F64);
        session.write(name, &values).expect("it fits");
    }
    session.run().expect("a run");
    let found = decrypted(&session, &key(2, 1), "dw");
    assert!(compare(&found, &graph.difference(loss, "w", &point), 1e-8).is_ok());
    assert!(compare(&found, &half.difference(half_loss, "w", &point), 1e-3).is_err());
}

/// The error law is no blank cheque: rounding a message to half precision breaks it in f32, and
/// rounding it to f32 in f64.
#[test]
fn the_error_law_sees_lost_digits() {
    for (dtype, lost) in [(DType::F32, 1e-3), (DType::F64, 1e-7)] {
        for slots in [2, 5, 8] {
            for algebra in [Algebra::Compact(slots), Algebra::Blocks(slots)] {
                let key = key(slots, 126);
                let law = More::of(key.evaluation_key()).law(algebra, dtype);
                let mut noise = Noise::new(127);
                let x = random(&[6], (0.5, 1.0), dtype, &mut noise);
                let masks = random(&[6], (0.5, 1.0), dtype, &mut noise);
                let mut encryptor = key
                    .encryptor_from_known_seed(algebra, 1)
                    .expect("its algebra");
                let c = encryptor
                    .encrypt_with(&x, MaskPolicy::From(&masks))
                    .expect("finite messages");
                let found = key.decrypt(&c).expect("its own key").to_f64();
                let expected = x.to_f64();
                let bound = law.bound(2, 1.0);
                assert!(
                    compare(&found, &expected, bound).is_ok(),
                    "{algebra} {dtype}"
                );
                let blunt: Vec<f64> = expected.iter().map(|x| x * (1.0 + lost)).collect();
                assert!(compare(&found, &blunt, bound).is_err(), "{algebra} {dtype}");
            }
        }
    }
}
