//! Keys and masks: what a key shows of itself, and what each mask policy draws.

use furthermore::Algebra;
use furthermore::scheme::{MaskPolicy, SecretKey};
use furthermore::tensor::{Ciphertext, DType, Plaintext};

use crate::support::{
    DTYPES, More, Noise, ciphertext_algebras, compare, coordinates, key, random, tensor,
};

/// A training set's inputs and labels.
struct Set {
    inputs: Plaintext,
    labels: Plaintext,
}

/// 9 samples of 4 distinct features and 3 classes.
fn training_set(dtype: DType) -> Set {
    let mut noise = Noise::new(21);
    let inputs = random(&[9, 4], (-1.0, 1.0), dtype, &mut noise);
    let labels = tensor(&[9, 3], &noise.one_hot(9, 3), dtype);
    Set { inputs, labels }
}

/// The slots of an encrypted tensor other than the message's, and the message's own.
fn masks(key: &SecretKey, ciphertext: &Ciphertext, messages: &[f64]) -> Vec<Vec<f64>> {
    let more = More::of(key.evaluation_key());
    let mut slots = more.slots_of(ciphertext);
    let bound = more
        .law(ciphertext.algebra(), ciphertext.dtype())
        .bound(4, 1.0);
    let message = slots
        .iter()
        .position(|slot| compare(slot, messages, bound).is_ok())
        .expect("one slot is the message");
    slots.remove(message);
    slots
}

fn rows(values: &[f64], width: usize) -> Vec<&[f64]> {
    values.chunks(width).collect()
}

/// The row of `of` that `row` is, within what encryption rounds off.
fn find(row: &[f64], of: &[&[f64]]) -> Vec<usize> {
    let fits = |other: &&[f64]| row.iter().zip(*other).all(|(a, b)| (a - b).abs() < 1e-5);
    (0..of.len()).filter(|&i| fits(&of[i])).collect()
}

#[test]
fn generated_keys_differ_and_known_seeds_repeat() {
    for slots in 2..=8 {
        let (a, b) = (
            SecretKey::generate(slots).expect("randomness"),
            SecretKey::generate(slots).expect("randomness"),
        );
        assert_ne!(a.id(), b.id());
        assert_ne!(
            a.evaluation_key().generator(),
            b.evaluation_key().generator()
        );
        let (a, b) = (key(slots, 3), key(slots, 3));
        assert_eq!(a.evaluation_key(), b.evaluation_key());
        assert_ne!(a.evaluation_key(), key(slots, 4).evaluation_key());
    }
}

#[test]
fn encrypting_twice_gives_different_ciphertexts() {
    let key = SecretKey::generate(2).expect("randomness");
    let messages = tensor(&[5], &[1.0, 2.0, 3.0, 4.0, 5.0], DType::F64);
    let mut encryptor = key.encryptor(Algebra::Compact(2)).expect("its algebra");
    let mut again = || {
        let ciphertext = encryptor.encrypt(&messages).expect("finite messages");
        coordinates(&ciphertext)
    };
    let first = again();
    assert_ne!(first, again());
    let mut other = key.encryptor(Algebra::Compact(2)).expect("its algebra");
    let fresh = other.encrypt(&messages).expect("finite messages");
    assert_ne!(first, coordinates(&fresh));
}

#[test]
fn nothing_prints_a_secret() {
    for slots in [2, 5] {
        let key = key(slots, 9);
        assert_eq!(
            format!("{key:?}"),
            format!("SecretKey({}, {slots} slots)", key.id())
        );
        // Alternate form, too, shows the same: there is nothing to unfold.
        assert_eq!(format!("{key:#?}"), format!("{key:?}"));
        let encryptor = key.encryptor(Algebra::Compact(slots)).expect("its algebra");
        let shown = format!("{encryptor:?}");
        assert_eq!(shown, format!("Encryptor({key:?}, compact{slots})"));
    }
}

