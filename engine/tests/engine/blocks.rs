//! Ciphertexts as the matrices the scheme defines, looked at through the public generator Z, and the
//! ways between the forms a ciphertext can take.

use furthermore::Algebra;
use furthermore::scheme::{MaskPolicy, SecretKey};
use furthermore::tensor::{Ciphertext, DType};

use crate::support::{
    DTYPES, Matrix, More, Noise, cipher, compare, coordinates, cpu, encrypt, from_coordinates, key,
    random, tensor,
};

/// A ciphertext of blocks as the matrices it consists of.
fn matrices(ciphertext: &Ciphertext) -> Vec<Matrix> {
    let n = ciphertext.algebra().slots();
    // The published form: [..., n, n], row-major.
    let numbers: Vec<f64> = match ciphertext.dtype() {
        DType::F32 => {
            let narrow = ciphertext.to_interleaved::<f32>().expect("its type");
            narrow.into_iter().map(f64::from).collect()
        }
        DType::F64 => ciphertext.to_interleaved().expect("its type"),
    };
    let blocks = numbers.chunks_exact(n * n);
    blocks.map(|entries| Matrix::new(n, entries)).collect()
}

fn close(found: &[Matrix], expected: &[Matrix], bound: f64, what: &str) {
    let flat = |matrices: &[Matrix]| -> Vec<f64> {
        matrices.iter().flat_map(|m| m.entries.clone()).collect()
    };
    compare(&flat(found), &flat(expected), bound).unwrap_or_else(|error| panic!("{what}: {error}"));
}

/// For each number of slots and element type: a key, the scheme under it, and a noise.
fn for_keys(mut check: impl FnMut(usize, DType, &SecretKey, &More, &mut Noise)) {
    let mut noise = Noise::new(11);
    for dtype in DTYPES {
        for n in 2..=8 {
            for seed in 0..3 {
                let key = key(n, 1000 + seed);
                let more = More::of(key.evaluation_key());
                check(n, dtype, &key, &more, &mut noise);
            }
        }
    }
}

#[test]
fn ciphertexts_commute_with_the_generator_and_have_the_message_as_eigenvalue() {
    for_keys(|n, dtype, key, more, noise| {
        let messages = random(&[6], (-3.0, 3.0), dtype, noise);
        let ciphertext = encrypt(key, Algebra::Blocks(n), noise.next(), &messages);
        let law = more.law(Algebra::Blocks(n), dtype);
        let z = Matrix::new(n, key.evaluation_key().generator());
        for (c, m) in matrices(&ciphertext).iter().zip(messages.to_f64()) {
            let what = format!("{n} slots, {dtype}");
            let size = n as f64 * c.max_abs() * z.max_abs();
            let (left, right) = (c.times(&z), z.times(c));
            close(&[left], &[right], law.bound(2, size), &what);

            // det(C - xI) is the product of (slot - x), so next to an eigenvalue it is the distance
            // to it times the product of the other gaps, and half a unit away it is far from zero.
            let at = |x: f64| c.plus(&Matrix::diagonal(&vec![-x; n])).determinant();
            let slots = more.decrypt(c);
            let gaps: f64 = slots
                .iter()
                .map(|s| (s - m).abs())
                .filter(|g| *g > 0.1)
                .product();
            let bound = law.bound(4, 3.0) * gaps.max(1.0) * 6f64.powi(n as i32 - 2);
            assert!(
                at(m).abs() <= bound,
                "{what}: det {:e}, bound {bound:e}",
                at(m)
            );
            let expected: f64 = slots.iter().map(|s| s - 4.0).product();
            let error = (at(4.0) - expected).abs();
            assert!(
                error <= law.bound(8, 7f64.powi(n as i32)),
                "{what}: {error:e}"
            );
            let nearest = slots
                .iter()
                .map(|s| (s - m).abs())
                .fold(f64::INFINITY, f64::min);
            assert!(
                nearest <= law.bound(4, 3.0),
                "{what}: {nearest:e} from the message"
            );
        }
    });
}

