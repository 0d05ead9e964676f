//! Hybrid MORE: graded polynomials, whose degrees add, and such modulo a public one.

use std::sync::Arc;

use furthermore::Algebra;
use furthermore::device::{Device, RunOptions};
use furthermore::network::{Function, Network};
use furthermore::plan::{CompileOptions, Kernel, Operand, Plan};
use furthermore::scheme::{Guard, KeyShape, MaskPolicy, SecretKey};
use furthermore::tensor::{Ciphertext, DType, Plaintext};
use furthermore_kernels_cpu::elementwise::Broadcast;

use crate::support::hybrid::{
    check_networks, check_products, cipher, encrypt, error, key, random, reduced_key, rounding,
};
use crate::support::{DTYPES, cpu, devices, tensor};

/// A ciphertext's slots: of each element and eigenvalue the coefficients of its polynomial, straight
/// from the definition: coefficient i is `a + b v` of planes 2 i and 2 i + 1.
fn polynomials(ciphertext: &Ciphertext) -> Vec<[Vec<f64>; 2]> {
    let dim = ciphertext.algebra().dim();
    let numbers: Vec<f64> = match ciphertext.dtype() {
        DType::F32 => {
            let numbers = ciphertext.to_interleaved::<f32>().expect("of f32");
            numbers.into_iter().map(f64::from).collect()
        }
        DType::F64 => ciphertext.to_interleaved::<f64>().expect("of f64"),
    };
    let roots = ciphertext.key().roots();
    let of = |element: &[f64], root: f64| -> Vec<f64> {
        element.chunks(2).map(|c| c[0] + c[1] * root).collect()
    };
    numbers
        .chunks(dim)
        .map(|element| [of(element, roots[0]), of(element, roots[1])])
        .collect()
}

fn times(a: &[f64], b: &[f64]) -> Vec<f64> {
    let mut product = vec![0.0; a.len() + b.len() - 1];
    for (i, x) in a.iter().enumerate() {
        for (j, y) in b.iter().enumerate() {
            product[i + j] += x * y;
        }
    }
    product
}

#[test]
fn messages_come_back() {
    for dtype in DTYPES {
        for shape in [&[][..], &[1], &[0, 3], &[7, 5], &[2, 3, 11]] {
            let messages = random(shape, -3.0..3.0, dtype, 1);
            for degree in [1, 2, 3, 5, 31] {
                let key = key();
                let c = encrypt(&key, Algebra::Graded(degree), &messages, 2);
                let worst = error(&key, &c, &messages.to_f64());
                assert!(worst <= 64.0 * rounding(dtype), "{degree}: {worst:e}");
            }
            for degree in 1..=3 {
                let key = reduced_key(degree);
                for algebra in [Algebra::Reduced(degree), Algebra::Graded(degree)] {
                    let c = encrypt(&key, algebra, &messages, 2);
                    let worst = error(&key, &c, &messages.to_f64());
                    assert!(worst <= 64.0 * rounding(dtype), "{algebra}: {worst:e}");
                }
            }
        }
    }
}

/// No coefficient of a fresh ciphertext is the message.
#[test]
fn coefficients_hide_the_message_from_a_glance() {
    let messages = random(&[200], -1.0..1.0, DType::F64, 3);
    let c = encrypt(&key(), Algebra::Graded(2), &messages, 4);
    for (message, slots) in messages.to_f64().iter().zip(polynomials(&c)) {
        let all = slots.iter().flatten();
        assert!(all.into_iter().all(|x| (x - message).abs() > 1e-6));
    }
}

