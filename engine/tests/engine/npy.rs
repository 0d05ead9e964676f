//! NumPy's arrays: files as NumPy writes them, byte by byte, and files that are none.

use std::fs;
use std::path::Path;

use furthermore::io::{read_npy, write_npy};
use furthermore::tensor::{DType, Plaintext};

use crate::support::{DTYPES, Noise, random, refused, tensor};

/// A file of this version with this header, padded as NumPy pads it.
fn npy(version: u8, header: &str, elements: &[u8]) -> Vec<u8> {
    let wide = if version == 1 { 2 } else { 4 };
    let before = 8 + wide;
    let padded = (before + header.len() + 1).next_multiple_of(64) - before;
    let mut bytes = b"\x93NUMPY".to_vec();
    bytes.extend([version, 0]);
    bytes.extend(&(padded as u32).to_le_bytes()[..wide]);
    bytes.extend(header.bytes());
    bytes.resize(before + padded - 1, b' ');
    bytes.push(b'\n');
    bytes.extend(elements);
    bytes
}

fn header(descr: &str, fortran_order: &str, shape: &str) -> String {
    format!("{{'descr': '{descr}', 'fortran_order': {fortran_order}, 'shape': {shape}, }}")
}

fn read(path: &Path, bytes: &[u8], dtype: DType) -> furthermore::Result<Plaintext> {
    fs::write(path, bytes).expect("a file");
    read_npy(path, dtype)
}

#[test]
fn arrays_come_back_in_every_bit() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.npy");
    let mut noise = Noise::new(3);
    let shapes: [&[usize]; 7] = [&[], &[0, 3], &[1], &[2, 3], &[7, 1, 5], &[1; 64], &[20_011]];
    for dtype in DTYPES {
        for shape in shapes {
            let numbers = random(shape, (-1e3, 1e3), dtype, &mut noise);
            write_npy(&path, &numbers).expect("it can be written");
            let found = read_npy(&path, dtype).expect("its own file");
            assert_eq!(found.shape(), numbers.shape());
            assert_eq!(found.to_f64(), numbers.to_f64());
            assert_eq!(found.dtype(), dtype);
        }
    }
}

#[test]
fn a_file_is_what_numpy_writes() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.npy");
    for (shape, spelled) in [(&[][..], "()"), (&[2], "(2,)"), (&[2, 1], "(2, 1)")] {
        let count: usize = shape.iter().product();
        let values = [1.5, -2.0];
        write_npy(&path, &tensor(shape, &values[..count], DType::F32)).expect("written");
        let elements: Vec<u8> = values[..count]
            .iter()
            .flat_map(|x| (*x as f32).to_le_bytes())
            .collect();
        let expected = npy(1, &header("<f4", "False", spelled), &elements);
        assert_eq!(fs::read(&path).expect("a file"), expected);
    }
}

#[test]
fn every_type_order_and_version_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.npy");
    let values = [0.0, 1.0, 2.0, 100.0, 64.0, 8.0];
    // Row-major elements, and as a column-major file of 2 x 3 holds them.
    let orders = [("False", [0, 1, 2, 3, 4, 5]), ("True", [0, 3, 1, 4, 2, 5])];
    type Spell = fn(f64) -> Vec<u8>;
    let types: [(&str, Spell); 14] = [
        ("|i1", |x| (x as i8).to_le_bytes().to_vec()),
        ("|u1", |x| (x as u8).to_le_bytes().to_vec()),
        ("<i2", |x| (x as i16).to_le_bytes().to_vec()),
        (">i2", |x| (x as i16).to_be_bytes().to_vec()),
        ("<u2", |x| (x as u16).to_le_bytes().to_vec()),
        ("<i4", |x| (x as i32).to_le_bytes().to_vec()),
        (">u4", |x| (x as u32).to_be_bytes().to_vec()),
        ("<i8", |x| (x as i64).to_le_bytes().to_vec()),
        (">u8", |x| (x as u64).to_be_bytes().to_vec()),
        ("<f2", |x| half::f16::from_f64(x).to_le_bytes().to_vec()),
        (">f2", |x| half::f16::from_f64(x).to_be_bytes().to_vec()),
        ("<f4", |x| (x as f32).to_le_bytes().to_vec()),
        (">f4", |x| (x as f32).to_be_bytes().to_vec()),
        (">f8", |x| x.to_be_bytes().to_vec()),
    ];
    for (descr, spell) in types {
        for (fortran, order) in orders {
            let elements: Vec<u8> = order.iter().flat_map(|&i| spell(values[i])).collect();
            for version in 1..=3 {
                let bytes = npy(version, &header(descr, fortran, "(2, 3)"), &elements);
                for dtype in DTYPES {
                    let found = read(&path, &bytes, dtype).unwrap_or_else(|e| panic!("{e}"));
                    assert_eq!(**found.shape(), [2, 3]);
                    assert_eq!(
                        found.to_f64(),
                        values,
                        "{descr} {fortran} {version} {dtype}"
                    );
                }
            }
        }
    }
    let booleans = npy(1, &header("|b1", "False", "(3,)"), &[1, 0, 1]);
    let found = read(&path, &booleans, DType::F32).expect("booleans");
    assert_eq!(found.to_f64(), [1.0, 0.0, 1.0]);
}

