//! Tensors with their numbers, from a model or from files beside it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use half::{bf16, f16};

use super::generated::TensorProto;
use crate::tensor::DType;

/// Axes that a tensor of a model may have.
pub(crate) const MOST_AXES: usize = 16;

/// Numbers, row-major: real ones, and integers or truth values (0 and 1), of which shapes are
/// computed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Numbers {
    /// Numbers and the type in which the model has them, half precision as f32.
    Floats(Vec<f64>, DType),
    Integers(Vec<i64>),
}

/// A tensor that is known when the model is read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Constant {
    pub(crate) shape: Vec<usize>,
    pub(crate) numbers: Numbers,
}

impl Constant {
    /// Integers in a row.
    pub(crate) fn row(integers: Vec<i64>) -> Self {
        Self {
            shape: vec![integers.len()],
            numbers: Numbers::Integers(integers),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match &self.numbers {
            Numbers::Floats(values, _) => values.len(),
            Numbers::Integers(values) => values.len(),
        }
    }

    pub(crate) fn integers(&self) -> Option<&[i64]> {
        match &self.numbers {
            Numbers::Integers(values) => Some(values),
            Numbers::Floats(..) => None,
        }
    }

    pub(crate) fn floats(&self) -> Option<&[f64]> {
        match &self.numbers {
            Numbers::Floats(values, _) => Some(values),
            Numbers::Integers(_) => None,
        }
    }
}

/// An element type, by the format's number for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    F32,
    F64,
    F16,
    Bf16,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    Bool,
}

impl Element {
    pub(crate) fn of(data_type: i32) -> Result<Self, String> {
        Ok(match data_type {
            1 => Self::F32,
            2 => Self::U8,
            3 => Self::I8,
            4 => Self::U16,
            5 => Self::I16,
            6 => Self::I32,
            7 => Self::I64,
            9 => Self::Bool,
            10 => Self::F16,
            11 => Self::F64,
            12 => Self::U32,
            13 => Self::U64,
            16 => Self::Bf16,
            _ => {
                let name = match data_type {
                    0 => "undefined",
                    8 => "string",
                    14 | 15 => "complex",
                    17..=20 => "8-bit float",
                    _ => "unknown",
                };
                return Err(format!(
                    "its element type is {name} (number {data_type}); floats of 16 to 64 bits, \
                     integers of 8 to 64 and bool are read"
                ));
            }
        })
    }

    /// The type in which numbers are kept, if they are real.
    pub(crate) fn float(self) -> Option<DType> {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => Some(DType::F32),
            Self::F64 => Some(DType::F64),
            _ => None,
        }
    }

    /// Bytes of a number.
    fn bytes(self) -> usize {
        match self {
            Self::I8 | Self::U8 | Self::Bool => 1,
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => 2,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F64 | Self::I64 | Self::U64 => 8,
        }
    }
}

/// Sizes along each axis, and how many elements they make.
///
/// # Errors
/// When a size is negative, or there are too many axes or elements.
pub(crate) fn sizes(dims: &[i64]) -> Result<(Vec<usize>, usize), String> {
    if dims.len() > MOST_AXES {
        let axes = dims.len();
        return Err(format!(
            "it has {axes} axes, and up to {MOST_AXES} are read"
        ));
    }
    let shape: Vec<usize> = (dims.iter())
        .map(|&size| {
            usize::try_from(size).map_err(|_| format!("its shape {dims:?} has a size {size}"))
        })
        .collect::<Result<_, _>>()?;
    let count = elements(&shape)?;
    Ok((shape, count))
}

/// Elements of a shape.
///
/// # Errors
/// When there are more than can be addressed, or would be without sizes of 0: any part of a shape that
/// was looked at can be multiplied.
pub(crate) fn elements(shape: &[usize]) -> Result<usize, String> {
    (shape.iter())
        .try_fold(1usize, |product, &size| product.checked_mul(size.max(1)))
        .filter(|&count| count <= isize::MAX as usize / 1024)
        .map(|count| if shape.contains(&0) { 0 } else { count })
        .ok_or_else(|| format!("its shape {shape:?} has more elements than can be addressed"))
}

