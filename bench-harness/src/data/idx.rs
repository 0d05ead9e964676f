//! MNIST in IDX files, plain or gzip-compressed.
//!
//! An IDX file is a big-endian header followed by unsigned bytes: a magic number (`0x0803` for
//! images, `0x0801` for labels), the number of items, for images also rows and columns, and then
//! the items. Nothing in a header is trusted with memory: bytes are collected as they arrive, so a
//! header that claims more than the file holds costs no more than the file.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use super::{CLASSES, DataError, PIXELS, SIDE, Split};

/// Magic number of a file of images: unsigned bytes in three dimensions.
const IMAGES: u32 = 0x0803;

/// Magic number of a file of labels: unsigned bytes in one dimension.
const LABELS: u32 = 0x0801;

/// First two bytes of every gzip stream. No IDX file starts so: its first two bytes are zero.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Bytes reserved before any have been read; more is reserved only as they arrive.
const FIRST_RESERVE: u64 = 1 << 20;

/// Reads the images and the labels of one part of MNIST from the files of these plain names in
/// `folder`, or those with `.gz` appended.
pub(super) fn read_split(
    folder: &Path,
    images: &'static str,
    labels: &'static str,
) -> Result<Split, DataError> {
    let mut image_file = IdxFile::open(folder, images)?;
    let [image_count, rows, columns] = image_file.header(IMAGES)?;
    if (rows, columns) != (SIDE as u32, SIDE as u32) {
        return Err(DataError::WrongDimensions {
            file: image_file.path,
            rows,
            columns,
        });
    }

    let mut label_file = IdxFile::open(folder, labels)?;
    let [label_count] = label_file.header(LABELS)?;
    if image_count != label_count {
        return Err(DataError::CountMismatch {
            images: image_file.path,
            labels: label_file.path,
            image_count: image_count.into(),
            label_count: label_count.into(),
        });
    }

    let labels = label_file.items("labels", label_count.into())?;
    if let Some(position) = labels
        .iter()
        .position(|&label| usize::from(label) >= CLASSES)
    {
        let label = labels[position];
        return Err(DataError::BadLabel {
            file: label_file.path,
            label,
            position,
        });
    }
    let pixels = image_file.items("pixels", u64::from(image_count) * PIXELS as u64)?;
    let split = Split {
        images: pixels.iter().map(|&byte| f32::from(byte) / 255.0).collect(),
        labels,
    };
    if split.is_empty() {
        return Err(DataError::Empty {
            file: image_file.path,
        });
    }
    Ok(split)
}

/// One file being read, decompressed on the way where needed.
struct IdxFile {
    path: PathBuf,
    stream: Box<dyn Read>,
    compressed: bool,
}

impl IdxFile {
    /// Opens `plain` in `folder`, or `plain` with `.gz` appended where there is no such file.
    fn open(folder: &Path, plain: &'static str) -> Result<Self, DataError> {
        for path in [folder.join(plain), folder.join(format!("{plain}.gz"))] {
            match File::open(&path) {
                Ok(file) => return Self::from_file(file, path),
                Err(reason) if reason.kind() == io::ErrorKind::NotFound => {}
                Err(reason) => return Err(DataError::Unreadable { file: path, reason }),
            }
        }
        Err(DataError::Missing {
            folder: folder.to_path_buf(),
            plain,
        })
    }

    fn from_file(file: File, path: PathBuf) -> Result<Self, DataError> {
        let mut stream = BufReader::new(file);
        let compressed = match stream.fill_buf() {
            Ok(start) => start.starts_with(&GZIP),
            Err(reason) => return Err(DataError::Unreadable { file: path, reason }),
        };
        // A gzip file may be several streams in a row. Reading them all also makes anything that
        // follows the first one show up, as items too many or as corruption.
        let stream: Box<dyn Read> = if compressed {
            Box::new(MultiGzDecoder::new(stream))
        } else {
            Box::new(stream)
        };
        Ok(Self {
            path,
            stream,
            compressed,
        })
    }