/// Products are those of polynomials, coefficient by coefficient and slot by slot.
#[test]
fn products_are_those_of_polynomials() {
    let (key, cpu) = (key(), cpu());
    for dtype in DTYPES {
        for (left, right) in [(1, 1), (1, 2), (3, 1), (2, 3), (5, 4), (7, 8)] {
            let [a, b] = [(left, 5), (right, 6)].map(|(degree, seed)| {
                let messages = random(&[13], -2.0..2.0, dtype, seed);
                encrypt(&key, Algebra::Graded(degree), &messages, seed)
            });
            let degree = left.max(right);
            let product = cipher(cpu.multiply(&a, &b).expect("a product"));
            assert_eq!(product.algebra(), Algebra::Graded(2 * degree));
            let (pa, pb, pc) = (polynomials(&a), polynomials(&b), polynomials(&product));
            for ((a, b), c) in pa.iter().zip(&pb).zip(&pc) {
                for slot in 0..2 {
                    let mut expected = times(&a[slot], &b[slot]);
                    expected.resize(2 * degree + 1, 0.0);
                    for (x, y) in c[slot].iter().zip(&expected) {
                        let bound = 3000.0 * rounding(dtype);
                        assert!((x - y).abs() <= bound, "{left} {right}: {x} {y}");
                    }
                }
            }
        }
    }
}

/// The errors after squarings that the scheme was published here with: 8e-7, 2e-6, 6e-5 and 1e-2 in
/// f32, 6e-11 after four in f64.
#[test]
fn squarings_keep_their_digits() {
    let cpu = cpu();
    for (dtype, bounds) in [
        (DType::F32, [8e-7, 2e-6, 6e-5, 1e-2]),
        (DType::F64, [1e-14, 1e-13, 1e-12, 6e-11]),
    ] {
        for seed in 0..10 {
            let key = SecretKey::from_known_seed(2, seed).expect("a key");
            let messages = random(&[64], -1.0..1.0, dtype, seed);
            let mut c = encrypt(&key, Algebra::Graded(1), &messages, seed);
            let mut expected = messages.to_f64();
            for (nth, bound) in bounds.into_iter().enumerate() {
                c = cipher(cpu.multiply(&c, &c).expect("a square"));
                expected.iter_mut().for_each(|x| *x *= *x);
                assert_eq!(c.algebra(), Algebra::Graded(2 << nth));
                let worst = error(&key, &c, &expected);
                assert!(worst <= bound, "{dtype} squaring {nth}: {worst:e}");
            }
        }
    }
}

/// Products commute, associate and distribute over sums, and differences undo sums: what either side
/// decrypts to is the same number within the errors of so many products.
#[test]
fn the_laws_of_a_ring_hold() {
    let cpu = cpu();
    for dtype in DTYPES {
        // In single precision: of graded polynomials that of two squarings.
        for (key, algebra, figure) in [
            (key(), Algebra::Graded(1), 2e-6),
            (key(), Algebra::Graded(2), 2e-6),
            (reduced_key(1), Algebra::Reduced(1), 1e-6),
            (reduced_key(2), Algebra::Reduced(2), 4e-6),
            (reduced_key(3), Algebra::Reduced(3), 2e-5),
        ] {
            let bound = figure * rounding(dtype) / rounding(DType::F32);
            let messages = [1, 2, 3].map(|seed| random(&[131], -1.0..1.0, dtype, seed));
            let [a, b, c] = [0, 1, 2].map(|i| encrypt(&key, algebra, &messages[i], 10 + i as u64));
            let times =
                |x: &Ciphertext, y: &Ciphertext| cipher(cpu.multiply(x, y).expect("a product"));
            let plus = |x: &Ciphertext, y: &Ciphertext| cipher(cpu.add(x, y).expect("a sum"));
            let [m, n, o] = messages.map(|m| m.to_f64());
            let numbers = |f: fn(f64, f64, f64) -> f64| -> Vec<f64> {
                (0..131).map(|i| f(m[i], n[i], o[i])).collect()
            };
            let difference = cpu.subtract(&plus(&a, &b), &b).expect("a difference");
            for (law, sides, expected) in [
                (
                    "a b = b a",
                    [times(&a, &b), times(&b, &a)],
                    numbers(|a, b, _| a * b),
                ),
                (
                    "(a b) c = a (b c)",
                    [times(&times(&a, &b), &c), times(&a, &times(&b, &c))],
                    numbers(|a, b, c| a * b * c),
                ),
                (
                    "a (b + c) = a b + a c",
                    [
                        times(&a, &plus(&b, &c)),
                        plus(&times(&a, &b), &times(&a, &c)),
                    ],
                    numbers(|a, b, c| a * (b + c)),
                ),
                ("a + b - b = a", [cipher(difference), a.clone()], m.clone()),
            ] {
                for side in sides {
                    let worst = error(&key, &side, &expected);
                    assert!(worst <= bound, "{law} in {algebra}: {worst:e}");
                }
            }
        }
    }
}