#[test]
fn blocks_are_s_times_slots_times_s_inverse() {
    for_keys(|n, dtype, key, more, noise| {
        let messages = random(&[4, 3], (-1.0, 1.0), dtype, noise);
        let masks = random(&[4, 3], (-1.0, 1.0), dtype, noise);
        let encryptor = key.encryptor_from_known_seed(Algebra::Blocks(n), 5);
        let ciphertext = encryptor
            .expect("an algebra of the key")
            .encrypt_with(&messages, MaskPolicy::From(&masks))
            .expect("finite messages");
        // One slot holds the message and all others the mask.
        let (m, r) = (messages.to_f64(), masks.to_f64());
        let expected = |slot: usize| -> Vec<Matrix> {
            let slots = |e: usize| {
                (0..n)
                    .map(|k| if k == slot { m[e] } else { r[e] })
                    .collect()
            };
            (0..12)
                .map(|e| more.encrypt(&Vec::from_iter::<Vec<f64>>(slots(e))))
                .collect()
        };
        let flat =
            |ms: &[Matrix]| -> Vec<f64> { ms.iter().flat_map(|m| m.entries.clone()).collect() };
        // An entry adds up n slots, each times an entry of S and one of its inverse.
        let bound = more.law(Algebra::Blocks(n), dtype).bound(2, n as f64);
        let found = flat(&matrices(&ciphertext));
        let matching: Vec<usize> = (0..n)
            .filter(|&slot| compare(&found, &flat(&expected(slot)), bound).is_ok())
            .collect();
        assert_eq!(matching.len(), 1, "{n} slots, {dtype}: {matching:?}");
    });
}

#[test]
fn operations_are_the_matrices_operations_entry_by_entry() {
    let cpu = cpu();
    for_keys(|n, dtype, key, more, noise| {
        let algebra = Algebra::Blocks(n);
        let bound = more.law(algebra, dtype);
        let mut draw = |shape: &[usize]| {
            let messages = random(shape, (-1.0, 1.0), dtype, noise);
            let ciphertext = encrypt(key, algebra, noise.next(), &messages);
            let blocks = matrices(&ciphertext);
            (ciphertext, blocks)
        };
        let ((a, am), (b, bm)) = (draw(&[3, 5]), draw(&[3, 5]));
        let largest = |blocks: &[Matrix]| blocks.iter().fold(0.0, |m: f64, b| m.max(b.max_abs()));
        let (sa, sb) = (largest(&am), largest(&bm));
        let what = |operation: &str| format!("{operation}, {n} slots, {dtype}");

        let found = matrices(&cipher(cpu.add(&a, &b)));
        let expected: Vec<Matrix> = am.iter().zip(&bm).map(|(a, b)| a.plus(b)).collect();
        close(&found, &expected, bound.bound(2, sa + sb), &what("add"));

        let found = matrices(&cipher(cpu.scale(&a, 0.3)));
        let expected: Vec<Matrix> = am.iter().map(|a| a.scaled(0.3)).collect();
        close(&found, &expected, bound.bound(2, sa), &what("scale"));

        let found = matrices(&cipher(cpu.multiply(&a, &b)));
        let expected: Vec<Matrix> = am.iter().zip(&bm).map(|(a, b)| a.times(b)).collect();
        let size = n as f64 * sa * sb;
        close(&found, &expected, bound.bound(4, size), &what("multiply"));

        let ((a, am), (b, bm)) = (draw(&[2, 5]), draw(&[5, 3]));
        let found = matrices(&cipher(cpu.matmul(&a, &b)));
        let entry = |e: usize| {
            let mut sum = Matrix::diagonal(&vec![0.0; n]);
            for k in 0..5 {
                sum = sum.plus(&am[e / 3 * 5 + k].times(&bm[k * 3 + e % 3]));
            }
            sum
        };
        let expected: Vec<Matrix> = (0..6).map(entry).collect();
        let size = 5.0 * n as f64 * largest(&am) * largest(&bm);
        close(&found, &expected, bound.bound(4, size), &what("matmul"));
    });
}

#[test]
fn ciphertexts_made_by_the_definition_are_understood() {
    let cpu = cpu();
    for_keys(|n, dtype, key, more, noise| {
        let evaluation = key.evaluation_key();
        for algebra in [Algebra::Blocks(n), Algebra::Compact(n)] {
            // Which slot is the message is for the key alone to say.
            let probe: Vec<f64> = (0..n).map(|k| k as f64).collect();
            let element = more.coordinates(algebra, &probe);
            let one = from_coordinates(&[], algebra, evaluation, &[element], dtype);
            let slot = key.decrypt(&one).expect("its own key").to_f64()[0].round() as usize;

            let slots: Vec<Vec<f64>> = (0..6).map(|_| noise.numbers(n, -1.0, 1.0)).collect();
            let elements: Vec<Vec<f64>> =
                slots.iter().map(|s| more.coordinates(algebra, s)).collect();
            let made = from_coordinates(&[2, 3], algebra, evaluation, &elements, dtype);
            let squared = cipher(cpu.multiply(&made, &made));
            let found = key.decrypt(&squared).expect("its own key").to_f64();
            let expected: Vec<f64> = slots.iter().map(|s| s[slot] * s[slot]).collect();
            let bound = more.law(algebra, dtype).bound(8, 1.0);
            compare(&found, &expected, bound)
                .unwrap_or_else(|error| panic!("{algebra} {dtype}: {error}"));
        }
    });
}

