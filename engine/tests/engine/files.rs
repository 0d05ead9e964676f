//! Files of keys and tensors: what is written is read again in every bit, and what is no such file is
//! refused in words that say why.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use furthermore::Algebra;
use furthermore::io::{
    TensorFile, read_secret_key, read_tensors, read_tensors_under, tensors_from_bytes,
    tensors_to_bytes, write_secret_key, write_tensors,
};
use furthermore::scheme::SecretKey;
use furthermore::tensor::{Ciphertext, DType, Plaintext, Tensor, TensorView};
use serde_json::{Value, json};

use crate::support::{
    DTYPES, More, Noise, cipher, ciphertext_algebras, compare, coordinates, encrypt, key, random,
    refused, tensor,
};

/// A folder that is removed with what is in it.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let name = |entry: std::io::Result<fs::DirEntry>| {
        let name = entry.expect("an entry").file_name();
        name.into_string().expect("UTF-8")
    };
    entries.map(name).collect()
}

fn ciphertext<'a>(file: &'a TensorFile, name: &str) -> &'a Ciphertext {
    let found = file.tensors().iter().find(|(n, _)| n == name);
    match found {
        Some((_, Tensor::Ciphertext(ciphertext))) => ciphertext,
        other => panic!("'{name}' is {other:?}"),
    }
}

/// One ciphertext of 5 x 3 under `key`, as a file.
fn small(key: &SecretKey) -> Vec<u8> {
    let messages = random(&[5, 3], (-1.0, 1.0), DType::F32, &mut Noise::new(4));
    let x = encrypt(key, Algebra::Compact(2), 8, &messages);
    tensors_to_bytes(&[("x", TensorView::from(&x))]).expect("one tensor")
}

#[test]
fn keys_come_back_and_decrypt() {
    let folder = folder();
    for slots in 2..=8 {
        let path = folder.path().join(format!("key{slots}"));
        let key = SecretKey::generate(slots).expect("randomness");
        write_secret_key(&path, &key).expect("a new file");
        let again = read_secret_key(&path).expect("a key");
        assert_eq!(again.evaluation_key(), key.evaluation_key());
        let messages = random(&[4, 5], (-1.0, 1.0), DType::F64, &mut Noise::new(1));
        for algebra in [Algebra::Blocks(slots), Algebra::Compact(slots)] {
            let x = encrypt(&key, algebra, 3, &messages);
            let found = again.decrypt(&x).expect("its own key").to_f64();
            assert_eq!(found, key.decrypt(&x).expect("its own key").to_f64());
            let bound = More::of(key.evaluation_key()).law(algebra, DType::F64);
            compare(&found, &messages.to_f64(), bound.bound(2, 1.0))
                .unwrap_or_else(|e| panic!("{e}"));
        }
    }
}

#[cfg(unix)]
#[test]
fn keys_are_for_their_owner_and_tensors_as_the_process_has_it() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder();
    let mode = |path: &Path| {
        let metadata = fs::metadata(path).expect("a file");
        metadata.permissions().mode() & 0o777
    };
    let path = folder.path().join("key");
    write_secret_key(&path, &key(2, 1)).expect("a new file");
    assert_eq!(mode(&path), 0o600);
    let (tensors, plain) = (folder.path().join("x"), folder.path().join("plain"));
    write_tensors(&tensors, &[]).expect("a new file");
    fs::write(&plain, "").expect("a new file");
    assert_eq!(mode(&tensors), mode(&plain));
}

#[test]
fn a_key_is_never_written_over() {
    let folder = folder();
    let path = folder.path().join("key");
    let first = key(2, 1);
    write_secret_key(&path, &first).expect("a new file");
    let second = write_secret_key(&path, &key(2, 2));
    let file = path.display().to_string();
    refused("a second key", second, &[&file, "there is a file already"]);
    let kept = read_secret_key(&path).expect("the first key");
    assert_eq!(kept.id(), first.id());
    assert_eq!(names(folder.path()), ["key"]);
    let nowhere = folder.path().join("no").join("key");
    refused(
        "no folder",
        write_secret_key(&nowhere, &first),
        &["cannot be written"],
    );
    refused(
        "a folder",
        write_secret_key(folder.path(), &first),
        &["a folder"],
    );
}

