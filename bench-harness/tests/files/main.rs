//! The steps apart, as a user meets them: a key, an array encrypted, the same array decrypted, and
//! what stands in the way of each.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use furthermore::io::{read_npy, read_secret_key, read_tensors, write_npy, write_tensors};
use furthermore::tensor::{DType, Plaintext, Tensor, TensorView};
use serde_json::Value;

mod models;

/// A folder with what the commands read and write.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs a command line whose words that start with @ are files of the folder.
    fn run(&self, line: &str) -> Output {
        let words = line
            .split_whitespace()
            .map(|word| match word.strip_prefix('@') {
                Some(name) => self.path(name).into_os_string(),
                None => word.into(),
            });
        Command::new(env!("CARGO_BIN_EXE_furthermore-bench"))
            .args(words)
            .env_remove("FURTHERMORE_ISA")
            .output()
            .expect("the program starts")
    }

    /// Runs, expects success, and returns what it printed.
    fn success(&self, line: &str) -> String {
        let output = self.run(line);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{line}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs, and expects to be refused in words that hold these parts.
    fn refused(&self, line: &str, parts: &[&str]) {
        let output = self.run(line);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{line} succeeded");
        assert!(!said.contains("panicked"), "{line}: {said}");
        for part in parts {
            assert!(said.contains(part), "{line}: '{part}' is not in '{said}'");
        }
    }

    /// Writes an array of numbers between -3 and 3.
    fn array(&self, name: &str, shape: &[usize]) -> Vec<f64> {
        let count = shape.iter().product();
        let number = |i: usize| ((i * 7919 + 13) % 6007) as f64 / 1001.0 - 3.0;
        let numbers: Vec<f64> = (0..count).map(number).collect();
        let array = Plaintext::new(shape, &numbers).expect("a tensor");
        write_npy(&self.path(name), &array).expect("a file");
        numbers
    }
}

fn numbers(path: &Path, dtype: DType) -> (Vec<usize>, Vec<f64>) {
    let array = read_npy(path, dtype).expect("an array");
    (array.shape().to_vec(), array.to_f64())
}

/// Whether found is expected, within what encrypting numbers up to 3 with masks as large rounds off:
/// a few units of 6e-8 or 1.1e-16 times the key's amplification.
fn agree(found: &[f64], expected: &[f64], dtype: DType) -> bool {
    let bound = match dtype {
        DType::F32 => 1e-4,
        DType::F64 => 1e-12,
    };
    let close = |(a, b): (&f64, &f64)| (a - b).abs() <= bound;
    found.len() == expected.len() && found.iter().zip(expected).all(close)
}

#[test]
fn what_is_encrypted_is_decrypted() {
    let files = Files::new();
    let x = files.array("x.npy", &[7, 5]);
    for (slots, options, algebra, dtype) in [
        (2, "", "compact2", DType::F32),
        (2, "--algebra blocks2 --dtype f64", "blocks2", DType::F64),
        (
            2,
            "--mask paired-rows --name images",
            "compact2",
            DType::F32,
        ),
        (2, "--mask features --dtype f64", "compact2", DType::F64),
        (3, "--mask normal", "compact3", DType::F32),
        (
            5,
            "--mask positive --algebra blocks5",
            "blocks5",
            DType::F32,
        ),
    ] {
        let made = files.success(&format!("keygen --output @key --slots {slots}"));
        let key = read_secret_key(&files.path("key")).expect("a key");
        assert!(made.contains(&key.id().to_string()), "{made}");
        let line = "--key @key --input @x.npy --output @x.safetensors --json @encrypt.json";
        let encrypted = files.success(&format!("encrypt {line} {options}"));
        let line = "--key @key --input @x.safetensors --output @y.npy --json @decrypt.json";
        let decrypted = files.success(&format!("decrypt {line}"));
        for said in [made, encrypted, decrypted] {
            assert!(said.contains("hides nothing"), "{said}");
        }
        let (shape, found) = numbers(&files.path("y.npy"), dtype);
        assert_eq!(shape, [7, 5]);
        assert!(agree(&found, &x, dtype), "{options}: {found:?}");
        let mut wrong = found.clone();
        wrong[3] += 0.01;
        assert!(!agree(&wrong, &x, dtype) && !agree(&found[1..], &x, dtype));

        let file = read_tensors(&files.path("x.safetensors")).expect("a file");
        let name = if options.contains("images") {
            "images"
        } else {
            "x"
        };
        assert_eq!(file.tensors()[0].0, name);
        assert_eq!(
            (file.algebra().to_string(), file.dtype()),
            (algebra.to_owned(), dtype)
        );
        for command in ["encrypt", "decrypt"] {
            let text = fs::read(files.path(&format!("{command}.json"))).expect("a report");
            let report: Value = serde_json::from_slice(&text).expect("JSON");
            assert_eq!(report["schema"], "furthermore-report/1");
            assert_eq!(report["command"], command);
            let row = &report["rows"][0];
            assert_eq!(row["algebra"], algebra);
            assert_eq!(row["key"], key.id().to_string());
            assert_eq!(row["shape"], serde_json::json!([7, 5]));
            let seconds = row[format!("{command}_seconds")].as_f64();
            assert!(seconds.expect("a time") > 0.0, "{row}");
        }
        fs::remove_file(files.path("key")).expect("the key");
    }
}

