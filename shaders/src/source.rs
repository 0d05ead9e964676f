//! The text of the shaders.

/// A kernel family: a file of entry points and the fragments it needs beside those that all need.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// Its name: that of its CPU twin, where several files make up one followed by what is in each.
    pub name: &'static str,
    /// Its entry points.
    pub entries: &'static [&'static str],
    pub(crate) source: &'static str,
    pub(crate) fragments: &'static [&'static str],
}

macro_rules! shared {
    ($name:literal) => {
        include_str!(concat!("../wgsl/shared/", $name, ".wgsl"))
    };
}

macro_rules! family {
    ($name:literal, [$($entry:literal),* $(,)?], [$($fragment:literal),* $(,)?]) => {
        Family {
            name: $name,
            entries: &[$($entry),*],
            source: include_str!(concat!("../wgsl/", $name, ".wgsl")),
            fragments: &[$(shared!($fragment)),*],
        }
    };
}

pub(crate) const COMMON: &str = shared!("common");
pub(crate) const FORM_REAL: &str = shared!("form_real");
pub(crate) const FORM_TWO: &str = shared!("form_two");
pub(crate) const FORM_MANY: &str = shared!("form_many");
pub(crate) const FORM_POLYNOMIAL: &str = shared!("form_polynomial");
pub(crate) const OPERAND: &str = shared!("operand");
pub(crate) const OPERAND_SCALARS: &str = shared!("operand_scalars");
pub(crate) const OPERAND_VECTORS: &str = shared!("operand_vectors");
pub(crate) const OPERAND_CIPHERTEXT: &str = shared!("operand_ciphertext");
pub(crate) const OPERAND_PLAINTEXT: &str = shared!("operand_plaintext");
pub(crate) const OPERAND_WRITTEN: &str = shared!("operand_written");
pub(crate) const PRODUCT_PLAIN: &str = shared!("product_plain");
pub(crate) const PRODUCT_COMPACT2: &str = shared!("product_compact2");
pub(crate) const PRODUCT_PROGRAM: &str = shared!("product_program");
pub(crate) const PRODUCT_BLOCKS: &str = shared!("product_blocks");

/// Every kernel family, the guard's, and what kernels are held against.
pub const FAMILIES: &[Family] = &[
    family!(
        "block_matmul",
        ["block_matmul"],
        ["elementary", "functions", "epilogue", "gemm", "parts"]
    ),
    family!(
        "conv2d",
        ["conv2d", "conv2d_gradient_input"],
        [
            "elementary",
            "functions",
            "epilogue",
            "gemm",
            "tiles",
            "windows",
            "scratch",
            "parts",
            "steps",
            "step_gradient"
        ]
    ),
    family!(
        "conv2d_pooled",
        ["conv2d_pooled"],
        ["tiles", "scratch", "steps"]
    ),
    family!(
        "conv2d_weights",
        ["conv2d_gradient_weights"],
        [
            "gemm",
            "tiles",
            "windows",
            "scratch",
            "steps",
            "step_gradient"
        ]
    ),
    family!(
        "conv2d_sums",
        ["conv2d_gradient_bias", "add_pieces"],
        ["tiles", "scratch", "parts", "steps", "step_gradient"]
    ),
    family!(
        "pool",
        [
            "pool",
            "pool_gradient",
            "rectified_pool",
            "rectified_pool_gradient"
        ],
        ["tiles", "windows"]
    ),
    family!(
        "function_map",
        ["function_map", "function_map_gradient"],
        ["elementary", "functions"]
    ),
    family!("elementwise", ["linear", "multiply", "divide"], []),
    family!(
        "poly_map",
        [
            "poly_map",
            "poly_map_gradient",
            "poly_map_coefficient_gradient",
            "poly_map_coefficient_gradient_of_chunks"
        ],
        ["parts"]
    ),
    family!("poly_map_composed", ["poly_map_composed"], []),
    family!("convert", ["linear_map", "transpose", "strided_copy"], []),
    family!(
        "reduce",
        [
            "sum",
            "combine",
            "maximum",
            "max_gradient",
            "slot_maxima",
            "softmax",
            "log_softmax",
            "softmax_gradient",
            "log_softmax_gradient",
            "softmax_cross_entropy",
            "softmax_cross_entropy_gradient",
            "binary_cross_entropy",
            "binary_cross_entropy_gradient",
            "mean_squared_error",
        ],
        ["elementary", "parts"]
    ),
    family!("update", ["sgd", "adam", "clip"], []),
    family!("guard", ["verdict"], []),
    family!("peak", ["fused_multiply_adds", "copy"], []),
];

/// The family of that name.
pub(crate) fn family(name: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| family.name == name)
}