#[test]
fn blocks_and_compact_carry_the_same() {
    let cpu = cpu();
    for_keys(|n, dtype, key, more, noise| {
        let (blocks, compact) = (Algebra::Blocks(n), Algebra::Compact(n));
        for (from, to) in [(blocks, compact), (compact, blocks), (compact, compact)] {
            let messages = random(&[5, 4], (-2.0, 2.0), dtype, noise);
            let a = encrypt(key, from, noise.next(), &messages);
            let converted = a.convert(to).expect("both are of the key");
            assert_eq!(converted.algebra(), to);
            let law = more.law(from, dtype);
            let amplified = law.bound(4, 2.0).max(more.law(to, dtype).bound(4, 2.0));
            let what = |error| panic!("{from} to {to}, {dtype}: {error}");
            for (found, expected) in more.slots_of(&converted).iter().zip(&more.slots_of(&a)) {
                compare(found, expected, amplified).unwrap_or_else(what);
            }
            let back = converted.convert(from).expect("both are of the key");
            let (found, expected) = (coordinates(&back).concat(), coordinates(&a).concat());
            compare(&found, &expected, 2.0 * amplified).unwrap_or_else(what);

            // A result is the same whether operands or the result are converted.
            let b = encrypt(key, from, noise.next(), &messages);
            let there = cipher(cpu.multiply(&converted, &b.convert(to).expect("the same key")));
            let here = cipher(cpu.multiply(&a, &b))
                .convert(to)
                .expect("the same key");
            for (found, expected) in more.slots_of(&there).iter().zip(&more.slots_of(&here)) {
                compare(found, expected, 8.0 * amplified).unwrap_or_else(what);
            }
        }
    });
}

#[test]
fn interleaving_changes_nothing() {
    for_keys(|n, dtype, key, _, noise| {
        for algebra in [Algebra::Blocks(n), Algebra::Compact(n)] {
            for shape in [&[][..], &[0, 3], &[7], &[3, 5]] {
                let messages = random(shape, (-2.0, 2.0), dtype, noise);
                let a = encrypt(key, algebra, noise.next(), &messages);
                let elements = coordinates(&a);
                let back = from_coordinates(shape, algebra, key.evaluation_key(), &elements, dtype);
                assert_eq!(coordinates(&back), elements, "{algebra} {dtype}");
                assert_eq!(back.shape(), a.shape());
                assert_eq!(back.bytes(), a.bytes());
                if dtype == DType::F64 {
                    let numbers: Vec<f64> = a.to_interleaved().expect("its type");
                    assert_eq!(numbers, elements.concat(), "{algebra}");
                    assert!(a.to_interleaved::<f32>().is_err());
                }
            }
        }
    });
}

/// The oracle has to be right itself: its encryption and decryption are inverse to each other, and
/// Z is what it encrypts the roots to.
#[test]
fn the_oracle_follows_the_definition() {
    for_keys(|n, _, key, more, noise| {
        let evaluation = key.evaluation_key();
        let z = Matrix::new(n, evaluation.generator());
        close(
            &[more.encrypt(evaluation.roots())],
            &[z],
            1e-12,
            "the generator",
        );
        let slots = noise.numbers(n, -1.0, 1.0);
        let back = more.decrypt(&more.encrypt(&slots));
        compare(&back, &slots, 1e-12).unwrap_or_else(|error| panic!("{n} slots: {error}"));
        let compact = Algebra::Compact(n);
        let back = more.slots(compact, &more.coordinates(compact, &slots));
        compare(&back, &slots, 1e-12).unwrap_or_else(|error| panic!("{n} slots: {error}"));
        let identity = tensor(&[1], &[1.0], DType::F64).to_f64();
        let one = more.encrypt(&vec![identity[0]; n]);
        close(&[one], &[Matrix::diagonal(&vec![1.0; n])], 1e-12, "one");
    });
}