#[test]
fn files_that_hold_no_key_are_refused() {
    let folder = folder();
    let path = folder.path().join("key");
    let file = path.display().to_string();
    refused(
        "nothing",
        read_secret_key(&path),
        &[&file, "cannot be read"],
    );
    refused("a folder", read_secret_key(folder.path()), &["not a file"]);
    let bytes = key(3, 1).to_bytes();
    for (what, bytes, part) in [
        ("an empty file", &[][..], "not the bytes of a secret key"),
        (
            "half a key",
            &bytes[..100],
            "100 bytes, where a key of 3 slots has",
        ),
        ("a start", &bytes[..20], "cut short"),
        ("a long file", &[0; 5000], "too long"),
    ] {
        fs::write(&path, bytes).expect("a file");
        refused(what, read_secret_key(&path), &[&file, part]);
    }
}

#[test]
fn tensors_come_back_in_every_bit() {
    let folder = folder();
    let path = folder.path().join("x.safetensors");
    let shapes: [&[usize]; 6] = [&[], &[0, 3], &[1], &[2, 3], &[7, 5, 1], &[17]];
    let mut noise = Noise::new(5);
    for dtype in DTYPES {
        for algebra in ciphertext_algebras() {
            let key = key(algebra.slots(), 6);
            let messages: Vec<Plaintext> = shapes
                .iter()
                .map(|shape| random(shape, (-2.0, 2.0), dtype, &mut noise))
                .collect();
            let encrypted: Vec<Ciphertext> = messages
                .iter()
                .map(|m| encrypt(&key, algebra, noise.next(), m))
                .collect();
            let mut tensors: Vec<(String, TensorView<'_>)> = Vec::new();
            // Not in alphabetical order, and some plaintexts among them.
            for (i, (c, p)) in encrypted.iter().zip(&messages).enumerate() {
                tensors.push((format!("w{}", 9 - i), c.into()));
                tensors.push((format!("{i} \"ä\""), p.into()));
            }
            let borrowed: Vec<_> = tensors.iter().map(|(n, t)| (&**n, *t)).collect();
            write_tensors(&path, &borrowed).expect("they fit");
            let bytes = fs::read(&path).expect("a file");
            assert_eq!(bytes, tensors_to_bytes(&borrowed).expect("they fit"));
            let file = read_tensors_under(&path, key.evaluation_key()).expect("its own file");
            assert_eq!((file.algebra(), file.dtype()), (algebra, dtype));
            assert_eq!(file.key(), Some(key.evaluation_key()));
            let found: Vec<&str> = file.tensors().iter().map(|(n, _)| &**n).collect();
            let expected: Vec<&str> = borrowed.iter().map(|(n, _)| *n).collect();
            assert_eq!(found, expected);
            for (i, (c, p)) in encrypted.iter().zip(&messages).enumerate() {
                let found = ciphertext(&file, &format!("w{}", 9 - i));
                assert_eq!(found.shape(), c.shape());
                assert_eq!(coordinates(found), coordinates(c));
                // All of a file share one evaluation key.
                assert!(Arc::ptr_eq(found.key(), file.key().expect("a key")));
                match &file.tensors()[2 * i + 1].1 {
                    Tensor::Plaintext(found) => assert_eq!(found.to_f64(), p.to_f64()),
                    other => panic!("{other:?}"),
                }
            }
        }
    }
    assert_eq!(names(folder.path()), ["x.safetensors"]);
}

/// What stands in the file, read by the format's definition and nothing of ours.
#[test]
fn a_file_is_what_its_format_says() {
    let key = key(2, 7);
    let x = encrypt(
        &key,
        Algebra::Blocks(2),
        1,
        &tensor(&[3], &[1.0, 2.0, 3.0], DType::F32),
    );
    let w = tensor(&[2], &[0.5, -0.25], DType::F32);
    let bytes = tensors_to_bytes(&[("x", (&x).into()), ("w", (&w).into())]).expect("they fit");
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight")) as usize;
    assert_eq!(length % 8, 0);
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).expect("JSON");
    assert_eq!(
        header["x"],
        json!({"dtype": "F32", "shape": [4, 3], "data_offsets": [0, 48]})
    );
    assert_eq!(
        header["w"],
        json!({"dtype": "F32", "shape": [2], "data_offsets": [48, 56]})
    );
    let entries = header["__metadata__"].as_object().expect("metadata");
    assert_eq!(entries.len(), 1);
    let text = entries["furthermore"].as_str().expect("a string");
    let start = r#"{"format":"furthermore","version":1,"kind":"tensors","algebra":"blocks2","#;
    assert!(text.starts_with(start), "{text}");
    let entry: Value = serde_json::from_str(text).expect("JSON");
    assert_eq!(entry["key"]["id"], key.id().to_string());
    assert_eq!(
        entry["tensors"],
        json!([
            {"name": "x", "encrypted": true, "shape": [3]},
            {"name": "w", "encrypted": false, "shape": [2]},
        ])
    );
    let numbers: Vec<f32> = bytes[8 + length..]
        .chunks(4)
        .map(|b| f32::from_le_bytes(b.try_into().expect("four")))
        .collect();
    let planes = x.planes::<f32>().expect("its element type");
    let expected: Vec<f32> = (0..4).flat_map(|i| planes.plane(i).to_vec()).collect();
    assert_eq!(numbers[..12], expected);
    assert_eq!(numbers[12..], [0.5, -0.25]);
}