/// The files in which a model keeps tensors.
pub(crate) struct Files {
    /// The model's folder; none where a model may not have files.
    folder: Option<PathBuf>,
    /// Bytes read of each file. Each byte belongs to one tensor, so memory stays bounded by files.
    read: HashMap<PathBuf, u64>,
}

impl Files {
    pub(crate) fn new(folder: Option<&Path>) -> Self {
        Self {
            folder: folder.map(Path::to_owned),
            read: HashMap::new(),
        }
    }

    /// A tensor's numbers.
    pub(crate) fn tensor(&mut self, tensor: &TensorProto) -> Result<Constant, String> {
        let element = Element::of(tensor.data_type)?;
        let (shape, count) = sizes(&tensor.dims)?;
        let numbers = match tensor.data_location {
            0 if tensor.raw_data.is_empty() => typed(tensor, element, count)?,
            0 => raw(&tensor.raw_data, element, count)?,
            1 => raw(&self.external(tensor, element, count)?, element, count)?,
            other => return Err(format!("its data location {other} is not known")),
        };
        Ok(Constant { shape, numbers })
    }

    /// A tensor with its numbers in itself, wherever they were.
    pub(crate) fn inlined(&mut self, tensor: &TensorProto) -> Result<TensorProto, String> {
        let (_, count) = sizes(&tensor.dims)?;
        let raw_data = self.external(tensor, Element::of(tensor.data_type)?, count)?;
        Ok(TensorProto {
            raw_data,
            external_data: Vec::new(),
            data_location: 0,
            ..tensor.clone()
        })
    }

    /// The bytes of a tensor that is kept in a file.
    fn external(
        &mut self,
        tensor: &TensorProto,
        element: Element,
        count: usize,
    ) -> Result<Vec<u8>, String> {
        let Some(folder) = &self.folder else {
            return Err(
                "it is kept in another file: only initialisers of a model file are".to_owned(),
            );
        };
        let entry = |key: &str| {
            let mut entries = tensor.external_data.iter();
            entries
                .find(|entry| entry.key == key)
                .map(|entry| &*entry.value)
        };
        let number = |key: &str| -> Result<Option<u64>, String> {
            let parse = |text: &str| {
                text.parse()
                    .map_err(|_| format!("the {key} '{text}' of its file is not a number"))
            };
            entry(key).map(parse).transpose()
        };
        let location = entry("location").ok_or("it is kept in a file that is not named")?;
        let failed = |error: std::io::Error| format!("its file '{location}': {error}");
        let folder = folder.canonicalize().map_err(failed)?;
        let path = folder.join(location).canonicalize().map_err(failed)?;
        // Links have been followed: what is looked at is where the file is.
        if !path.starts_with(&folder) || !path.is_file() {
            return Err(format!(
                "its file '{location}' is no file inside the model's folder"
            ));
        }
        let mut file = File::open(&path).map_err(failed)?;
        let there = file.metadata().map_err(failed)?.len();
        let offset = number("offset")?.unwrap_or(0);
        let after = there.checked_sub(offset);
        let length = match number("length")? {
            Some(length) => length,
            None => after.unwrap_or(0),
        };
        if after.is_none_or(|after| length > after) {
            return Err(format!(
                "{length} bytes at {offset} of its file '{location}' are past its end at {there}"
            ));
        }
        if element.bytes().checked_mul(count).map(|bytes| bytes as u64) != Some(length) {
            return Err(format!(
                "its file '{location}' has {length} bytes for {count} numbers of {} bytes",
                element.bytes()
            ));
        }
        let read = self.read.entry(path).or_default();
        *read = read.saturating_add(length);
        if *read > there {
            return Err(format!(
                "tensors up to it take more bytes of the file '{location}' than it has"
            ));
        }
        // No file is larger than memory's addresses where its numbers can be counted.
        let mut bytes = vec![0; length as usize];
        file.seek(SeekFrom::Start(offset)).map_err(failed)?;
        file.read_exact(&mut bytes).map_err(failed)?;
        Ok(bytes)
    }
}

