//! The part of ONNX's protobuf schema that our networks use (field numbers of the public
//! onnx.proto).

use crate::error::{Error, Result};
use prost::Message;
use prost::encoding::{WireType, decode_key, decode_varint};

/// Most fields of a file, at all depths together; a student of 64 convolutions has less than half of them.
const MOST_FIELDS: usize = 1 << 16;

/// A text counts as one field more for as many bytes, so that messages can quote it.
const TEXT_BYTES: usize = 64;

/// Parses a file, whose fields are counted before: an empty message takes two bytes of a file and a hundred of memory.
///
/// # Errors
/// Not protobuf, another schema, or more fields than any of our networks has.
pub fn parse(bytes: &[u8]) -> Result<Model> {
    let wrong = || Error::model("is not an ONNX model");
    let mut fields = 0;
    Holds::Model.count(bytes, &mut fields).ok_or_else(|| wrong().caused_by("its protobuf is malformed or cut off"))?;
    if fields > MOST_FIELDS {
        return Err(Error::model(format!("has more than {MOST_FIELDS} fields, which no network of ours has")));
    }
    Model::decode(bytes).map_err(|e| wrong().caused_by(e))
}

/// What a length-delimited field holds.
#[derive(Clone, Copy)]
enum Holds {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    ValueInfo,
    ValueType,
    TensorType,
    Shape,
    /// A message of numbers and texts.
    Flat,
    /// Integers, of one byte each at least.
    Packed,
    /// Text, or what is passed over.
    Text,
    /// A tensor's values.
    Values,
}

impl Holds {
    fn field(self, tag: u32) -> Self {
        match (self, tag) {
            (Self::Model, 7) => Self::Graph,
            (Self::Model, 8 | 14) | (Self::Shape, 1) => Self::Flat,
            (Self::Graph, 1) => Self::Node,
            (Self::Graph, 5) => Self::Tensor,
            (Self::Graph, 11 | 12) => Self::ValueInfo,
            (Self::Node, 5) => Self::Attribute,
            (Self::Attribute, 8) | (Self::Tensor, 1) => Self::Packed,
            (Self::Tensor, 9) => Self::Values,
            (Self::ValueInfo, 2) => Self::ValueType,
            (Self::ValueType, 1) => Self::TensorType,
            (Self::TensorType, 2) => Self::Shape,
            _ => Self::Text,
        }
    }

    /// Adds the fields in `bytes` up to the first past the limit; `None` if they are malformed.
    fn count(self, mut bytes: &[u8], seen: &mut usize) -> Option<()> {
        let flat = match self {
            Self::Values => Some(0),
            Self::Text => Some(bytes.len() / TEXT_BYTES),
            Self::Packed => Some(bytes.len()),
            _ => None,
        };
        if let Some(count) = flat {
            *seen += count;
            return Some(());
        }
        while !bytes.is_empty() && *seen <= MOST_FIELDS {
            *seen += 1;
            let (tag, wire) = decode_key(&mut bytes).ok()?;
            let length = match wire {
                WireType::Varint => decode_varint(&mut bytes).ok().map(|_| 0)?,
                WireType::SixtyFourBit => 8,
                WireType::ThirtyTwoBit => 4,
                WireType::LengthDelimited => usize::try_from(decode_varint(&mut bytes).ok()?).ok()?,
                // Groups, which ONNX does not use.
                WireType::StartGroup | WireType::EndGroup => return None,
            };
            let (field, rest) = bytes.split_at_checked(length)?;
            if wire == WireType::LengthDelimited {
                self.field(tag).count(field, seen)?;
            }
            bytes = rest;
        }
        Some(())
    }
}

