//! Models made in code, to be spoilt.

use furthermore::network::Network;
use furthermore::onnx::{Imported, OnnxOptions};
use prost::Message;

#[rustfmt::skip]
#[allow(dead_code, unreachable_pub, clippy::all, reason = "the engine's own file, of prost's code")]
#[path = "../../../src/onnx/generated.rs"]
pub(crate) mod generated;

pub(crate) use generated::*;

/// Attribute types, by the format's numbers.
pub(crate) const FLOAT: i32 = 1;
pub(crate) const INT: i32 = 2;
pub(crate) const STRING: i32 = 3;
pub(crate) const INTS: i32 = 7;

pub(crate) fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        i,
        r#type: INT,
        ..Default::default()
    }
}

pub(crate) fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        ints: ints.to_vec(),
        r#type: INTS,
        ..Default::default()
    }
}

pub(crate) fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        f,
        r#type: FLOAT,
        ..Default::default()
    }
}

pub(crate) fn text(name: &str, text: &str) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        s: text.as_bytes().to_vec(),
        r#type: STRING,
        ..Default::default()
    }
}

pub(crate) fn node(
    operator: &str,
    inputs: &[&str],
    outputs: &[&str],
    attributes: &[AttributeProto],
) -> NodeProto {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    NodeProto {
        input: names(inputs),
        output: names(outputs),
        op_type: operator.to_owned(),
        attribute: attributes.to_vec(),
        ..Default::default()
    }
}

pub(crate) fn floats(name: &str, shape: &[i64], values: &[f32]) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: shape.to_vec(),
        data_type: 1,
        float_data: values.to_vec(),
        ..Default::default()
    }
}

pub(crate) fn integers(name: &str, shape: &[i64], values: &[i64]) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: shape.to_vec(),
        data_type: 7,
        int64_data: values.to_vec(),
        ..Default::default()
    }
}

/// A value of real numbers; a size of 0 is one that has a name, 'open'.
pub(crate) fn value(name: &str, shape: &[i64]) -> ValueInfoProto {
    use tensor_shape_proto::{Dimension, dimension::Value};
    let dimension = |&size: &i64| Dimension {
        value: Some(match size {
            0 => Value::DimParam("open".to_owned()),
            size => Value::DimValue(size),
        }),
    };
    let shape = TensorShapeProto {
        dim: shape.iter().map(dimension).collect(),
    };
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto {
            tensor_type: Some(type_proto::Tensor {
                elem_type: 1,
                shape: Some(shape),
            }),
        }),
    }
}

/// A model of opset 18 of these nodes, with an input `x` of [batch, 4, 6] and an output `y`.
pub(crate) fn model(nodes: &[NodeProto], initialisers: &[TensorProto]) -> ModelProto {
    ModelProto {
        ir_version: 8,
        graph: Some(GraphProto {
            node: nodes.to_vec(),
            initializer: initialisers.to_vec(),
            input: vec![value("x", &[0, 4, 6])],
            output: vec![value("y", &[])],
            ..Default::default()
        }),
        opset_import: vec![OperatorSetIdProto {
            domain: String::new(),
            version: 18,
        }],
        ..Default::default()
    }
}

/// Imports a model for a batch of 3, with all its outputs.
pub(crate) fn import(model: &ModelProto) -> furthermore::Result<Imported> {
    import_bytes(&model.encode_to_vec())
}

pub(crate) fn import_bytes(bytes: &[u8]) -> furthermore::Result<Imported> {
    let options = OnnxOptions {
        batch: 3,
        ..OnnxOptions::default()
    };
    Network::from_onnx_bytes(bytes, &options)
}