#[test]
fn tensors_that_do_not_go_together_are_refused() {
    let folder = folder();
    let path = folder.path().join("x.safetensors");
    let (ours, theirs) = (key(2, 1), key(2, 2));
    let m = tensor(&[2], &[1.0, 2.0], DType::F32);
    let a = encrypt(&ours, Algebra::Compact(2), 1, &m);
    let b = encrypt(&theirs, Algebra::Compact(2), 1, &m);
    let blocks = encrypt(&ours, Algebra::Blocks(2), 1, &m);
    let wide = tensor(&[1], &[1.0], DType::F64);
    let odd = tensor(&[3], &[1.0, f64::NAN, 2.0], DType::F32);
    let write = |tensors: &[(&str, TensorView<'_>)]| write_tensors(&path, tensors);
    let file = path.display().to_string();
    let ids = [&ours, &theirs].map(|key| key.id().to_string());
    let both = write(&[("a", (&a).into()), ("b", (&b).into())]);
    refused("two keys", both, &[&file, "'b'", &ids[0], &ids[1]]);
    let both = write(&[("a", (&a).into()), ("b", (&blocks).into())]);
    refused("two algebras", both, &["'b'", "blocks2", "compact2"]);
    let both = write(&[("a", (&a).into()), ("b", (&wide).into())]);
    refused("two types", both, &["'b'", "f64 where f32"]);
    let both = write(&[("a", (&a).into()), ("a", (&m).into())]);
    refused("two of a name", both, &["'a'"]);
    let reserved = write(&[("__metadata__", (&m).into())]);
    refused("a name that is kept", reserved, &["__metadata__"]);
    refused(
        "NaN",
        write(&[("n", (&odd).into())]),
        &["'n'", "not finite"],
    );
    assert!(names(folder.path()).is_empty(), "something was written");
    let nowhere = folder.path().join("no").join("x");
    refused(
        "no folder",
        write_tensors(&nowhere, &[]),
        &["cannot be written"],
    );
}

#[test]
fn another_key_is_named() {
    let folder = folder();
    let path = folder.path().join("x.safetensors");
    let (ours, theirs) = (key(2, 3), key(2, 4));
    fs::write(&path, small(&ours)).expect("a file");
    let read = read_tensors_under(&path, theirs.evaluation_key());
    let ids = [&ours, &theirs].map(|key| key.id().to_string());
    refused(
        "another key",
        read,
        &[&path.display().to_string(), &ids[0], &ids[1]],
    );
    let file = read_tensors(&path).expect("no key asked for");
    refused(
        "decryption",
        theirs.decrypt(ciphertext(&file, "x")),
        &[&ids[0], &ids[1]],
    );
    // Another key's numbers under our key's name.
    let renamed = with_header(&small(&theirs), |_, listed| {
        listed["key"]["id"] = ids[0].clone().into();
    });
    fs::write(&path, renamed).expect("a file");
    let read = read_tensors_under(&path, ours.evaluation_key());
    refused("a renamed key", read, &[&ids[0], "other numbers"]);
}

#[test]
fn no_part_of_a_file_is_a_file() {
    let bytes = small(&key(2, 5));
    for length in 0..bytes.len() {
        refused(
            "a part",
            tensors_from_bytes(&bytes[..length]),
            &["cut short"],
        );
    }
    let longer = [&bytes[..], &[0]].concat();
    refused(
        "more",
        tensors_from_bytes(&longer),
        &["1 bytes after the last tensor"],
    );
}

/// Flips every bit in turn: nothing panics, and what is still read is the header's own spelling or
/// the numbers.
#[test]
fn a_flipped_bit_harms_nothing() {
    let key = key(2, 5);
    let mut bytes = small(&key);
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().expect("eight")) as usize;
    for at in 0..bytes.len() {
        for bit in 0..8 {
            bytes[at] ^= 1 << bit;
            if let Ok(file) = tensors_from_bytes(&bytes) {
                assert_eq!(file.tensors().len(), 1);
                assert!(at > 8, "the header's length was changed");
            }
            bytes[at] ^= 1 << bit;
        }
        assert!(at < header || tensors_from_bytes(&bytes).is_ok());
    }
}

/// The file with another header, of the right length.
fn with_header(bytes: &[u8], change: impl Fn(&mut Value, &mut Value)) -> Vec<u8> {
    let end = 8 + u64::from_le_bytes(bytes[..8].try_into().expect("eight")) as usize;
    let mut header: Value = serde_json::from_slice(&bytes[8..end]).expect("JSON");
    let text = header["__metadata__"]["furthermore"]
        .as_str()
        .expect("ours");
    let mut ours: Value = serde_json::from_str(text).expect("JSON");
    change(&mut header, &mut ours);
    if !header["__metadata__"]["furthermore"].is_null() {
        header["__metadata__"]["furthermore"] = ours.to_string().into();
    }
    let header = header.to_string().into_bytes();
    [
        &(header.len() as u64).to_le_bytes(),
        &header[..],
        &bytes[end..],
    ]
    .concat()
}

#[test]
fn headers_that_lie_are_refused() {
    let key = key(2, 5);
    let bytes = small(&key);
    assert!(tensors_from_bytes(&with_header(&bytes, |_, _| {})).is_ok());
    type Change = fn(&mut Value, &mut Value);
    let lies: [(&str, Change); 20] = [
        ("without the metadata entry", |all, _| {
            all["__metadata__"] = json!({})
        }),
        ("holds 'weights' of", |_, ours| {
            ours["kind"] = "weights".into()
        }),
        ("of 'another'", |_, ours| ours["format"] = "another".into()),
        ("version 2", |_, ours| ours["version"] = 2.into()),
        ("missing field `version`", |_, ours| {
            ours.as_object_mut().expect("an object").remove("version");
        }),
        ("'compact9'", |_, ours| ours["algebra"] = "compact9".into()),
        ("blocks3 needs a key of 3", |_, ours| {
            ours["algebra"] = "blocks3".into()
        }),
        ("no key: it is the plaintext", |_, ours| {
            ours["algebra"] = "real".into()
        }),
        ("'f16'", |_, ours| ours["dtype"] = "f16".into()),
        ("of f64 is listed", |_, ours| ours["dtype"] = "f64".into()),
        ("without an evaluation key", |_, ours| {
            ours["key"] = Value::Null
        }),
        ("descending order", |_, ours| {
            ours["key"]["roots"] = json!([0.0, 1.0])
        }),
        ("other eigenvalues", |_, ours| {
            ours["key"]["generator"] = json!([0.0, 1.0, 1.0, 0.0]);
        }),
        ("[2, 5, 3] of F32, where [2, 3, 5]", |_, ours| {
            ours["tensors"][0]["shape"] = json!([3, 5]);
        }),
        ("invalid value", |_, ours| {
            ours["tensors"][0]["shape"] = json!([-5, 3])
        }),
        ("[2, 5, 3] of F32, where [5, 3]", |_, ours| {
            ours["tensors"][0]["encrypted"] = false.into();
        }),
        ("lists other tensors", |_, ours| ours["tensors"] = json!([])),
        ("'y' is listed and not there", |_, ours| {
            ours["tensors"][0]["name"] = "y".into()
        }),
        ("unknown field `more`", |_, ours| ours["more"] = 1.into()),
        ("invalid offset", |all, _| {
            all["x"]["data_offsets"] = json!([8, 128])
        }),
    ];
    for (part, change) in lies {
        refused(
            part,
            tensors_from_bytes(&with_header(&bytes, change)),
            &[part],
        );
    }
    // Sizes that no memory has are no reason to ask for it.
    let huge = u64::MAX / 8;
    let huge = with_header(&bytes, |all, ours| {
        all["x"]["shape"] = json!([2, huge, 3]);
        ours["tensors"][0]["shape"] = json!([huge, 3]);
    });
    refused("a huge shape", tensors_from_bytes(&huge), &["overflow"]);
    for length in [1u64 << 23, u64::MAX] {
        let start = [&length.to_le_bytes(), &bytes[8..]].concat();
        refused(
            "a huge header",
            tensors_from_bytes(&start),
            &["a header of"],
        );
    }
}

#[test]
fn numbers_that_are_not_finite_are_refused() {
    let key = key(2, 5);
    let mut bytes = small(&key);
    let at = bytes.len() - 4;
    bytes[at..].copy_from_slice(&f32::INFINITY.to_le_bytes());
    refused(
        "infinity",
        tensors_from_bytes(&bytes),
        &["tensor 'x' holds", "not finite"],
    );
}

/// Files made by a tool that orders and spells headers in its own way are read too.
#[test]
fn tensors_may_lie_in_another_order() {
    let key = key(2, 6);
    let m = tensor(&[2], &[1.0, 2.0], DType::F64);
    let x = encrypt(&key, Algebra::Compact(2), 1, &m);
    let bytes = tensors_to_bytes(&[("x", (&x).into()), ("w", (&m).into())]).expect("they fit");
    let end = bytes.len();
    let moved = with_header(&bytes, |all, _| {
        all["w"]["data_offsets"] = json!([0, 16]);
        all["x"]["data_offsets"] = json!([16, 48]);
    });
    let start = moved.len() - 48;
    let moved = [
        &moved[..start],
        &bytes[end - 16..],
        &bytes[end - 48..end - 16],
    ]
    .concat();
    let file = tensors_from_bytes(&moved).expect("a file");
    assert_eq!(coordinates(ciphertext(&file, "x")), coordinates(&x));
    assert_eq!(file.tensors()[0].0, "x");
    let x = cipher(Ok(file.into_tensors().swap_remove(0).1));
    assert_eq!(x.shape(), m.shape());
}

/// The seed corpus of the fuzz target.
fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/ciphertexts")
}