    /// Reads the header, checks its magic number and returns the dimensions that follow it.
    fn header<const N: usize>(&mut self, expected: u32) -> Result<[u32; N], DataError> {
        let bytes = self.up_to(4 + 4 * N as u64)?;
        let mut words = bytes
            .chunks_exact(4)
            .map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
        let found = words
            .next()
            .ok_or_else(|| self.truncated_header(&bytes, N))?;
        // Checked before the length: of a short file of another kind, its kind is the news.
        if found != expected {
            return Err(DataError::WrongMagic {
                file: self.path.clone(),
                found,
                expected,
            });
        }
        let mut dimensions = [0; N];
        for dimension in &mut dimensions {
            *dimension = words
                .next()
                .ok_or_else(|| self.truncated_header(&bytes, N))?;
        }
        Ok(dimensions)
    }

    fn truncated_header(&self, bytes: &[u8], dimensions: usize) -> DataError {
        DataError::Truncated {
            file: self.path.clone(),
            part: "header",
            found: bytes.len() as u64,
            expected: 4 + 4 * dimensions as u64,
        }
    }

    /// Reads the `expected` bytes of items, which must be all that is left in the file.
    fn items(&mut self, part: &'static str, expected: u64) -> Result<Vec<u8>, DataError> {
        let bytes = self.up_to(expected)?;
        let found = bytes.len() as u64;
        if found < expected {
            let file = self.path.clone();
            return Err(DataError::Truncated {
                file,
                part,
                found,
                expected,
            });
        }
        // Reading on to the end is also what makes the decompressor compare its checksum.
        if !self.up_to(1)?.is_empty() {
            return Err(DataError::Trailing {
                file: self.path.clone(),
                part,
                expected,
            });
        }
        Ok(bytes)
    }