#[test]
fn the_public_key_does_not_say_which_slot_is_the_message() {
    let messages = tensor(&[4], &[0.5, -0.25, 0.125, 0.75], DType::F64);
    let zeros = tensor(&[4], &[0.0; 4], DType::F64);
    for slots in [2, 3, 4] {
        let mut seen = vec![false; slots];
        for seed in 0..60 {
            let key = key(slots, seed);
            let more = More::of(key.evaluation_key());
            assert!(more.roots.windows(2).all(|pair| pair[0] > pair[1]));
            let ciphertext = key
                .encryptor_from_known_seed(Algebra::Compact(slots), 1)
                .expect("its algebra")
                .encrypt_with(&messages, MaskPolicy::From(&zeros))
                .expect("finite messages");
            let slot = more
                .slots_of(&ciphertext)
                .iter()
                .position(|s| s[0].abs() > 0.25);
            seen[slot.expect("the message is somewhere")] = true;
        }
        assert!(seen.iter().all(|s| *s), "{slots} slots: {seen:?}");
    }
}

#[test]
fn what_is_encrypted_decrypts() {
    let mut noise = Noise::new(22);
    let shapes: [&[usize]; 6] = [&[], &[0, 3], &[1], &[2, 3], &[7, 5], &[3, 1, 31]];
    for dtype in DTYPES {
        for algebra in ciphertext_algebras() {
            let key = key(algebra.slots(), noise.next());
            let law = More::of(key.evaluation_key()).law(algebra, dtype);
            for shape in shapes {
                for scale in [1e-6, 1.0, 1e6] {
                    let messages = random(shape, (-scale, scale), dtype, &mut noise);
                    let mut names = vec!["uniform", "normal", "positive"];
                    if messages.shape().rows() > 1 {
                        names.extend(["paired-rows", "features"]);
                    }
                    for name in names {
                        let policy = name.parse().expect("a policy");
                        let ciphertext = key
                            .encryptor_from_known_seed(algebra, noise.next())
                            .expect("its algebra")
                            .encrypt_with(&messages, policy)
                            .expect("finite messages");
                        assert_eq!(ciphertext.algebra(), algebra);
                        assert_eq!(ciphertext.dtype(), dtype);
                        let found = key.decrypt(&ciphertext).expect("its own key");
                        assert_eq!(found.shape(), messages.shape());
                        // Around a single number the range is widened: to twice it, or to one.
                        let bound = law.bound(2, 2.0 * scale.max(1.0));
                        compare(&found.to_f64(), &messages.to_f64(), bound).unwrap_or_else(
                            |error| panic!("{algebra} {dtype} {name} {shape:?} {scale}: {error}"),
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn paired_rows_keep_inputs_and_labels_together() {
    for dtype in DTYPES {
        for algebra in ciphertext_algebras() {
            let key = key(algebra.slots(), 31);
            let set = training_set(dtype);
            let (x, y) = key
                .encryptor_from_known_seed(algebra, 6)
                .expect("its algebra")
                .encrypt_training_set(&set.inputs, &set.labels, MaskPolicy::PairedRows)
                .expect("a training set");
            let (inputs, labels) = (set.inputs.to_f64(), set.labels.to_f64());
            let x_masks = masks(&key, &x, &inputs);
            let y_masks = masks(&key, &y, &labels);
            assert_eq!(x_masks.len(), algebra.slots() - 1);
            for (x, y) in x_masks.iter().zip(&y_masks) {
                let mut sources = Vec::new();
                for (row, (x, y)) in rows(x, 4).iter().zip(rows(y, 3)).enumerate() {
                    let from = find(x, &rows(&inputs, 4));
                    let &[from] = &from[..] else {
                        panic!("{algebra}: mask row {row} is no row of the inputs");
                    };
                    assert_ne!(from, row, "{algebra}: a mask is its own message");
                    let same = find(y, &rows(&labels, 3));
                    assert!(same.contains(&from), "{algebra}: labels left their inputs");
                    sources.push(from);
                }
                sources.sort_unstable();
                assert!(sources.into_iter().eq(0..9), "{algebra}: no permutation");
            }
        }
    }
}

#[test]
fn features_are_drawn_one_by_one_and_labels_whole() {
    let key = key(2, 32);
    let set = training_set(DType::F64);
    let (x, y) = key
        .encryptor_from_known_seed(Algebra::Compact(2), 7)
        .expect("its algebra")
        .encrypt_training_set(&set.inputs, &set.labels, MaskPolicy::Features)
        .expect("a training set");
    let (inputs, labels) = (set.inputs.to_f64(), set.labels.to_f64());
    let x = masks(&key, &x, &inputs).remove(0);
    for (e, mask) in x.iter().enumerate() {
        let column = inputs.iter().skip(e % 4).step_by(4);
        let known = column.clone().any(|value| (value - mask).abs() < 1e-12);
        assert!(known, "mask {e} is no value of its feature");
    }
    let whole = rows(&x, 4)
        .iter()
        .filter(|row| !find(row, &rows(&inputs, 4)).is_empty())
        .count();
    assert!(whole < 9, "rows of masks are whole rows");
    let y = masks(&key, &y, &labels).remove(0);
    for row in rows(&y, 3) {
        assert!(
            !find(row, &rows(&labels, 3)).is_empty(),
            "{row:?} is no label"
        );
        assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }
}

#[test]
fn other_policies_stay_in_range() {
    let set = training_set(DType::F64);
    let messages = set.inputs.to_f64();
    let low = messages.iter().copied().fold(f64::INFINITY, f64::min);
    let high = messages.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let top = low.abs().max(high.abs());
    let other = tensor(&[9, 4], &Noise::new(23).numbers(36, 5.0, 6.0), DType::F64);
    let policies = [
        (MaskPolicy::Uniform, low, high),
        (MaskPolicy::Normal, low, high),
        (MaskPolicy::Positive, top / 4.0, top),
        (MaskPolicy::From(&other), 5.0, 6.0),
    ];
    for slots in [2, 5] {
        let key = key(slots, 33);
        for (policy, low, high) in policies {
            let ciphertext = key
                .encryptor_from_known_seed(Algebra::Compact(slots), 8)
                .expect("its algebra")
                .encrypt_with(&set.inputs, policy)
                .expect("finite messages");
            for drawn in masks(&key, &ciphertext, &messages) {
                let inside = |m: &&f64| (low - 1e-9..=high + 1e-9).contains(*m);
                let outside: Vec<&f64> = drawn.iter().filter(|m| !inside(m)).collect();
                assert!(outside.is_empty(), "{}: {outside:?}", policy.name());
                if let MaskPolicy::From(other) = policy {
                    compare(&drawn, &other.to_f64(), 1e-12).unwrap_or_else(|e| panic!("{e}"));
                } else {
                    let repeated = drawn.iter().filter(|m| **m == drawn[0]).count();
                    assert!(repeated < 4, "{} repeats itself", policy.name());
                }
            }
        }
    }
}

#[test]
fn masks_of_a_constant_tensor_are_not_the_message() {
    for constant in [0.0, 1.0, -3.5] {
        let messages = tensor(&[4, 3], &[constant; 12], DType::F64);
        let key = key(2, 34);
        for policy in [
            MaskPolicy::Uniform,
            MaskPolicy::Normal,
            MaskPolicy::Positive,
        ] {
            let ciphertext = key
                .encryptor_from_known_seed(Algebra::Compact(2), 9)
                .expect("its algebra")
                .encrypt_with(&messages, policy)
                .expect("finite messages");
            let slots = More::of(key.evaluation_key()).slots_of(&ciphertext);
            let apart = slots[0]
                .iter()
                .zip(&slots[1])
                .filter(|(a, b)| (*a - *b).abs() > 1e-3);
            assert!(apart.count() >= 10, "{} of {constant}", policy.name());
        }
    }
}
