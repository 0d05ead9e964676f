//! The header of a `.npy` file.

use std::io::Read;

use half::f16;

use crate::io::cut_short;
use crate::tensor::DType;

/// What a file starts with.
pub(super) const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// As many axes as NumPy allows.
pub(super) const MAX_AXES: usize = 64;
/// The longest header that is read; NumPy's own take about a hundred bytes.
const MAX_HEADER: usize = 1 << 16;

/// What stands before the elements.
#[derive(Debug, PartialEq)]
pub(super) struct Header {
    /// What the elements are.
    pub(super) number: Number,
    /// Whether the first axis moves first.
    pub(super) fortran_order: bool,
    /// Sizes of the axes.
    pub(super) shape: Vec<usize>,
    /// Bytes before the first element.
    pub(super) bytes: u64,
}

/// An element type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Number {
    kind: Kind,
    /// Bytes of an element.
    pub(super) bytes: usize,
    big_endian: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Boolean,
    Signed,
    Unsigned,
    Float,
}

/// The header of an array in C order, padded so that elements start at a multiple of 64 bytes of a
/// file of version 1.
pub(super) fn text(shape: &[usize], dtype: DType) -> String {
    let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
    // A tuple of one needs its comma.
    let comma = if shape.len() == 1 { "," } else { "" };
    let text = format!(
        "{{'descr': '<f{}', 'fortran_order': False, 'shape': ({}{comma}), }}",
        dtype.size(),
        sizes.join(", ")
    );
    let before = MAGIC.len() + 4;
    let end = (before + text.len() + 1).next_multiple_of(64);
    format!("{text:0$}\n", end - before - 1)
}

impl Header {
    /// Reads magic string, version, length and header.
    pub(super) fn read(from: &mut impl Read) -> Result<Self, String> {
        let mut start = [0; MAGIC.len() + 2];
        from.read_exact(&mut start).map_err(cut_short)?;
        let Some([version, _]) = start.strip_prefix(MAGIC) else {
            return Err("not a .npy file".to_owned());
        };
        let wide = match version {
            1 => 2,
            2 | 3 => 4,
            _ => return Err(format!("version {version} of .npy, where 1 to 3 are known")),
        };
        let mut length = [0; 4];
        from.read_exact(&mut length[..wide]).map_err(cut_short)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > MAX_HEADER {
            return Err(format!(
                "a header of {length} bytes, where {MAX_HEADER} are the most"
            ));
        }
        let mut text = vec![0; length];
        from.read_exact(&mut text).map_err(cut_short)?;
        let text = str::from_utf8(&text).map_err(|_| "its header is not text".to_owned())?;
        let (number, fortran_order, shape) = dictionary(text)?;
        Ok(Self {
            number,
            fortran_order,
            shape,
            bytes: (start.len() + wide + length) as u64,
        })
    }
}

impl Number {
    /// The type that NumPy describes so: byte order, kind, bytes.
    fn parse(description: &str) -> Result<Self, String> {
        let unknown = || {
            format!(
                "elements of type '{description}', where booleans, integers and floating-point \
                 numbers of up to 64 bits are known"
            )
        };
        let mut characters = description.chars();
        let order = characters.next();
        let kind = characters.next();
        let bytes = match characters.as_str() {
            "1" => 1,
            "2" => 2,
            "4" => 4,
            "8" => 8,
            _ => return Err(unknown()),
        };
        let kind = match (kind, bytes) {
            (Some('b'), 1) => Kind::Boolean,
            (Some('i'), _) => Kind::Signed,
            (Some('u'), _) => Kind::Unsigned,
            (Some('f'), 2..) => Kind::Float,
            _ => return Err(unknown()),
        };
        let big_endian = match order {
            Some('<') => false,
            Some('>') => true,
            Some('|') if bytes == 1 => false,
            _ => return Err(unknown()),
        };
        Ok(Self {
            kind,
            bytes,
            big_endian,
        })
    }

    /// The value of an element; integers past 2^53 are rounded.
    pub(super) fn value(self, element: &[u8]) -> f64 {
        let mut bytes = [0; 8];
        bytes[..self.bytes].copy_from_slice(element);
        if self.big_endian {
            bytes[..self.bytes].reverse();
        }
        let bits = u64::from_le_bytes(bytes);
        match (self.kind, self.bytes) {
            (Kind::Boolean, _) => f64::from(u8::from(bits != 0)),
            (Kind::Unsigned, _) => bits as f64,
            (Kind::Signed, bytes) => {
                let unused = 64 - 8 * bytes;
                ((bits << unused) as i64 >> unused) as f64
            }
            (Kind::Float, 2) => f16::from_bits(bits as u16).to_f64(),
            (Kind::Float, 4) => f32::from_bits(bits as u32).into(),
            (Kind::Float, _) => f64::from_bits(bits),
        }
    }
}