/// The value of matrix products, sums and differences with every kind of operand.
#[test]
fn ring_operations_are_those_of_the_messages() {
    let (key, cpu) = (key(), cpu());
    for dtype in DTYPES {
        for [m, k, n] in [[1, 1, 1], [3, 5, 2], [17, 31, 13], [1, 784, 10], [64, 0, 3]] {
            let a = random(&[m, k], -1.0..1.0, dtype, 1);
            let b = random(&[k, n], -1.0..1.0, dtype, 2);
            let (wide_a, wide_b) = (a.to_f64(), b.to_f64());
            let expected: Vec<f64> = (0..m * n)
                .map(|e| {
                    (0..k)
                        .map(|i| wide_a[e / n * k + i] * wide_b[i * n + e % n])
                        .sum()
                })
                .collect();
            let bound = 1e3 * rounding(dtype) * (k as f64).sqrt().max(1.0);
            for degree in [1, 2] {
                let [ca, cb] = [(&a, 3), (&b, 4)]
                    .map(|(t, seed)| encrypt(&key, Algebra::Graded(degree), t, seed));
                for (what, product, degree) in [
                    ("ct-pt", cpu.matmul(&ca, &b), degree),
                    ("pt-ct", cpu.matmul(&a, &cb), degree),
                    ("ct-ct", cpu.matmul(&ca, &cb), 2 * degree),
                ] {
                    let product = cipher(product.expect(what));
                    assert_eq!(product.algebra(), Algebra::Graded(degree), "{what}");
                    let worst = error(&key, &product, &expected);
                    assert!(worst <= bound, "{what} {dtype} {m} {k} {n}: {worst:e}");
                    // A sum with what is of a lower degree, and with plaintext.
                    let more = random(&[m, n], -1.0..1.0, dtype, 5);
                    let fresh = encrypt(&key, Algebra::Graded(1), &more, 6);
                    let sums: Vec<f64> = (expected.iter().zip(more.to_f64()))
                        .map(|(x, y)| x + y)
                        .collect();
                    for sum in [cpu.add(&product, &fresh), cpu.add(&more, &product)] {
                        let worst = error(&key, &cipher(sum.expect("a sum")), &sums);
                        assert!(worst <= bound, "{what} sum: {worst:e}");
                    }
                }
            }
        }
    }
}

#[test]
fn networks_are_those_on_plaintext() {
    for device in devices() {
        check_networks(&device, &DTYPES);
        check_products(&device, &DTYPES);
    }
}

/// What a public polynomial leaves of a product decrypts to the same, and stays of its degree.
#[test]
fn reduction_keeps_the_message() {
    let cpu = cpu();
    for dtype in DTYPES {
        for degree in 1..=3 {
            let key = reduced_key(degree);
            let messages = random(&[31], -1.0..1.0, dtype, 8);
            let graded = encrypt(&key, Algebra::Graded(degree), &messages, 9);
            let square = cipher(cpu.multiply(&graded, &graded).expect("a square"));
            let reduced = square.convert(Algebra::Reduced(degree)).expect("reduced");
            let expected: Vec<f64> = messages.to_f64().iter().map(|x| x * x).collect();
            let worst = error(&key, &reduced, &expected);
            assert!(worst <= 200.0 * rounding(dtype), "{degree}: {worst:e}");
            // It is the square of what is left of the factor.
            let factor = graded.convert(Algebra::Reduced(degree)).expect("reduced");
            let again = cipher(cpu.multiply(&factor, &factor).expect("a square"));
            let (x, y) = (polynomials(&again), polynomials(&reduced));
            let both = x
                .iter()
                .flatten()
                .flatten()
                .zip(y.iter().flatten().flatten());
            for (x, y) in both {
                assert!((x - y).abs() <= 1e3 * rounding(dtype), "{degree}: {x} {y}");
            }
        }
    }
}