    /// Reads `count` bytes, or as many as there are.
    fn up_to(&mut self, count: u64) -> Result<Vec<u8>, DataError> {
        let mut bytes = Vec::with_capacity(count.min(FIRST_RESERVE) as usize);
        match self.stream.by_ref().take(count).read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(reason) => Err(self.failed(reason)),
        }
    }

    /// Tells a stream that does not decompress from a file that cannot be read.
    fn failed(&self, reason: io::Error) -> DataError {
        let file = self.path.clone();
        match reason.kind() {
            io::ErrorKind::InvalidInput
            | io::ErrorKind::InvalidData
            | io::ErrorKind::UnexpectedEof
                if self.compressed =>
            {
                DataError::CorruptGzip { file, reason }
            }
            _ => DataError::Unreadable { file, reason },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tempfile::TempDir;

    use super::super::{draw, load};
    use super::*;

    const NAMES: [&str; 4] = [
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    ];

    fn image_bytes(count: u32, rows: u32, columns: u32, pixels: &[u8]) -> Vec<u8> {
        let mut bytes: Vec<u8> = [IMAGES, count, rows, columns]
            .iter()
            .flat_map(|word| word.to_be_bytes())
            .collect();
        bytes.extend_from_slice(pixels);
        bytes
    }

    fn label_bytes(count: u32, labels: &[u8]) -> Vec<u8> {
        let mut bytes: Vec<u8> = [LABELS, count]
            .iter()
            .flat_map(|word| word.to_be_bytes())
            .collect();
        bytes.extend_from_slice(labels);
        bytes
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// A folder of four good files: three training images and two test images.
    fn good() -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        let contents = [
            image_bytes(3, 28, 28, &[7; 3 * PIXELS]),
            label_bytes(3, &[0, 9, 4]),
            image_bytes(2, 28, 28, &[255; 2 * PIXELS]),
            label_bytes(2, &[1, 2]),
        ];
        for (name, bytes) in NAMES.iter().zip(&contents) {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        folder
    }

    /// The message of loading a good folder in which one file was replaced; checks that it starts
    /// with the name of that file.
    fn message_with(name: &str, bytes: &[u8]) -> String {
        let folder = good();
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let message = load(folder.path()).unwrap_err().to_string();
        let prefix = format!("{}: ", path.display());
        message
            .strip_prefix(&prefix)
            .unwrap_or_else(|| panic!("{message}"))
            .to_owned()
    }

    #[test]
    fn reads_what_was_written_plain_and_compressed() {
        let drawn = draw(5, 12, 7);
        for compressed in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            for (split, names) in [(&drawn.train, &NAMES[..2]), (&drawn.test, &NAMES[2..])] {
                let pixels: Vec<u8> = split
                    .images
                    .iter()
                    .map(|&value| (value * 255.0).round() as u8)
                    .collect();
                let count = split.len() as u32;
                let contents = [
                    image_bytes(count, 28, 28, &pixels),
                    label_bytes(count, &split.labels),
                ];
                for (name, bytes) in names.iter().zip(contents) {
                    let (name, bytes) = if compressed {
                        (format!("{name}.gz"), gzip(&bytes))
                    } else {
                        ((*name).to_owned(), bytes)
                    };
                    fs::write(folder.path().join(name), bytes).unwrap();
                }
            }
            let read = load(folder.path()).unwrap();
            assert_eq!(read.name, "mnist");
            assert_eq!(read.train, drawn.train);
            assert_eq!(read.test, drawn.test);
        }
    }

    #[test]
    fn compression_is_told_by_content_not_by_name() {
        let folder = good();
        let expected = load(folder.path()).unwrap();
        let [first, second] = [NAMES[0], NAMES[1]].map(|name| folder.path().join(name));
        let bytes = fs::read(&first).unwrap();
        fs::write(&first, gzip(&bytes)).unwrap();
        fs::rename(&second, second.with_file_name(format!("{}.gz", NAMES[1]))).unwrap();
        assert_eq!(load(folder.path()).unwrap(), expected);
    }

    #[test]
    fn one_gzip_file_may_be_several_streams() {
        let folder = good();
        let bytes = label_bytes(3, &[0, 9, 4]);
        let joined = [gzip(&bytes[..9]), gzip(&bytes[9..])].concat();
        fs::write(folder.path().join(NAMES[1]), joined).unwrap();
        assert_eq!(load(folder.path()).unwrap().train.labels, [0, 9, 4]);
    }

    #[test]
    fn missing_file_names_both_that_were_looked_for() {
        let folder = good();
        fs::remove_file(folder.path().join(NAMES[2])).unwrap();
        let expected = format!(
            "{}: no such file, and no t10k-images-idx3-ubyte.gz beside it",
            folder.path().join(NAMES[2]).display()
        );
        assert_eq!(load(folder.path()).unwrap_err().to_string(), expected);
    }

    #[test]
    fn unreadable_file() {
        let folder = good();
        let path = folder.path().join(NAMES[3]);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        // Some systems refuse to open a folder as a file and others to read it.
        let message = load(folder.path()).unwrap_err().to_string();
        assert!(
            message.starts_with(&format!("{}: cannot be read: ", path.display())),
            "{message}"
        );
    }

    #[test]
    fn truncated_files() {
        let pixels = vec![0; 3 * PIXELS];
        let whole = image_bytes(3, 28, 28, &pixels);
        let cases = [
            (
                NAMES[0],
                vec![],
                "truncated: 0 bytes of header, expected 16",
            ),
            (
                NAMES[0],
                whole[..15].to_vec(),
                "truncated: 15 bytes of header, expected 16",
            ),
            (
                NAMES[0],
                whole[..17].to_vec(),
                "truncated: 1 bytes of pixels, expected 2352",
            ),
            (
                NAMES[0],
                gzip(&whole[..17]),
                "truncated: 1 bytes of pixels, expected 2352",
            ),
            (
                NAMES[1],
                label_bytes(3, &[])[..5].to_vec(),
                "truncated: 5 bytes of header, expected 8",
            ),
            (
                NAMES[1],
                label_bytes(3, &[1, 2]),
                "truncated: 2 bytes of labels, expected 3",
            ),
        ];
        for (name, bytes, expected) in cases {
            assert_eq!(message_with(name, &bytes), expected);
        }
    }

    #[test]
    fn a_huge_count_costs_no_more_than_the_file() {
        // 4 billion images would be 3 TiB; that this test ends at all is the point of it.
        let folder = good();
        fs::write(
            folder.path().join(NAMES[0]),
            image_bytes(u32::MAX, 28, 28, &[0; 10]),
        )
        .unwrap();
        fs::write(folder.path().join(NAMES[1]), label_bytes(u32::MAX, &[0; 3])).unwrap();
        let message = load(folder.path()).unwrap_err().to_string();
        assert!(
            message.ends_with("truncated: 3 bytes of labels, expected 4294967295"),
            "{message}"
        );

        let mut file = IdxFile::open(folder.path(), NAMES[0]).unwrap();
        let [count, _, _] = file.header(IMAGES).unwrap();
        let message = file
            .items("pixels", u64::from(count) * 784)
            .unwrap_err()
            .to_string();
        assert!(
            message.ends_with("10 bytes of pixels, expected 3367254359280"),
            "{message}"
        );
    }

    #[test]
    fn wrong_magic_number() {
        assert_eq!(
            message_with(NAMES[0], &label_bytes(3, &[1, 2, 3])),
            "wrong magic number 0x00000801, expected 0x00000803"
        );
        assert_eq!(
            message_with(NAMES[3], b"<html>"),
            "wrong magic number 0x3c68746d, expected 0x00000801"
        );
    }

    #[test]
    fn wrong_dimensions() {
        assert_eq!(
            message_with(NAMES[2], &image_bytes(2, 28, 27, &[0; 2 * 28 * 27])),
            "wrong dimensions: images of 28 x 27, expected 28 x 28"
        );
    }

    #[test]
    fn label_above_nine() {
        assert_eq!(
            message_with(NAMES[1], &label_bytes(3, &[9, 10, 0])),
            "label 10 at position 1, above 9"
        );
    }

    #[test]
    fn images_and_labels_of_different_counts() {
        let folder = good();
        let labels = folder.path().join(NAMES[1]);
        fs::write(&labels, label_bytes(2, &[1, 2])).unwrap();
        let expected = format!(
            "{}: 3 images, but 2 labels in {}",
            folder.path().join(NAMES[0]).display(),
            labels.display()
        );
        assert_eq!(load(folder.path()).unwrap_err().to_string(), expected);
    }

    #[test]
    fn no_images() {
        let folder = good();
        fs::write(folder.path().join(NAMES[1]), label_bytes(0, &[])).unwrap();
        let path = folder.path().join(NAMES[0]);
        fs::write(&path, image_bytes(0, 28, 28, &[])).unwrap();
        let expected = format!("{}: holds no images", path.display());
        assert_eq!(load(folder.path()).unwrap_err().to_string(), expected);
    }

    #[test]
    fn corrupt_gzip() {
        let whole = gzip(&label_bytes(3, &[0, 9, 4]));
        let mut checksum = whole.clone();
        let end = checksum.len();
        checksum[end - 8] ^= 1;
        let junk_after = [whole.as_slice(), b"junk"].concat();
        for bytes in [&whole[..12], &whole[..end - 3], &checksum, &junk_after] {
            let message = message_with(NAMES[1], bytes);
            assert!(message.starts_with("corrupt gzip: "), "{message}");
        }
    }

    #[test]
    fn trailing_bytes() {
        let labels = label_bytes(3, &[0, 9, 4, 4]);
        let expected = "trailing bytes after the 3 bytes of labels";
        assert_eq!(message_with(NAMES[1], &labels), expected);
        assert_eq!(message_with(NAMES[1], &gzip(&labels)), expected);
        assert_eq!(
            message_with(NAMES[2], &image_bytes(2, 28, 28, &[0; 2 * PIXELS + 1])),
            "trailing bytes after the 1568 bytes of pixels"
        );
    }
}
