//! Hybrid ciphertexts for tests, and networks on them.

use std::ops::Range;
use std::sync::Arc;

use furthermore::Algebra;
use furthermore::device::Device;
use furthermore::network::{Convolution, Init, Network, Parameters, Pool, Window};
use furthermore::plan::{CompileOptions, Plan};
use furthermore::scheme::{KeyShape, SecretKey};
use furthermore::session::Session;
use furthermore::tensor::{Ciphertext, DType, Plaintext, Tensor};

use super::Noise;

pub(crate) const SEED: u64 = 77;

pub(crate) fn random(shape: &[usize], range: Range<f64>, dtype: DType, seed: u64) -> Plaintext {
    let mut noise = Noise::new(seed);
    super::random(shape, (range.start, range.end), dtype, &mut noise)
}

pub(crate) fn key() -> SecretKey {
    SecretKey::from_known_seed(2, SEED).expect("a key")
}

pub(crate) fn reduced_key(degree: usize) -> SecretKey {
    SecretKey::from_known_seed(KeyShape::reduced(degree), SEED).expect("a key")
}

pub(crate) fn encrypt(
    key: &SecretKey,
    algebra: Algebra,
    messages: &Plaintext,
    seed: u64,
) -> Ciphertext {
    let mut encryptor = key
        .encryptor_from_known_seed(algebra, seed)
        .expect("an algebra of the key");
    encryptor.encrypt(messages).expect("finite numbers")
}

pub(crate) fn cipher(tensor: Tensor) -> Ciphertext {
    tensor.into_ciphertext().expect("of ciphertexts")
}

/// The largest difference between a decrypted ciphertext and what it should hold, relative to the
/// largest of that or 1.
pub(crate) fn error(key: &SecretKey, ciphertext: &Ciphertext, expected: &[f64]) -> f64 {
    let found = key.decrypt(ciphertext).expect("its key").to_f64();
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(1.0f64, |m, x| m.max(x.abs()));
    let pairs = found.iter().zip(expected);
    let worst = pairs.map(|(x, y)| (x - y).abs() / scale);
    worst.fold(0.0, |m, e| if e <= m { m } else { e })
}

pub(crate) fn rounding(dtype: DType) -> f64 {
    match dtype {
        DType::F32 => f64::from(f32::EPSILON),
        DType::F64 => f64::EPSILON,
    }
}

/// A network of a convolution, pooling, polynomials of every kind, joins and a product.
fn network(coefficients: bool) -> Network {
    let mut network = Network::new();
    let n = &mut network;
    let x = n.input("x", [2, 6, 6]).expect("an input");
    let y = n
        .conv2d("conv", x, [2, 3], [3, 3], Convolution::default())
        .expect("a convolution");
    let y = if coefficients {
        let c = n
            .parameter("c", [3], Init::Uniform { bound: 0.5 })
            .expect("coefficients");
        n.polynomial_of("square", y, c).expect("a polynomial")
    } else {
        n.polynomial("square", y, vec![0.1, -0.3, 0.5])
            .expect("a polynomial")
    };
    let y = n
        .pool("pool", Pool::Average, y, Window::tiling(2))
        .expect("an average");
    let flat = n.flatten("flat", y).expect("rows");
    let h = n.linear("fc1", flat, 12, 5).expect("a layer");
    let h = n
        .polynomial("cube", h, vec![0.0, 1.0, 0.25, -0.125])
        .expect("a polynomial");
    let both = n.concat("both", &[h, flat], 1).expect("joined");
    let y = n.linear("fc2", both, 17, 4).expect("a layer");
    n.output("y", y).expect("an output");
    network
}

