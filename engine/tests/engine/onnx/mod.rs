//! ONNX models: what is read, what is refused, and that a network from a file computes what its
//! exporter's framework computed.

mod schema;