#[test]
fn what_is_no_array_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.npy");
    let file = path.display().to_string();
    let good = npy(1, &header("<f4", "False", "(2,)"), &[0; 8]);
    assert!(read(&path, &good, DType::F32).is_ok());
    for length in 0..good.len() {
        let part = if length < 128 {
            "cut short"
        } else {
            "shape [2] needs 8"
        };
        refused(
            "a part",
            read(&path, &good[..length], DType::F32),
            &[&file, part],
        );
    }
    let text = |header: &str| npy(1, header, &[0; 8]);
    let of = |descr: &str, shape: &str| text(&header(descr, "False", shape));
    let mut versioned = good.clone();
    versioned[6] = 4;
    let mut not_text = good.clone();
    not_text[20] = 0xff;
    let mut long = npy(2, "", &[]);
    long[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    let many = format!("({})", "0,".repeat(65));
    for (bytes, part) in [
        (b"PK\x03\x04 and so on".to_vec(), "not a .npy file"),
        (versioned, "version 4"),
        (not_text, "not text"),
        (long, "a header of 4294967295 bytes"),
        ([&good[..], &[0]].concat(), "9 bytes of elements"),
        (
            of("<f4", "(3,)"),
            "8 bytes of elements, where shape [3] needs 12",
        ),
        (
            of("<f4", "(4611686018427387904, 4)"),
            "more elements than can be addressed",
        ),
        (of("<f4", "(18446744073709551616,)"), "no size of an axis"),
        (of("<f4", "(-2,)"), "no size of an axis"),
        (of("<f4", "(2 2)"), "lacks a ')'"),
        (of("<f4", &many), "more than 64 axes"),
        (of("<c8", "(1,)"), "'<c8'"),
        (of("|O", "(1,)"), "'|O'"),
        (of("<f16", "(1,)"), "'<f16'"),
        (
            text("{'descr': [('a', '<f4')], 'shape': (2,)}"),
            "lacks a '''",
        ),
        (text("{'descr': '<f4', 'shape': (2,)}"), "lacks one of"),
        (text("{'descr': '<f4', 'more': 1}"), "'more'"),
        (text(&header("<f4", "Maybe", "(2,)")), "'Maybe'"),
        (text("[1, 2]"), "lacks a '{'"),
        (text(&"{".repeat(100)), "lacks a '''"),
        (text(&(header("<f4", "False", "(2,)") + " {}")), "goes on"),
    ] {
        refused(part, read(&path, &bytes, DType::F32), &[&file, part]);
    }
    refused(
        "a folder",
        read_npy(folder.path(), DType::F32),
        &["not a file"],
    );
    let axes = tensor(&[1; 65], &[1.0], DType::F32);
    refused("65 axes", write_npy(&path, &axes), &[&file, "65 axes"]);
    refused(
        "a folder",
        write_npy(folder.path(), &axes.rows(&[0]).expect("a row")),
        &["65 axes"],
    );
}
