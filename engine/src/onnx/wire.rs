//! The fields of an encoded model, and a look at them before they are decoded. A message of two bytes may become a structure of
//! hundreds, so messages and strings are counted first; numbers take at most eight times their bytes.

use prost::bytes::Buf;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// Messages and strings that a model may have. A network of 10,000 operations has about 100,000.
const MOST_ENTRIES: usize = 1 << 20;

/// Messages in which further messages or strings are repeated.
#[derive(Debug, Clone, Copy)]
enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    Entry,
    Value,
    Type,
    TensorType,
    Shape,
    Dimension,
}

impl Message {
    /// The message in a field, by the numbers of `onnx.proto`.
    fn inside(self, tag: u32) -> Option<Self> {
        match (self, tag) {
            (Self::Model, 7) => Some(Self::Graph),
            (Self::Model, 8) => Some(Self::Entry),
            (Self::Graph, 1) => Some(Self::Node),
            (Self::Graph, 5) | (Self::Attribute, 5) => Some(Self::Tensor),
            (Self::Graph, 11 | 12) => Some(Self::Value),
            (Self::Node, 5) => Some(Self::Attribute),
            (Self::Tensor, 13) => Some(Self::Entry),
            (Self::Value, 2) => Some(Self::Type),
            (Self::Type, 1) => Some(Self::TensorType),
            (Self::TensorType, 2) => Some(Self::Shape),
            (Self::Shape, 1) => Some(Self::Dimension),
            _ => None,
        }
    }
}

/// Refuses bytes that are no model, or one of too many messages and strings.
pub(crate) fn check(bytes: &[u8]) -> Result<(), String> {
    let mut left = MOST_ENTRIES;
    walk(bytes, Message::Model, &mut left)
}

fn walk(bytes: &[u8], message: Message, left: &mut usize) -> Result<(), String> {
    for field in fields(bytes) {
        let field = field?;
        let Some(content) = field.content else {
            continue;
        };
        *left = left.checked_sub(1).ok_or_else(|| {
            format!("it has more than {MOST_ENTRIES} messages and strings, which no network needs")
        })?;
        if let Some(inside) = message.inside(field.tag) {
            walk(content, inside, left)?;
        }
    }
    Ok(())
}

/// A field of an encoded message.
pub(crate) struct Field<'a> {
    pub(crate) tag: u32,
    /// With its key.
    pub(crate) whole: &'a [u8],
    /// Of a message, a string or bytes, without key and length.
    pub(crate) content: Option<&'a [u8]>,
}

/// The fields of an encoded message, up to the first that is none.
pub(crate) fn fields(mut bytes: &[u8]) -> impl Iterator<Item = Result<Field<'_>, String>> {
    std::iter::from_fn(move || {
        if !bytes.has_remaining() {
            return None;
        }
        let field = next(&mut bytes);
        if field.is_err() {
            bytes = &[];
        }
        Some(field)
    })
}

fn next<'a>(bytes: &mut &'a [u8]) -> Result<Field<'a>, String> {
    let broken = |error: prost::DecodeError| format!("it is no ONNX model, or cut off: {error}");
    let start = *bytes;
    let (tag, wire) = decode_key(bytes).map_err(broken)?;
    let mut content = None;
    if wire == WireType::LengthDelimited {
        let length = decode_varint(bytes).map_err(broken)?;
        let Some(found) = usize::try_from(length).ok().and_then(|n| bytes.get(..n)) else {
            let there = bytes.len();
            return Err(format!(
                "it is no ONNX model, or cut off: a field of {length} bytes where {there} are left"
            ));
        };
        bytes.advance(found.len());
        content = Some(found);
    } else {
        skip_field(wire, tag, bytes, DecodeContext::default()).map_err(broken)?;
    }
    let whole = &start[..start.len() - bytes.len()];
    Ok(Field {
        tag,
        whole,
        content,
    })
}