/// What the fuzz target starts from: files that are read, named so, and files that are not.
fn seeds() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    let key = key(2, 5);
    let small = small(&key);
    for algebra in [Algebra::Compact(2), Algebra::Blocks(2), Algebra::Compact(3)] {
        let key = self::key(algebra.slots(), 5);
        for dtype in DTYPES {
            let m = tensor(&[1, 2], &[1.0, -0.5], dtype);
            let x = encrypt(&key, algebra, 1, &m);
            let both = tensors_to_bytes(&[("x", (&x).into()), ("m", (&m).into())]);
            seeds.push((format!("good-{algebra}-{dtype}"), both.expect("they fit")));
        }
    }
    let none = tensor(&[0, 3], &[], DType::F32);
    let empty = tensors_to_bytes(&[("none", (&none).into())]).expect("one tensor");
    seeds.push((
        "good-nothing".to_owned(),
        tensors_to_bytes(&[]).expect("no tensor"),
    ));
    seeds.push(("good-empty".to_owned(), empty));
    seeds.push(("cut-header".to_owned(), small[..200].to_vec()));
    seeds.push(("cut-numbers".to_owned(), small[..small.len() - 3].to_vec()));
    let foreign = with_header(&small, |all, _| {
        all["__metadata__"] = json!({"format": "pt"})
    });
    seeds.push(("foreign".to_owned(), foreign));
    let listed = with_header(&small, |_, ours| ours["tensors"][0]["shape"] = json!([15]));
    seeds.push(("listed-otherwise".to_owned(), listed));
    seeds
}

#[test]
#[ignore = "writes the seed corpus anew"]
fn write_the_corpus() {
    fs::create_dir_all(corpus()).expect("a folder");
    for (name, bytes) in seeds() {
        fs::write(corpus().join(name), bytes).expect("a file");
    }
}

#[test]
fn the_corpus_is_read_or_refused() {
    let mut good = 0;
    for name in names(&corpus()) {
        let bytes = fs::read(corpus().join(&name)).expect("a file");
        let found = tensors_from_bytes(&bytes);
        assert_eq!(
            found.is_ok(),
            name.starts_with("good-"),
            "{name}: {found:?}"
        );
        good += usize::from(found.is_ok());
    }
    assert_eq!(good, 8, "good files in {}", corpus().display());
}