#[cfg(unix)]
#[test]
fn keys_are_for_their_owner_and_never_written_over() {
    use std::os::unix::fs::PermissionsExt;
    let files = Files::new();
    files.success("keygen --output @key");
    let path = files.path("key");
    let metadata = fs::metadata(&path).expect("a file");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let key = fs::read(&path).expect("a key");
    files.refused("keygen --output @key", &["key: there is a file already"]);
    assert_eq!(fs::read(&path).expect("a key"), key);
    // A key that others may read is used, and they are told of.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("its owner");
    files.array("x.npy", &[2]);
    let output = files.run("encrypt --key @key --input @x.npy --output @x.safetensors");
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("others than the owner") && said.contains("644"),
        "{said}"
    );
    for slots in ["1", "9"] {
        files.refused(
            &format!("keygen --output @new --slots {slots}"),
            &["2 to 8"],
        );
    }
    assert!(!files.path("new").exists());
}

#[test]
fn files_under_another_key_or_cut_short_are_refused() {
    let files = Files::new();
    files.array("x.npy", &[3, 4]);
    files.success("keygen --output @ours");
    files.success("keygen --output @theirs");
    files.success("encrypt --key @ours --input @x.npy --output @x.safetensors");
    let id = |name: &str| {
        let key = read_secret_key(&files.path(name)).expect("a key");
        key.id().to_string()
    };
    let line = "decrypt --key @theirs --input @x.safetensors --output @y.npy";
    files.refused(
        line,
        &["x.safetensors: encrypted under", &id("ours"), &id("theirs")],
    );

    let whole = fs::read(files.path("x.safetensors")).expect("a file");
    let line = "decrypt --key @ours --input @cut.safetensors --output @y.npy";
    for length in [0, 7, 100, whole.len() / 2, whole.len() - 1] {
        fs::write(files.path("cut.safetensors"), &whole[..length]).expect("a file");
        files.refused(line, &["cut.safetensors", "cut short"]);
    }
    let mut tampered = whole.clone();
    let at = tampered
        .windows(8)
        .position(|w| w == b"compact2")
        .expect("its algebra");
    tampered[at + 7] = b'3';
    fs::write(files.path("cut.safetensors"), &tampered).expect("a file");
    files.refused(
        line,
        &["cut.safetensors", "compact3 needs a key of 3 slots"],
    );
    fs::write(files.path("cut.safetensors"), [whole, vec![0]].concat()).expect("a file");
    files.refused(line, &["cut.safetensors", "after the last tensor"]);

    let key = fs::read(files.path("ours")).expect("a key");
    fs::write(files.path("half"), &key[..key.len() / 2]).expect("a file");
    let line = "encrypt --key @half --input @x.npy --output @z.safetensors";
    files.refused(line, &["half", "where a key of 2 slots has"]);
    files.refused(
        "encrypt --key @x.npy --input @x.npy --output @z",
        &["x.npy", "not the bytes"],
    );
    assert!(!files.path("y.npy").exists() && !files.path("z.safetensors").exists());
}

#[test]
fn what_cannot_be_encrypted_is_named() {
    let files = Files::new();
    files.success("keygen --output @key");
    files.array("x.npy", &[1, 3]);
    let odd = Plaintext::new([3], &[0.5f32, f32::NAN, 1.0]).expect("a tensor");
    write_npy(&files.path("odd.npy"), &odd).expect("a file");
    fs::write(files.path("text.npy"), "1, 2, 3").expect("a file");
    for (options, parts) in [
        ("--input @none.npy", &["none.npy", "cannot be read"][..]),
        ("--input @text.npy", &["text.npy", "cut short"]),
        ("--input @odd.npy", &["odd.npy", "element 1 is NaN"]),
        (
            "--input @x.npy --mask paired-rows",
            &["x.npy", "fewer than two rows"],
        ),
        ("--input @x.npy --mask paired", &["'paired'", "paired-rows"]),
        (
            "--input @x.npy --algebra compact3",
            &["compact3", "3 slots"],
        ),
        ("--input @x.npy --algebra real", &["real", "no key"]),
        ("--input @x.npy --dtype f16", &["'f16'"]),
        ("--input @x.npy --name __metadata__", &["__metadata__"]),
        (
            "--input @x.npy --json @no/report.json",
            &["report.json", "written"],
        ),
    ] {
        let line = format!("encrypt --key @key --output @x.safetensors {options}");
        files.refused(&line, parts);
        assert!(!files.path("x.safetensors").exists(), "{options}");
    }
    let line = "encrypt --key @key --input @x.npy --output @no/x.safetensors";
    files.refused(line, &["x.safetensors", "written"]);
}

#[test]
fn decrypt_says_which_tensor() {
    let files = Files::new();
    files.success("keygen --output @key");
    let x = files.array("x.npy", &[4]);
    files.success("encrypt --key @key --input @x.npy --output @x.safetensors");
    let file = read_tensors(&files.path("x.safetensors")).expect("a file");
    let Tensor::Ciphertext(ciphertext) = &file.tensors()[0].1 else {
        panic!("it is encrypted");
    };
    let plain = Plaintext::new([1], &[1.0f32]).expect("a tensor");
    let three: [(&str, TensorView<'_>); 3] = [
        ("a", ciphertext.into()),
        ("b", ciphertext.into()),
        ("bias", (&plain).into()),
    ];
    write_tensors(&files.path("x.safetensors"), &three).expect("a file");
    let line = "decrypt --key @key --input @x.safetensors --output @y.npy";
    files.refused(line, &["x.safetensors", "--name", "a, b, bias"]);
    files.refused(&format!("{line} --name c"), &["'c'", "a, b, bias"]);
    files.refused(&format!("{line} --name bias"), &["'bias' is not encrypted"]);
    files.success(&format!("{line} --name b"));
    let (_, found) = numbers(&files.path("y.npy"), DType::F32);
    assert!(agree(&found, &x, DType::F32));
}
