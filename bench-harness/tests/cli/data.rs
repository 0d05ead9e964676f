//! Commands that show and fetch data.

use std::fs;
use std::net::TcpListener;

use super::{bench, refusal, write_digits};

/// Width and height that a PNG file's header gives.
fn png_size(file: &[u8]) -> (u32, u32) {
    assert_eq!(file[..8], *b"\x89PNG\r\n\x1a\n");
    assert_eq!(file[12..16], *b"IHDR");
    let number = |at: usize| u32::from_be_bytes(file[at..at + 4].try_into().expect("four bytes"));
    (number(16), number(20))
}

#[test]
fn digits_are_shown_as_a_sheet() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let (drawn, again, other) = (text("drawn.png"), text("again.PNG"), text("other.png"));
    for (file, seed) in [(&drawn, "3"), (&again, "3"), (&other, "4")] {
        let output = bench(&[
            "show", "digits", "--to", file, "--count", "12", "--seed", seed,
        ]);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}");
        assert_eq!(said, format!("12 drawn digits: {file}\n"));
    }
    let [drawn, again, other] = [&drawn, &again, &other].map(|file| fs::read(file).expect("PNG"));
    assert_eq!(png_size(&drawn), (4 * 116 + 4, 3 * 116 + 4));
    assert!(drawn == again && drawn != other);

    let mnist = folder.path().join("mnist");
    fs::create_dir(&mnist).expect("a folder");
    write_digits(&mnist, 30, 10);
    let (data, sheet) = (text("mnist"), text("mnist.png"));
    let arguments = ["show", "digits", "--to", &sheet, "--data", &data, "--count"];
    let output = bench(&[&arguments[..], &["30"]].concat());
    assert!(output.status.success());
    assert_eq!(
        png_size(&fs::read(&sheet).expect("PNG")),
        (6 * 116 + 4, 5 * 116 + 4)
    );
    let said = refusal(&[&arguments[..], &["31"]].concat());
    assert!(
        said.contains("--count: 31 images, and there are 30"),
        "{said}"
    );
}

#[test]
fn angiograms_are_shown_as_a_sheet() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("angio.png");
    let to = file.to_str().expect("UTF-8");
    let output = bench(&["show", "angio", "--to", to, "--count", "4"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said, format!("4 drawn angiograms: {to}\n"));
    // Twice as large, with gaps.
    let (width, height) = png_size(&fs::read(&file).expect("PNG"));
    assert_eq!((width, height), (2 * 132 + 4, 2 * 132 + 4));
}

#[test]
fn the_circulation_is_shown_as_curves() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("wbc.svg");
    let output = bench(&["show", "wbc", "--to", file.to_str().expect("UTF-8")]);
    assert!(output.status.success());
    let svg = fs::read_to_string(&file).expect("SVG");
    assert!(svg.starts_with("<svg") && svg.contains("pressure (mmHg)"));
}

#[test]
fn pictures_that_cannot_be_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let (png, svg, none) = (text("a.png"), text("a.svg"), text("a"));
    let elsewhere = text("nowhere/a.svg");
    for (arguments, wanted) in [
        (vec!["digits", "--to", &svg], "does not end in .png"),
        (vec!["wbc", "--to", &png], "does not end in .svg"),
        (vec!["wbc", "--to", &none], "does not end in .svg"),
        (
            vec!["digits", "--to", &png, "--count", "0"],
            "--count: 0 is not between 1 and 10000",
        ),
        (
            vec!["digits", "--to", &png, "--data", &none],
            "no such file",
        ),
        (
            vec!["angio", "--to", &png, "--data", &none],
            "--data: angiograms are always drawn",
        ),
        (
            vec!["wbc", "--to", &svg, "--seed", "2"],
            "--seed: it goes with images",
        ),
        (
            vec!["wbc", "--to", &elsewhere],
            "nothing can be written there",
        ),
    ] {
        let said = refusal(&[&["show"], &arguments[..]].concat());
        assert!(said.contains(wanted), "{said}");
    }
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
}

#[test]
fn what_cannot_be_downloaded_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("new/data");
    let to = data.to_str().expect("UTF-8");
    let said = refusal(&["download", "mnist", "--to", to, "--mirror", "ftp://here"]);
    assert!(
        said.contains("--mirror: 'ftp://here' does not start with"),
        "{said}"
    );
    assert!(!data.exists());

    // A port where nobody listens.
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", closed.local_addr().expect("an address"));
    drop(closed);
    let said = refusal(&["download", "mnist", "--to", to, "--mirror", &url]);
    let named = format!("train-images-idx3-ubyte.gz cannot be fetched: {url}/train-images");
    assert!(said.contains(&named), "{said}");
    assert!(!data.join("train-images-idx3-ubyte.gz").exists());
}