/// Products of ciphertexts of several degrees, of which a network of squares has some: of matrices, of
/// images and element by element, with a bias of a degree lower.
pub(crate) fn check_products(device: &dyn Device, dtypes: &[DType]) {
    let mut network = Network::new();
    let n = &mut network;
    let x = n.input("x", [2, 6, 6]).expect("an input");
    let square = n
        .polynomial("square", x, vec![0.1, -0.3, 0.5])
        .expect("a polynomial");
    let product = n.multiply("product", square, x).expect("a product");
    let y = n
        .conv2d("conv", product, [2, 3], [3, 3], Convolution::default())
        .expect("a convolution");
    let flat = n.flatten("flat", y).expect("rows");
    let y = n.linear("fc", flat, 48, 5).expect("a layer");
    n.output("y", y).expect("an output");
    for &dtype in dtypes {
        let parameters = network.initial_parameters(3, dtype).expect("parameters");
        let x = random(&[5, 2, 6, 6], -1.0..1.0, dtype, 4);
        let plain = CompileOptions::plain(5, dtype);
        let plaintext = Tensor::Plaintext(x.clone());
        let expected = run(device, &network, &plain, None, &parameters, &plaintext);
        let expected = expected.into_plaintext().expect("plaintext in").to_f64();
        for (key, algebra, degree) in [
            (key(), Algebra::Graded(1), 5),
            (key(), Algebra::Graded(2), 10),
            (reduced_key(1), Algebra::Reduced(1), 0),
            (reduced_key(2), Algebra::Reduced(2), 0),
        ] {
            let mut encrypted = Parameters::default();
            for (name, weight) in parameters.iter() {
                let Tensor::Plaintext(weight) = weight else {
                    panic!("{name} is plaintext");
                };
                let weight = encrypt(&key, algebra, weight, 6);
                encrypted.insert(name, Tensor::Ciphertext(weight));
            }
            let options = CompileOptions::encrypted(5, dtype, algebra);
            let c = Tensor::Ciphertext(encrypt(&key, algebra, &x, 5));
            let y = run(device, &network, &options, Some(&key), &encrypted, &c);
            let y = cipher(y);
            if degree > 0 {
                assert_eq!(y.algebra(), Algebra::Graded(degree));
            }
            let worst = error(&key, &y, &expected);
            assert!(
                worst <= 3e3 * rounding(dtype),
                "{algebra} {dtype}: {worst:e}"
            );
        }
    }
}

fn run(
    device: &dyn Device,
    network: &Network,
    options: &CompileOptions,
    key: Option<&SecretKey>,
    parameters: &Parameters,
    x: &Tensor,
) -> Tensor {
    let plan = Arc::new(Plan::compile(network, options).expect("it compiles"));
    let key = key.map(SecretKey::evaluation_key);
    let mut session = Session::new(device, plan, key).expect("a session");
    session.load_parameters(parameters).expect("its parameters");
    session.write("x", x).expect("its input");
    session.run().expect("a run");
    session.read("y").expect("an output")
}

/// Networks with hybrid inputs answer what they answer on plaintext.
pub(crate) fn check_networks(device: &dyn Device, dtypes: &[DType]) {
    for &dtype in dtypes {
        for coefficients in [false, true] {
            let network = network(coefficients);
            let parameters = network.initial_parameters(3, dtype).expect("parameters");
            let x = random(&[5, 2, 6, 6], -1.0..1.0, dtype, 4);
            let plain = CompileOptions::plain(5, dtype);
            let expected = run(
                device,
                &network,
                &plain,
                None,
                &parameters,
                &Tensor::Plaintext(x.clone()),
            );
            let Tensor::Plaintext(expected) = expected else {
                panic!("plaintext in, plaintext out");
            };
            let expected = expected.to_f64();
            for (key, algebra, degree) in [
                (key(), Algebra::Graded(1), 6),
                (key(), Algebra::Graded(2), 12),
                (reduced_key(1), Algebra::Reduced(1), 0),
                (reduced_key(2), Algebra::Reduced(2), 0),
                (reduced_key(3), Algebra::Reduced(3), 0),
            ] {
                let options = CompileOptions::encrypted_inputs(5, dtype, algebra);
                let c = Tensor::Ciphertext(encrypt(&key, algebra, &x, 5));
                let y = cipher(run(device, &network, &options, Some(&key), &parameters, &c));
                if degree > 0 {
                    assert_eq!(y.algebra(), Algebra::Graded(degree));
                }
                let worst = error(&key, &y, &expected);
                let bound = if degree > 6 { 1e5 } else { 3e3 } * rounding(dtype);
                assert!(worst <= bound, "{algebra} {dtype}: {worst:e}");
            }
        }
    }
}