/// Sixteen products in f32 keep the digits that roots near Chebyshev nodes leave: 1e-6, 4e-6 and 2e-5
/// for degrees 1, 2 and 3, of which a key may lose one bit.
#[test]
fn reduced_products_keep_their_digits() {
    let cpu = cpu();
    for (degree, bound) in [(1, 1e-6), (2, 4e-6), (3, 2e-5)] {
        let mut errors = Vec::new();
        for seed in 0..10 {
            let key = SecretKey::from_known_seed(KeyShape::reduced(degree), seed).expect("a key");
            let algebra = Algebra::Reduced(degree);
            let messages = random(&[64], -1.0..1.0, DType::F32, seed);
            let factor = encrypt(&key, algebra, &messages, seed);
            let (mut c, mut expected) = (factor.clone(), messages.to_f64());
            for _ in 0..16 {
                c = cipher(cpu.multiply(&c, &factor).expect("a product"));
                let pairs = expected.iter_mut().zip(messages.to_f64());
                pairs.for_each(|(x, y)| *x *= y);
            }
            errors.push(error(&key, &c, &expected));
        }
        errors.sort_by(f64::total_cmp);
        assert!(
            errors[5] <= bound && errors[9] <= 2.0 * bound,
            "{degree}: {errors:?}"
        );
    }
}

#[test]
fn functions_act_at_the_public_roots() {
    let cpu = cpu();
    for dtype in DTYPES {
        for degree in 1..=3 {
            let key = reduced_key(degree);
            let messages = random(&[67], -2.0..2.0, dtype, 8);
            let c = encrypt(&key, Algebra::Reduced(degree), &messages, 9);
            for (function, f) in [
                (Function::Relu, (|x: f64| x.max(0.0)) as fn(f64) -> f64),
                (Function::Exp, f64::exp),
                (Function::Tanh, f64::tanh),
            ] {
                let y = cipher(cpu.map(function, &c).expect("a function"));
                let expected: Vec<f64> = messages.to_f64().into_iter().map(f).collect();
                let worst = error(&key, &y, &expected);
                assert!(worst <= 400.0 * rounding(dtype), "{degree}: {worst:e}");
            }
        }
    }
}

#[test]
fn what_graded_ciphertexts_do_not_bear_is_refused_by_name() {
    let compile = |build: &dyn Fn(&mut Network), dtype| {
        let mut network = Network::new();
        build(&mut network);
        let options = CompileOptions::encrypted_inputs(2, dtype, Algebra::Graded(1));
        Plan::compile(&network, &options)
            .map(drop)
            .expect_err("it does not go")
            .to_string()
    };
    let relu = |n: &mut Network| {
        let x = n.input("x", [3]).expect("an input");
        let y = n.relu("relu7", x).expect("a function");
        n.output("y", y).expect("an output");
    };
    let message = compile(&relu, DType::F32);
    assert!(
        message.contains("relu7") && message.contains("polynomial"),
        "{message}"
    );
    let squares = |n: &mut Network| {
        let mut x = n.input("x", [3]).expect("an input");
        for nth in 1..=6 {
            x = n
                .polynomial(&format!("square{nth}"), x, vec![0.0, 0.0, 1.0])
                .expect("a square");
        }
        n.output("y", x).expect("an output");
    };
    for (dtype, named, limit) in [(DType::F32, "square5", "16"), (DType::F64, "square5", "31")] {
        let message = compile(&squares, dtype);
        assert!(
            message.contains(named) && message.contains(limit),
            "{message}"
        );
        assert!(message.contains("degree 32"), "{message}");
    }
    let constant = |n: &mut Network| {
        let x = n.input("x", [3]).expect("an input");
        let y = n
            .polynomial("constant", x, vec![2.0])
            .expect("a polynomial");
        n.output("y", y).expect("an output");
    };
    assert!(compile(&constant, DType::F32).contains("constant"));

    // Keys that have no public polynomial, or one of another degree.
    let messages = tensor(&[2], &[1.0, 2.0], DType::F32);
    for (key, algebra, part) in [
        (key(), Algebra::Reduced(1), "public polynomial of degree 2"),
        (reduced_key(2), Algebra::Reduced(1), "has one of degree 3"),
        (reduced_key(1), Algebra::Compact(3), "a key of 3 slots"),
        (key(), Algebra::Graded(32), "graded32"),
    ] {
        let error = key.encryptor(algebra).expect_err(part).to_string();
        assert!(error.contains(part), "{error}");
    }
    let graded = encrypt(&key(), Algebra::Graded(2), &messages, 1);
    for algebra in [Algebra::Graded(1), Algebra::Compact(2), Algebra::Reduced(1)] {
        assert!(graded.convert(algebra).is_err(), "{algebra}");
    }
}

