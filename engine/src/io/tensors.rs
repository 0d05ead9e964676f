//! Files of tensors, encrypted or not: safetensors, with one metadata entry that says the rest.
//!
//! The entry "furthermore" is a JSON object: format, version, kind, algebra, element type, evaluation
//! key (null without ciphertexts), and for each tensor, in order, its name, whether it is encrypted,
//! and its shape. A ciphertext of shape [..] is stored as a tensor of its name and of shape
//! [planes, ..], the planes dense one after another.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use furthermore_kernels_cpu::Element;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::{Deserialize, Serialize};

use super::{CHUNK, Place, cut_short, open, refuse, write_whole};
use crate::algebra::Algebra;
use crate::error::{Error, Result};
use crate::scheme::EvaluationKey;
use crate::session::Progress;
use crate::tensor::{Ciphertext, DType, Plaintext, Tensor, TensorView, with_dtype};

const FORMAT: &str = "furthermore";
const VERSION: u32 = 1;
/// What a file of tensors is; a checkpoint is another kind of the same form.
const KIND: &str = "tensors";
/// The metadata entry, and the name that safetensors keeps for all of them.
const ENTRY: &str = "furthermore";
const RESERVED: &str = "__metadata__";
/// The longest header that is read or written. Read, it becomes some twenty times as large; a tensor
/// takes about 200 bytes of it.
const MAX_HEADER: u64 = 4 << 20;
/// Bytes that hold the header's length.
const LENGTH: u64 = 8;
/// What errors call a file that has no name.
const UNNAMED: &str = "file of tensors";
/// What is wrong with a tensor.
const NOT_FINITE: &str = "holds a number that is not finite";

/// What a file of tensors holds.
#[derive(Debug)]
pub struct TensorFile {
    algebra: Algebra,
    dtype: DType,
    key: Option<Arc<EvaluationKey>>,
    tensors: Vec<(String, Tensor)>,
}

impl TensorFile {
    /// The ciphertexts' algebra; real where there is none.
    pub fn algebra(&self) -> Algebra {
        self.algebra
    }

    /// The element type of all tensors.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The evaluation key that the ciphertexts share; none where there are none.
    pub fn key(&self) -> Option<&Arc<EvaluationKey>> {
        self.key.as_ref()
    }

    /// The tensors by name, in the file's order.
    pub fn tensors(&self) -> &[(String, Tensor)] {
        &self.tensors
    }

    /// The tensors by name, in the file's order.
    pub fn into_tensors(self) -> Vec<(String, Tensor)> {
        self.tensors
    }
}

/// The metadata entry. Fields are written in this order.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: String,
    version: u32,
    kind: String,
    algebra: String,
    dtype: String,
    key: Option<EvaluationKey>,
    /// In checkpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    training: Option<Progress>,
    tensors: Vec<Entry>,
}

/// The fields that say whether the others can be understood.
#[derive(Deserialize)]
struct Preamble {
    format: String,
    version: u32,
    kind: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    encrypted: bool,
    shape: Vec<usize>,
}

