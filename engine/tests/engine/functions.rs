//! Functions of ciphertexts: each slot's function, in every algebra, at small and large magnitudes.

use furthermore::Algebra;
use furthermore::network::Function;
use furthermore::scheme::MaskPolicy;
use furthermore::tensor::Plaintext;

use crate::support::{
    DTYPES, FUNCTIONS, Law, More, Noise, cipher, ciphertext_algebras, compare, devices, key, plain,
    random, tensor, value,
};

/// How much a function stretches an error of an argument of that size, and how large its values are.
fn stretch(function: Function, size: f64) -> (f64, f64) {
    match function {
        Function::Relu => (1.0, size),
        Function::Sigmoid => (0.25, 1.0),
        Function::Tanh => (1.0, size.min(1.0)),
        Function::Square => (2.0 * size, size * size),
        other => panic!("no bound for {}", other.name()),
    }
}

/// What a function of arguments up to `size` may be off by: the argument's slots are formed from
/// coordinates, the function is evaluated within a few units in the last place, and the value's
/// coordinates are formed from slots.
fn bound(law: Law, function: Function, size: f64) -> f64 {
    let (slope, largest) = stretch(function, size);
    slope * law.bound(4, size) + law.bound(6, largest)
}

#[test]
fn functions_act_slot_by_slot() {
    let devices = devices();
    let mut noise = Noise::new(41);
    for dtype in DTYPES {
        for (nth, algebra) in ciphertext_algebras().into_iter().enumerate() {
            let key = key(algebra.slots(), 300 + nth as u64);
            let more = More::of(key.evaluation_key());
            let law = more.law(algebra, dtype);
            for (shape, scale) in [
                (&[5usize, 7][..], 1e-4),
                (&[5, 7], 1.0),
                (&[31], 20.0),
                (&[2, 3, 7], 1e4),
                (&[0, 3], 1.0),
            ] {
                let messages = random(shape, (-scale, scale), dtype, &mut noise);
                let ciphertext = key
                    .encryptor_from_known_seed(algebra, noise.next())
                    .expect("its algebra")
                    .encrypt_with(&messages, MaskPolicy::Uniform)
                    .expect("finite messages");
                let slots = more.slots_of(&ciphertext);
                for function in FUNCTIONS {
                    let bound = bound(law, function, scale);
                    for device in &devices {
                        let found = cipher(device.map(function, &ciphertext));
                        let context = |error| {
                            let name = function.name();
                            panic!("{name}, {algebra} {dtype} {scale:e} {device:?}: {error}")
                        };
                        let of = |x: &Vec<f64>| -> Vec<f64> {
                            x.iter().map(|x| value(function, *x)).collect()
                        };
                        for (found, argument) in more.slots_of(&found).iter().zip(&slots) {
                            compare(found, &of(argument), bound).unwrap_or_else(context);
                        }
                        let found = key.decrypt(&found).expect("its own key").to_f64();
                        compare(&found, &of(&messages.to_f64()), bound).unwrap_or_else(context);
                    }
                }
            }
        }
    }
}

#[test]
fn functions_of_plaintexts_are_the_plain_functions() {
    let mut noise = Noise::new(42);
    for device in devices() {
        for dtype in DTYPES {
            let x: Plaintext = random(&[3, 41], (-8.0, 8.0), dtype, &mut noise);
            for function in FUNCTIONS {
                let found = plain(device.map(function, &x)).to_f64();
                let expected: Vec<f64> = x.to_f64().iter().map(|x| value(function, *x)).collect();
                let bound = bound(Law::plain(dtype), function, 8.0);
                compare(&found, &expected, bound)
                    .unwrap_or_else(|error| panic!("{} {dtype}: {error}", function.name()));
            }
        }
    }
}

/// A sigmoid saturates, and neither it nor its neighbours overflow on the way.
#[test]
fn large_arguments_saturate() {
    for dtype in DTYPES {
        for algebra in [Algebra::Compact(2), Algebra::Blocks(2), Algebra::Compact(5)] {
            let key = key(algebra.slots(), 43);
            let law = More::of(key.evaluation_key()).law(algebra, dtype);
            let messages = tensor(&[4], &[-3e4, -200.0, 200.0, 3e4], dtype);
            let masks = tensor(&[4], &[2e4, -150.0, -1e4, 1e4], dtype);
            let ciphertext = key
                .encryptor_from_known_seed(algebra, 1)
                .expect("its algebra")
                .encrypt_with(&messages, MaskPolicy::From(&masks))
                .expect("finite messages");
            for device in devices() {
                for (function, low) in [(Function::Sigmoid, 0.0), (Function::Tanh, -1.0)] {
                    let found = cipher(device.map(function, &ciphertext));
                    let found = key.decrypt(&found).expect("its own key").to_f64();
                    compare(&found, &[low, low, 1.0, 1.0], law.bound(6, 1.0))
                        .unwrap_or_else(|error| panic!("{}: {error}", function.name()));
                }
            }
        }
    }
}
