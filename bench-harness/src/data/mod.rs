//! Data for the experiments. Handwritten digits: MNIST read from its files, or digits drawn by this
//! program where no files are at hand. X-ray frames of coronary arteries, always drawn:
//! [`angiograms`]. Parameters and measurements of circulations, always computed: [`circulation`].
//!
//! Digits of either kind come as the same [`Digits`]: pixels between 0 (background) and 1 (ink),
//! white on black, 28 x 28 per image, so that an experiment need not know which of the two it is
//! given.

pub mod angiograms;
pub mod circulation;

mod digits;
mod glyphs;
mod idx;
mod samples;

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use samples::Part;

/// Height and width of a digit's image, in pixels.
pub const SIDE: usize = 28;

/// Pixels in a digit's image, [`SIDE`] squared.
pub const PIXELS: usize = SIDE * SIDE;

/// Number of classes of digits: 0 to 9.
pub const CLASSES: usize = 10;

/// Images with their labels, one part (training or test) of a data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// Pixels in row-major order (image by image, each row by row from the top), each in
    /// `0.0..=1.0`: `len()` x 784 of digits, `len()` x 4096 of angiograms.
    pub images: Vec<f32>,
    /// What each image shows, `len()` values below the number of classes: the digit itself, or
    /// which artery.
    pub labels: Vec<u8>,
}

impl Split {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

/// A data set of digits in two parts that share no image.
#[derive(Clone, Debug, PartialEq)]
pub struct Digits {
    /// What a network is trained on.
    pub train: Split,
    /// What a trained network is measured on.
    pub test: Split,
    /// Where the images come from: `"mnist"` or `"drawn-digits"`.
    pub name: &'static str,
}

/// Why MNIST could not be read. Every message names the file and what was wrong with it.
#[derive(Debug, Error)]
pub enum DataError {
    /// Neither the plain nor the compressed file is in the folder.
    #[error("{}: no such file, and no {plain}.gz beside it", .folder.join(.plain).display())]
    Missing {
        /// The folder that was searched.
        folder: PathBuf,
        /// Name of the plain file; the other name looked for has `.gz` appended.
        plain: &'static str,
    },
    /// The operating system refused to open or read the file.
    #[error("{}: cannot be read: {reason}", .file.display())]
    Unreadable {
        /// The file concerned.
        file: PathBuf,
        /// What the operating system said.
        reason: io::Error,
    },
    /// The file starts as gzip does, but does not decompress.
    #[error("{}: corrupt gzip: {reason}", .file.display())]
    CorruptGzip {
        /// The file concerned.
        file: PathBuf,
        /// What the decompressor said.
        reason: io::Error,
    },
    /// The file ends before what its header announces, or within the header.
    #[error("{}: truncated: {found} bytes of {part}, expected {expected}", .file.display())]
    Truncated {
        /// The file concerned.
        file: PathBuf,
        /// The part that is cut short: `"header"`, `"pixels"` or `"labels"`.
        part: &'static str,
        /// Bytes of that part which are there, after decompression.
        found: u64,
        /// Bytes which that part should have.
        expected: u64,
    },
    /// The file goes on after what its header announces.
    #[error("{}: trailing bytes after the {expected} bytes of {part}", .file.display())]
    Trailing {
        /// The file concerned.
        file: PathBuf,
        /// The part after which the file should end: `"pixels"` or `"labels"`.
        part: &'static str,
        /// Bytes which that part has.
        expected: u64,
    },
    /// The first four bytes are not those of the expected kind of IDX file.
    #[error("{}: wrong magic number {found:#010x}, expected {expected:#010x}", .file.display())]
    WrongMagic {
        /// The file concerned.
        file: PathBuf,
        /// The number found, read as big-endian.
        found: u32,
        /// The number of an image file (`0x0803`) or of a label file (`0x0801`).
        expected: u32,
    },
    /// The images are not 28 x 28.
    #[error("{}: wrong dimensions: images of {rows} x {columns}, expected 28 x 28", .file.display())]
    WrongDimensions {
        /// The file concerned.
        file: PathBuf,
        /// Height that the header gives, in pixels.
        rows: u32,
        /// Width that the header gives, in pixels.
        columns: u32,
    },
    /// A label is not a digit.
    #[error("{}: label {label} at position {position}, above 9", .file.display())]
    BadLabel {
        /// The file concerned.
        file: PathBuf,
        /// The label found.
        label: u8,
        /// Its position among the labels, counted from 0.
        position: usize,
    },
    /// The image file and the label file belonging to it differ in length.
    #[error(
        "{}: {image_count} images, but {label_count} labels in {}",
        .images.display(),
        .labels.display()
    )]
    CountMismatch {
        /// The image file.
        images: PathBuf,
        /// The label file.
        labels: PathBuf,
        /// Images that the image file announces.
        image_count: u64,
        /// Labels in the label file.
        label_count: u64,
    },
    /// The file is whole but holds nothing, which no experiment can use.
    #[error("{}: holds no images", .file.display())]
    Empty {
        /// The image file.
        file: PathBuf,
    },
}

/// Reads MNIST from the four IDX files in `folder`, each gzip-compressed or not.
///
/// Of each file, `NAME` is taken if it exists and otherwise `NAME.gz`; whether it is compressed is
/// decided by its content. Pixels are divided by 255.
///
/// # Errors
///
/// A [`DataError`] for the first file that is missing or not what it should be.
pub fn load(folder: &Path) -> Result<Digits, DataError> {
    Ok(Digits {
        train: idx::read_split(folder, "train-images-idx3-ubyte", "train-labels-idx1-ubyte")?,
        test: idx::read_split(folder, "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")?,
        name: "mnist",
    })
}

/// Draws `train` and `test` digits that look handwritten, in parallel on the current rayon pool.
///
/// On one platform the result depends on the arguments alone, and never on the number of threads;
/// another platform's sine may move a pixel by a grey level. Labels are balanced (the counts of two
/// digits differ by at most one) and in random order. Pixels are multiples of 1/255, as in MNIST.
pub fn draw(seed: u64, train: usize, test: usize) -> Digits {
    Digits {
        train: digits::draw_split(seed, Part::Train, train),
        test: digits::draw_split(seed, Part::Test, test),
        name: "drawn-digits",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_the_sizes_asked_for() {
        let drawn = draw(9, 21, 10);
        assert_eq!(drawn.name, "drawn-digits");
        for (split, count) in [(&drawn.train, 21), (&drawn.test, 10)] {
            assert_eq!(split.len(), count);
            assert_eq!(split.images.len(), count * PIXELS);
            assert!(!split.is_empty());
        }
        // A part does not depend on the size of the other.
        assert_eq!(draw(9, 21, 0).train, drawn.train);
        assert_eq!(draw(9, 0, 10).test, drawn.test);
    }
}