fn miscounted(found: usize, what: &str, count: usize) -> String {
    format!("it has {found} {what} for {count} numbers")
}

/// Numbers from little-endian bytes.
fn raw(bytes: &[u8], element: Element, count: usize) -> Result<Numbers, String> {
    if element.bytes().checked_mul(count) != Some(bytes.len()) {
        let what = format!("bytes, {} each,", element.bytes());
        return Err(miscounted(bytes.len(), &what, count));
    }
    macro_rules! each {
        ($t:ty) => {
            bytes
                .as_chunks::<{ size_of::<$t>() }>()
                .0
                .iter()
                .map(|chunk| <$t>::from_le_bytes(*chunk))
        };
    }
    Ok(match element {
        Element::F32 => Numbers::Floats(each!(f32).map(f64::from).collect(), DType::F32),
        Element::F64 => Numbers::Floats(each!(f64).collect(), DType::F64),
        Element::F16 => Numbers::Floats(each!(f16).map(f64::from).collect(), DType::F32),
        Element::Bf16 => Numbers::Floats(each!(bf16).map(f64::from).collect(), DType::F32),
        Element::I8 => Numbers::Integers(each!(i8).map(i64::from).collect()),
        Element::I16 => Numbers::Integers(each!(i16).map(i64::from).collect()),
        Element::I32 => Numbers::Integers(each!(i32).map(i64::from).collect()),
        Element::I64 => Numbers::Integers(each!(i64).collect()),
        Element::U8 => Numbers::Integers(each!(u8).map(i64::from).collect()),
        Element::U16 => Numbers::Integers(each!(u16).map(i64::from).collect()),
        Element::U32 => Numbers::Integers(each!(u32).map(i64::from).collect()),
        Element::U64 => Numbers::Integers(each!(u64).map(signed).collect::<Result<_, _>>()?),
        Element::Bool => Numbers::Integers(each!(u8).map(|x| i64::from(x != 0)).collect()),
    })
}

/// Numbers from the field of their type.
fn typed(tensor: &TensorProto, element: Element, count: usize) -> Result<Numbers, String> {
    let checked = |found: usize| match found == count {
        true => Ok(()),
        false => Err(miscounted(found, "elements", count)),
    };
    let small = &tensor.int32_data;
    Ok(match element {
        Element::F32 => {
            checked(tensor.float_data.len())?;
            let wide = tensor.float_data.iter().map(|x| f64::from(*x));
            Numbers::Floats(wide.collect(), DType::F32)
        }
        Element::F64 => {
            checked(tensor.double_data.len())?;
            Numbers::Floats(tensor.double_data.clone(), DType::F64)
        }
        Element::F16 | Element::Bf16 => {
            checked(small.len())?;
            // Their bits are kept, in the lower half.
            let wide = |bits: &i32| match element {
                Element::F16 => f16::from_bits(*bits as u16).to_f64(),
                _ => bf16::from_bits(*bits as u16).to_f64(),
            };
            Numbers::Floats(small.iter().map(wide).collect(), DType::F32)
        }
        Element::I8 | Element::I16 | Element::I32 | Element::U8 | Element::U16 => {
            checked(small.len())?;
            Numbers::Integers(small.iter().map(|x| i64::from(*x)).collect())
        }
        Element::Bool => {
            checked(small.len())?;
            Numbers::Integers(small.iter().map(|x| i64::from(*x != 0)).collect())
        }
        Element::I64 => {
            checked(tensor.int64_data.len())?;
            Numbers::Integers(tensor.int64_data.clone())
        }
        Element::U32 | Element::U64 => {
            checked(tensor.uint64_data.len())?;
            let wide = tensor.uint64_data.iter().map(|x| signed(*x));
            Numbers::Integers(wide.collect::<Result<_, _>>()?)
        }
    })
}

fn signed(x: u64) -> Result<i64, String> {
    i64::try_from(x).map_err(|_| format!("its number {x} is past {}", i64::MAX))
}