#[derive(Clone, PartialEq, Message)]
pub struct Model {
    #[prost(int64, tag = "1")]
    pub ir_version: i64,
    #[prost(string, tag = "2")]
    pub producer_name: String,
    #[prost(message, optional, tag = "7")]
    pub graph: Option<Graph>,
    #[prost(message, repeated, tag = "8")]
    pub opset_import: Vec<Opset>,
    #[prost(message, repeated, tag = "14")]
    pub metadata_props: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Opset {
    #[prost(string, tag = "1")]
    pub domain: String,
    #[prost(int64, tag = "2")]
    pub version: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct Entry {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct Graph {
    #[prost(message, repeated, tag = "1")]
    pub node: Vec<Node>,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(message, repeated, tag = "5")]
    pub initializer: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    pub input: Vec<ValueInfo>,
    #[prost(message, repeated, tag = "12")]
    pub output: Vec<ValueInfo>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Node {
    #[prost(string, repeated, tag = "1")]
    pub input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub output: Vec<String>,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(string, tag = "4")]
    pub op_type: String,
    #[prost(message, repeated, tag = "5")]
    pub attribute: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Attribute {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(int64, optional, tag = "3")]
    pub i: Option<i64>,
    #[prost(int64, repeated, tag = "8")]
    pub ints: Vec<i64>,
    #[prost(int32, tag = "20")]
    pub kind: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct Tensor {
    #[prost(int64, repeated, tag = "1")]
    pub dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    pub data_type: i32,
    #[prost(string, tag = "8")]
    pub name: String,
    #[prost(bytes = "vec", tag = "9")]
    pub raw_data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ValueInfo {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub kind: Option<ValueType>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ValueType {
    #[prost(message, optional, tag = "1")]
    pub tensor: Option<TensorType>,
}

#[derive(Clone, PartialEq, Message)]
pub struct TensorType {
    #[prost(int32, tag = "1")]
    pub elem_type: i32,
    #[prost(message, optional, tag = "2")]
    pub shape: Option<Shape>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Shape {
    #[prost(message, repeated, tag = "1")]
    pub dim: Vec<Dim>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Dim {
    #[prost(int64, tag = "1")]
    pub dim_value: i64,
    /// Names a length that a file leaves open; `dim_value` is then 0.
    #[prost(string, tag = "2")]
    pub dim_param: String,
}

/// ONNX element types.
pub const FLOAT: i32 = 1;
pub const UINT8: i32 = 2;
pub const INT8: i32 = 3;
pub const INT32: i32 = 6;
pub const INT64: i32 = 7;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Bundle, Precision, onnx};

    /// A field whose number has one byte.
    fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![tag << 3 | 2];
        prost::encoding::encode_varint(bytes.len() as u64, &mut out);
        out.extend_from_slice(bytes);
        out
    }

    #[test]
    fn what_is_small_in_a_file_and_large_in_memory_is_refused() {
        let many = |tag: u8| field(tag, &[]).repeat(MOST_FIELDS + 1);
        let files = [
            ("nodes", field(7, &many(1))),
            ("tensors", field(7, &many(5))),
            ("inputs of a node", field(7, &field(1, &many(1)))),
            ("values", field(7, &many(11))),
            ("metadata", many(14)),
            ("a name of megabytes", field(7, &field(1, &field(3, &vec![b'n'; MOST_FIELDS * TEXT_BYTES])))),
            ("several graphs", field(7, &field(1, &[]).repeat(MOST_FIELDS / 2)).repeat(2)),
            ("numbers of an attribute", field(7, &field(1, &field(5, &field(8, &vec![0; MOST_FIELDS]))))),
            ("dims of a tensor", field(7, &field(5, &field(1, &vec![0; MOST_FIELDS])))),
            ("dims of a value", field(7, &field(12, &field(2, &field(1, &field(2, &many(1))))))),
        ];
        for (what, file) in files {
            let e = parse(&file).err().unwrap().to_string();
            assert!(e.contains("has more than 65536 fields"), "{what}: {e}");
        }
        for file in [vec![7 << 3 | 3], vec![7 << 3 | 2, 200, 1], vec![0xff; 20]] {
            assert!(parse(&file).err().unwrap().to_string().contains("is not an ONNX model"));
        }
    }

    #[test]
    fn a_student_has_a_small_share_of_the_fields() {
        let student = Bundle::shipped().unwrap().student(Precision::Int8).unwrap();
        let mut fields = 0;
        Holds::Model.count(&onnx::write_student(&student), &mut fields).unwrap();
        assert!((100..MOST_FIELDS / 16).contains(&fields), "{fields} of 8 convolutions");
    }
}