/// Reads the Python dictionary: element type, Fortran order, shape, in any order.
fn dictionary(text: &str) -> Result<(Number, bool, Vec<usize>), String> {
    let mut left = Text(text);
    let (mut number, mut fortran_order, mut shape) = (None, None, None);
    left.expect('{')?;
    while !left.take('}') {
        let key = left.quoted()?;
        left.expect(':')?;
        match key {
            "descr" => number = Some(Number::parse(left.quoted()?)?),
            "fortran_order" => fortran_order = Some(left.boolean()?),
            "shape" => shape = Some(left.sizes()?),
            _ => {
                return Err(format!(
                    "its header has a field '{key}', which is not known"
                ));
            }
        }
        if !left.take(',') {
            left.expect('}')?;
            break;
        }
    }
    if !left.0.trim().is_empty() {
        return Err("its header goes on after the dictionary".to_owned());
    }
    match (number, fortran_order, shape) {
        (Some(number), Some(fortran_order), Some(shape)) => Ok((number, fortran_order, shape)),
        _ => Err("its header lacks one of 'descr', 'fortran_order' and 'shape'".to_owned()),
    }
}

/// What is left to read of a header.
struct Text<'a>(&'a str);

impl<'a> Text<'a> {
    /// Takes the next character if it is this one, whatever spaces stand before it.
    fn take(&mut self, character: char) -> bool {
        let rest = self.0.trim_start().strip_prefix(character);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn expect(&mut self, character: char) -> Result<(), String> {
        if self.take(character) {
            return Ok(());
        }
        Err(format!("its header lacks a '{character}'"))
    }

    fn quoted(&mut self) -> Result<&'a str, String> {
        let quote = if self.take('"') {
            '"'
        } else {
            self.expect('\'')?;
            '\''
        };
        let Some((quoted, rest)) = self.0.split_once(quote) else {
            return Err(format!("its header lacks a {quote}"));
        };
        self.0 = rest;
        Ok(quoted)
    }

    /// The letters and digits that come next.
    fn word(&mut self) -> &'a str {
        let text = self.0.trim_start();
        let end = text.find(|c: char| !c.is_ascii_alphanumeric());
        let (word, rest) = text.split_at(end.unwrap_or(text.len()));
        self.0 = rest;
        word
    }

    fn boolean(&mut self) -> Result<bool, String> {
        match self.word() {
            "True" => Ok(true),
            "False" => Ok(false),
            other => Err(format!(
                "its header has '{other}' where True or False belongs"
            )),
        }
    }

    fn sizes(&mut self) -> Result<Vec<usize>, String> {
        self.expect('(')?;
        let mut sizes = Vec::new();
        while !self.take(')') {
            let word = self.word();
            let size = word.parse();
            sizes.push(size.map_err(|_| format!("'{word}' is no size of an axis"))?);
            if sizes.len() > MAX_AXES {
                return Err(format!("more than {MAX_AXES} axes"));
            }
            if !self.take(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(sizes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_they_are_written() {
        for shape in [&[][..], &[0], &[7], &[2, 3], &[1; MAX_AXES]] {
            for dtype in [DType::F32, DType::F64] {
                let text = text(shape, dtype);
                assert_eq!((text.len() + 10) % 64, 0);
                let (number, fortran_order, found) = dictionary(&text).expect("its own");
                assert_eq!((&*found, fortran_order), (shape, false));
                assert_eq!((number.kind, number.bytes), (Kind::Float, dtype.size()));
            }
        }
    }

    #[test]
    fn other_spellings_are_read() {
        let text = "  { \"shape\" :( 3,4 , ),'fortran_order':True,'descr':\">i2\"}  \n";
        let (number, fortran_order, shape) = dictionary(text).expect("a header");
        assert_eq!((shape, fortran_order), (vec![3, 4], true));
        assert!(number.big_endian && number.kind == Kind::Signed && number.bytes == 2);
    }

    #[test]
    fn values_of_every_type() {
        let value = |description: &str, bytes: &[u8]| {
            Number::parse(description).expect("a type").value(bytes)
        };
        assert_eq!(value("|b1", &[1]), 1.0);
        assert_eq!(value("|i1", &[0x80]), -128.0);
        assert_eq!(value("|u1", &[0x80]), 128.0);
        assert_eq!(value("<i2", &[0xfe, 0xff]), -2.0);
        assert_eq!(value(">i2", &[0xfe, 0xff]), -257.0);
        assert_eq!(value("<u4", &u32::MAX.to_le_bytes()), 4_294_967_295.0);
        assert_eq!(value(">i8", &i64::MIN.to_be_bytes()), -(2f64.powi(63)));
        assert_eq!(value("<f2", &[0x00, 0xbc]), -1.0);
        assert_eq!(value(">f4", &0.1f32.to_be_bytes()), f64::from(0.1f32));
        assert_eq!(value("<f8", &1e-300f64.to_le_bytes()), 1e-300);
        for wrong in [
            "", "<", "<f", "<f3", "<f16", "|f4", "=f4", "<c8", "|O", "<U4", "<i+4",
        ] {
            assert!(Number::parse(wrong).is_err(), "{wrong}");
        }
    }
}