/// Plans of one command, which no network has asked for.
#[test]
fn single_commands_are_held_to_what_polynomials_bear() {
    let algebra = Algebra::Graded(1);
    let options = CompileOptions::encrypted(1, DType::F32, algebra);
    let plan = |kernel: Kernel, reads: &[[usize; 2]], written: usize| {
        let operand = |&[planes, elements]: &[usize; 2]| Operand { planes, elements };
        let reads: Vec<Operand> = reads.iter().map(operand).collect();
        Plan::of_command(&options, kernel, &reads, &[operand(&[written, 5])])
    };
    // A constant of a long polynomial is a short one.
    let constant = Kernel::PolyMap {
        constants: Some(vec![2.0]),
    };
    let constant = Arc::new(plan(constant, &[[18, 5]], 2).expect("degrees multiply"));
    let arithmetic = key().evaluation_key().arithmetic(algebra);
    let mut program = cpu()
        .load(constant, arithmetic.expect("its own algebra"))
        .expect("a program");
    let run = RunOptions {
        learning_rate: 0.0,
        step: 1,
        guard: Guard::for_dtype(DType::F32),
        cancel: None,
    };
    program.run(&run).expect("a run");

    let broadcast = Broadcast::same(5);
    for (what, found) in [
        (
            "encrypted coefficients",
            plan(Kernel::PolyMap { constants: None }, &[[4, 5], [4, 3]], 8),
        ),
        (
            "a quotient",
            plan(Kernel::Divide { broadcast }, &[[4, 5], [4, 5]], 4),
        ),
        (
            "a function",
            plan(
                Kernel::FunctionMap {
                    function: Function::Relu,
                },
                &[[4, 5]],
                4,
            ),
        ),
        (
            "a product past all planes",
            plan(Kernel::Multiply { broadcast }, &[[34, 5], [34, 5]], 66),
        ),
        (
            "a product of another degree",
            plan(Kernel::Multiply { broadcast }, &[[4, 5], [6, 5]], 6),
        ),
        (
            "an odd number of planes",
            plan(Kernel::Multiply { broadcast }, &[[5, 5], [4, 5]], 7),
        ),
    ] {
        assert!(found.is_err(), "{what}");
    }
}

#[test]
fn several_messages_share_masks() {
    let cpu = cpu();
    for dtype in DTYPES {
        for slots in 3..=8 {
            let shape = KeyShape::packed(slots, slots - 1);
            let key = SecretKey::from_known_seed(shape, 3).expect("a key");
            let messages: Vec<Plaintext> = (0..slots as u64 - 1)
                .map(|seed| random(&[4, 5], -1.0..1.0, dtype, seed))
                .collect();
            let messages: Vec<&Plaintext> = messages.iter().collect();
            for algebra in [Algebra::Compact(slots), Algebra::Blocks(slots)] {
                let mut encryptor = key
                    .encryptor_from_known_seed(algebra, 4)
                    .expect("of the key");
                let c = encryptor
                    .encrypt_packed(&messages, MaskPolicy::Uniform)
                    .expect("alike");
                let square = cipher(cpu.multiply(&c, &c).expect("a square"));
                let found = key.decrypt_packed(&square).expect("its key");
                assert_eq!(found.len(), slots - 1);
                for (found, message) in found.iter().zip(&messages) {
                    for (x, y) in found.to_f64().iter().zip(message.to_f64()) {
                        let bound = 500.0 * rounding(dtype);
                        assert!((x - y * y).abs() <= bound, "{algebra}: {x} {y}");
                    }
                }
                assert!(key.decrypt(&c).is_err() && encryptor.encrypt(messages[0]).is_err());
                assert!(
                    encryptor
                        .encrypt_packed(&messages[1..], MaskPolicy::Uniform)
                        .is_err()
                );
            }
        }
    }
}