/// Writes tensors of one element type, and of one key and algebra where they are encrypted, to a
/// file that is replaced if it is there.
///
/// # Errors
/// When the tensors cannot be in one file, a number is not finite, or the file cannot be written.
pub fn write_tensors(path: &Path, tensors: &[(&str, TensorView<'_>)]) -> Result<()> {
    write_kind(path, KIND, None, tensors)
}

/// Writes a file of a kind, with how far training has come where that is a checkpoint.
pub(super) fn write_kind(
    path: &Path,
    kind: &str,
    training: Option<Progress>,
    tensors: &[(&str, TensorView<'_>)],
) -> Result<()> {
    let header = header(&path.display().to_string(), kind, training, tensors)?;
    write_whole(path, Place::Replace, |to| write(to, &header, tensors))
}

/// The bytes of a file of tensors, as [`write_tensors`] writes it.
///
/// # Errors
/// When the tensors cannot be in one file, or a number is not finite.
pub fn tensors_to_bytes(tensors: &[(&str, TensorView<'_>)]) -> Result<Vec<u8>> {
    let header = header(UNNAMED, KIND, None, tensors)?;
    let mut bytes = Vec::new();
    write(&mut bytes, &header, tensors).or_else(|error| refuse(UNNAMED, error))?;
    Ok(bytes)
}

/// Reads a file of tensors. Memory is taken for the tensors, which are as large as the file, and for
/// a header of at most 4 MiB.
///
/// # Errors
/// When the file cannot be read, is no file of tensors, is cut short, contradicts itself, or holds
/// numbers that are not finite.
pub fn read_tensors(path: &Path) -> Result<TensorFile> {
    let (tensors, _) = read_kind(path, KIND, None)?;
    Ok(tensors)
}

/// Reads a file of tensors whose ciphertexts have to be under `key`, which is looked at before the
/// tensors are.
///
/// # Errors
/// When it is another key, or as [`read_tensors`].
pub fn read_tensors_under(path: &Path, key: &EvaluationKey) -> Result<TensorFile> {
    let (tensors, _) = read_kind(path, KIND, Some(key))?;
    Ok(tensors)
}

/// Reads a file of a kind, with how far training had come where that is a checkpoint.
pub(super) fn read_kind(
    path: &Path,
    kind: &str,
    key: Option<&EvaluationKey>,
) -> Result<(TensorFile, Option<Progress>)> {
    let (file, length) = open(path)?;
    read(file, length, &path.display().to_string(), kind, key)
}

/// Reads the bytes of a file of tensors.
///
/// # Errors
/// As [`read_tensors`].
pub fn tensors_from_bytes(bytes: &[u8]) -> Result<TensorFile> {
    let (from, length) = (Cursor::new(bytes), bytes.len() as u64);
    let (tensors, _) = read(from, length, UNNAMED, KIND, None)?;
    Ok(tensors)
}

/// The start of the file, up to the first tensor.
fn header(
    file: &str,
    kind: &str,
    training: Option<Progress>,
    tensors: &[(&str, TensorView<'_>)],
) -> Result<Vec<u8>> {
    let dtype = tensors.first().map_or(DType::F32, |(_, t)| t.dtype());
    let mut first: Option<&Ciphertext> = None;
    let mut names = HashSet::new();
    let mut entries = Vec::new();
    let mut infos = Vec::new();
    let mut end = 0;
    for &(name, tensor) in tensors {
        let what = || format!("{file}: tensor '{name}'");
        if name == RESERVED {
            let reason = format!("'{name}' is a name that safetensors keeps for itself");
            return refuse(file, reason);
        }
        if !names.insert(name) {
            return refuse(file, format!("two tensors were given the name '{name}'"));
        }
        if tensor.dtype() != dtype {
            return Err(Error::DType {
                what: what(),
                expected: dtype,
                found: tensor.dtype(),
            });
        }
        let (algebra, finite) = match tensor {
            TensorView::Plaintext(plaintext) => (None, plaintext.check_finite(None, what).is_ok()),
            TensorView::Ciphertext(ciphertext) => {
                check_fits(ciphertext, first.get_or_insert(ciphertext), what)?;
                (Some(ciphertext.algebra()), ciphertext.is_finite())
            }
        };
        if !finite {
            return refuse(file, format!("tensor '{name}' {NOT_FINITE}"));
        }
        let start = end;
        end += algebra.map_or(1, Algebra::dim) * tensor.shape().elements()? * dtype.size();
        entries.push(Entry {
            name: name.to_owned(),
            encrypted: matches!(tensor, TensorView::Ciphertext(_)),
            shape: tensor.shape().to_vec(),
        });
        infos.push((
            name.to_owned(),
            TensorInfo {
                dtype: stored_dtype(dtype),
                shape: stored_shape(algebra, tensor.shape()),
                data_offsets: (start, end),
            },
        ));
    }
    let entry = Header {
        format: FORMAT.to_owned(),
        version: VERSION,
        kind: kind.to_owned(),
        algebra: first.map_or(Algebra::Real, Ciphertext::algebra).to_string(),
        dtype: dtype.to_string(),
        key: first.map(|ciphertext| (**ciphertext.key()).clone()),
        training,
        tensors: entries,
    };
    let text = serde_json::to_string(&entry).or_else(|error| refuse(file, error))?;
    let metadata = Metadata::new(Some(HashMap::from([(ENTRY.to_owned(), text)])), infos)
        .or_else(|error| refuse(file, error))?;
    let mut json = serde_json::to_vec(&metadata).or_else(|error| refuse(file, error))?;
    // Tensors start at a multiple of eight bytes.
    json.resize(json.len().next_multiple_of(8), b' ');
    if json.len() as u64 > MAX_HEADER {
        return refuse(file, "too many tensors for the header of one file");
    }
    Ok([&(json.len() as u64).to_le_bytes()[..], &json].concat())
}

/// # Errors
/// When the ciphertext is of another key or algebra than the first of its file.
fn check_fits(
    ciphertext: &Ciphertext,
    first: &Ciphertext,
    what: impl Fn() -> String,
) -> Result<()> {
    if ciphertext.key() != first.key() {
        return Err(Error::Key {
            what: what(),
            expected: first.key().id(),
            found: ciphertext.key().id(),
        });
    }
    if ciphertext.algebra() != first.algebra() {
        return Err(Error::Algebra {
            what: what(),
            expected: first.algebra(),
            found: ciphertext.algebra(),
        });
    }
    Ok(())
}

/// The shape under which safetensors knows a tensor.
fn stored_shape(algebra: Option<Algebra>, shape: &[usize]) -> Vec<usize> {
    algebra
        .map(Algebra::dim)
        .into_iter()
        .chain(shape.iter().copied())
        .collect()
}

fn stored_dtype(dtype: DType) -> Dtype {
    match dtype {
        DType::F32 => Dtype::F32,
        DType::F64 => Dtype::F64,
    }
}

fn write(to: &mut impl Write, header: &[u8], tensors: &[(&str, TensorView<'_>)]) -> io::Result<()> {
    to.write_all(header)?;
    for (_, tensor) in tensors {
        with_dtype!(tensor.dtype(), T => match tensor {
            TensorView::Plaintext(plaintext) => put(to, plaintext.buffer().as_slice::<T>()),
            TensorView::Ciphertext(ciphertext) => {
                let planes = ciphertext.planes::<T>().map_err(io::Error::other)?;
                (0..planes.count()).try_for_each(|i| put(to, planes.plane(i)))
            }
        })?;
    }
    Ok(())
}

fn put<T: Element>(to: &mut impl Write, numbers: &[T]) -> io::Result<()> {
    for chunk in numbers.chunks(CHUNK / size_of::<T>()) {
        let mut bytes = bytemuck::cast_slice(chunk).to_vec();
        swap_where_big_endian::<T>(&mut bytes);
        to.write_all(&bytes)?;
    }
    Ok(())
}

fn read(
    mut from: impl Read + Seek,
    length: u64,
    file: &str,
    kind: &str,
    expected: Option<&EvaluationKey>,
) -> Result<(TensorFile, Option<Progress>)> {
    let (metadata, start) = metadata(&mut from, length).or_else(|e| refuse(file, e))?;
    let mut listed = listed(&metadata, kind).or_else(|e| refuse(file, e))?;
    let training = listed.training.take();
    let (algebra, dtype, key) = listed.constants().or_else(|e| refuse(file, e))?;
    if let (Some(expected), Some(found)) = (expected, &key) {
        check_key(file, expected, found)?;
    }
    let mut tensors = Vec::with_capacity(listed.tensors.len());
    for entry in listed.tensors {
        let key = key.as_ref().filter(|_| entry.encrypted);
        let algebra = key.map(|_| algebra);
        let tensor = offset(&metadata, &entry, algebra, dtype).and_then(|at| {
            from.seek(SeekFrom::Start(start + at)).map_err(cut_short)?;
            tensor(&mut from, entry.shape, dtype, key.zip(algebra))
        });
        match tensor {
            Ok(tensor) => tensors.push((entry.name, tensor)),
            Err(reason) => return refuse(file, format!("tensor '{}' {reason}", entry.name)),
        }
    }
    let file = TensorFile {
        algebra,
        dtype,
        key,
        tensors,
    };
    Ok((file, training))
}

/// What safetensors says of a file, with the place where tensors start. Their offsets follow each
/// other, are of the size that shape and element type take, and end where the file does.
fn metadata(from: &mut impl Read, length: u64) -> Result<(Metadata, u64), String> {
    let mut bytes = [0; LENGTH as usize];
    from.read_exact(&mut bytes).map_err(cut_short)?;
    let header = u64::from_le_bytes(bytes);
    if header > MAX_HEADER {
        return Err(format!("no file of tensors: a header of {header} bytes"));
    }
    if header > length.saturating_sub(LENGTH) {
        return Err(format!(
            "cut short: {length} bytes do not hold a header of {header}"
        ));
    }
    let mut json = vec![0; header as usize];
    from.read_exact(&mut json).map_err(cut_short)?;
    let metadata: Metadata =
        serde_json::from_slice(&json).map_err(|error| format!("header: {error}"))?;
    let start = LENGTH + header;
    let (found, needed) = (length - start, metadata.data_len() as u64);
    match found.cmp(&needed) {
        Ordering::Less => Err(format!(
            "cut short: {found} bytes of tensors, where {needed} belong"
        )),
        Ordering::Equal => Ok((metadata, start)),
        Ordering::Greater => Err(format!("{} bytes after the last tensor", found - needed)),
    }
}

/// What our metadata entry says.
fn listed(metadata: &Metadata, wanted: &str) -> Result<Header, String> {
    let text = metadata.metadata().as_ref().and_then(|m| m.get(ENTRY));
    let Some(text) = text else {
        return Err(format!("safetensors without the metadata entry '{ENTRY}'"));
    };
    let explain = |error: serde_json::Error| format!("metadata entry '{ENTRY}': {error}");
    let Preamble {
        format,
        version,
        kind,
    } = serde_json::from_str(text).map_err(explain)?;
    if format != FORMAT || kind != wanted {
        return Err(format!(
            "it holds '{kind}' of '{format}', where '{wanted}' of '{FORMAT}' belong"
        ));
    }
    if version != VERSION {
        return Err(format!(
            "version {version} of the format, where {VERSION} is known"
        ));
    }
    let header: Header = serde_json::from_str(text).map_err(explain)?;
    let names: HashSet<&str> = header.tensors.iter().map(|entry| &*entry.name).collect();
    if names.len() != header.tensors.len() || names.len() != metadata.offset_keys().len() {
        return Err("it lists other tensors than it holds".to_owned());
    }
    Ok(header)
}

impl Header {
    /// What all tensors share.
    fn constants(&mut self) -> Result<(Algebra, DType, Option<Arc<EvaluationKey>>), String> {
        let algebra: Algebra = self.algebra.parse().map_err(|e: Error| e.to_string())?;
        let dtype: DType = self.dtype.parse().map_err(|e: Error| e.to_string())?;
        match &self.key {
            Some(key) => key.check(algebra).map_err(|e| e.to_string())?,
            None if algebra == Algebra::Real => {}
            None => return Err(format!("{algebra} without an evaluation key")),
        }
        if self.key.is_none() && self.tensors.iter().any(|entry| entry.encrypted) {
            return Err("encrypted tensors without an evaluation key".to_owned());
        }
        Ok((algebra, dtype, self.key.take().map(Arc::new)))
    }
}

/// # Errors
/// When the key is not the one expected, in name or in its numbers.
fn check_key(file: &str, expected: &EvaluationKey, found: &EvaluationKey) -> Result<()> {
    if found.id() != expected.id() {
        return Err(Error::Key {
            what: file.to_owned(),
            expected: expected.id(),
            found: found.id(),
        });
    }
    if found != expected {
        let id = found.id();
        return refuse(
            file,
            format!("its evaluation key has the name {id} and other numbers"),
        );
    }
    Ok(())
}

/// Where a tensor starts, counted from the first.
fn offset(
    metadata: &Metadata,
    entry: &Entry,
    algebra: Option<Algebra>,
    dtype: DType,
) -> Result<u64, String> {
    let Some(info) = metadata.info(&entry.name) else {
        return Err("is listed and not there".to_owned());
    };
    let shape = stored_shape(algebra, &entry.shape);
    if info.shape != shape || info.dtype != stored_dtype(dtype) {
        return Err(format!(
            "is stored as {:?} of {}, where {shape:?} of {dtype} is listed",
            info.shape, info.dtype
        ));
    }
    Ok(info.data_offsets.0 as u64)
}

/// Reads a tensor from where it starts; what it takes was seen to be in the file.
fn tensor(
    from: &mut impl Read,
    shape: Vec<usize>,
    dtype: DType,
    key: Option<(&Arc<EvaluationKey>, Algebra)>,
) -> Result<Tensor, String> {
    let explain = |error: Error| format!("cannot be read: {error}");
    let Some((key, algebra)) = key else {
        let mut plaintext = Plaintext::zeros(shape, dtype).map_err(explain)?;
        with_dtype!(dtype, T => fill(from, plaintext.buffer_mut().as_mut_slice::<T>()))?;
        return Ok(Tensor::Plaintext(plaintext));
    };
    let mut ciphertext = Ciphertext::zeros(shape, dtype, algebra, key).map_err(explain)?;
    with_dtype!(dtype, T => {
        let mut planes = ciphertext.planes_mut::<T>().map_err(explain)?;
        (0..algebra.dim()).try_for_each(|i| fill(from, planes.plane_mut(i)))
    })?;
    Ok(Tensor::Ciphertext(ciphertext))
}

fn fill<T: Element>(from: &mut impl Read, numbers: &mut [T]) -> Result<(), String> {
    let bytes = bytemuck::cast_slice_mut(numbers);
    from.read_exact(bytes).map_err(cut_short)?;
    swap_where_big_endian::<T>(bytes);
    if numbers.iter().all(|x| x.is_finite()) {
        return Ok(());
    }
    Err(NOT_FINITE.to_owned())
}

/// Between a processor's numbers and those of a file, which are little-endian.
fn swap_where_big_endian<T>(bytes: &mut [u8]) {
    if cfg!(target_endian = "big") {
        bytes
            .chunks_exact_mut(size_of::<T>())
            .for_each(<[u8]>::reverse);
    }
}
