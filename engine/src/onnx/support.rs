//! The one table of operators: what is dispatched on, and what `ONNX.md` is made from.

use std::fmt::Write;
use std::rc::Rc;

use super::fold;
use super::import::{
    Importer, Made, elementwise as e, functions as f, images as i, normalization as n, pad,
    products as p, reductions as r, shapes as s, softplus,
};
use super::model::OPSETS;
use super::node::{Bound, Known, Node, Step};
use super::tensor::Constant;

/// Adds to a network what computes a node.
pub(crate) type Lower = fn(&mut Importer<'_>, &Node<'_>) -> Made;

/// Computes a node whose inputs are known.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fold {
    /// Moves numbers only, each of which a file has: a weight stays one.
    Moves(fn(&Node<'_>) -> Step<Constant>),
    /// Computes others.
    Computes(fn(&Node<'_>) -> Step<Constant>),
}

/// What is known of an operator.
pub(crate) struct Operator {
    name: &'static str,
    /// Attributes that its code looks at, or that say nothing where nothing is trained.
    pub(crate) attributes: &'static [&'static str],
    /// On what is computed at each run.
    pub(crate) lower: Option<Lower>,
    /// On what is known when the model is read.
    pub(crate) fold: Option<Fold>,
    /// What of it is taken, where that is not all.
    limits: &'static str,
}

/// The operator of that name, of ONNX's own domain.
pub(crate) fn operator(name: &str) -> Option<&'static Operator> {
    (OPERATORS
        .binary_search_by(|operator| operator.name.cmp(name))
        .ok())
    .map(|at| &OPERATORS[at])
}

/// A value that was worked out and is no weight.
pub(crate) fn known(name: &str, constant: Constant) -> Bound {
    Bound::Known(Rc::new(Known {
        name: name.to_owned(),
        constant,
        weight: false,
    }))
}

const fn lowered(
    name: &'static str,
    attributes: &'static [&'static str],
    lower: Lower,
) -> Operator {
    Operator {
        name,
        attributes,
        lower: Some(lower),
        fold: None,
        limits: "",
    }
}

const fn folded(name: &'static str, attributes: &'static [&'static str], fold: Fold) -> Operator {
    Operator {
        name,
        attributes,
        lower: None,
        fold: Some(fold),
        limits: "",
    }
}

impl Operator {
    const fn or(self, fold: Fold) -> Self {
        Self {
            fold: Some(fold),
            ..self
        }
    }

    const fn limited(self, limits: &'static str) -> Self {
        Self { limits, ..self }
    }
}

use Fold::{Computes, Moves};

const REDUCED: &[&str] = &["axes", "keepdims", "noop_with_empty_axes"];
const NONE: &[&str] = &[];

/// All operators, by name.
static OPERATORS: &[Operator] = &[
    lowered("Abs", NONE, f::abs).or(Computes(fold::absolute)),
    lowered("Add", NONE, e::add).or(Computes(fold::add)),
    folded("And", NONE, Computes(fold::and)),
    lowered(
        "AveragePool",
        &[
            "auto_pad",
            "ceil_mode",
            "count_include_pad",
            "dilations",
            "kernel_shape",
            "pads",
            "strides",
        ],
        i::average_pool,
    )
    .limited("one or two axes"),
    lowered(
        "BatchNormalization",
        &["epsilon", "momentum", "spatial", "training_mode"],
        n::batch_normalization,
    )
    .limited("for inference; folded into the product before it where it can be"),
    lowered("Cast", &["to", "saturate", "round_mode"], s::cast)
        .or(Moves(fold::cast))
        .limited("of what is computed, between floats"),
    folded("Ceil", NONE, Computes(fold::ceil)),
    lowered("Clip", &["max", "min"], f::clip).limited("between known bounds"),
    lowered("Concat", &["axis"], s::concat).or(Moves(fold::concat)),
    folded(
        "Constant",
        &[
            "value",
            "value_float",
            "value_floats",
            "value_int",
            "value_ints",
        ],
        Moves(fold::constant),
    )
    .limited("of numbers"),
    folded(
        "ConstantOfShape",
        &["value"],
        Computes(fold::constant_of_shape),
    ),
    lowered(
        "Conv",
        &[
            "auto_pad",
            "dilations",
            "group",
            "kernel_shape",
            "pads",
            "strides",
        ],
        p::conv,
    )
    .limited("one or two axes"),
    lowered("Div", NONE, e::divide).or(Computes(fold::divide)),
    lowered("Dropout", &["ratio", "seed"], s::dropout)
        .limited("for inference, where it does nothing"),
    lowered("Elu", &["alpha"], f::elu),
    folded("Equal", NONE, Computes(fold::equal)),
    lowered("Erf", NONE, f::erf),
    lowered("Exp", NONE, f::exp).or(Computes(fold::exp)),
    lowered("Expand", NONE, s::expand)
        .or(Computes(fold::expand))
        .limited("of what is computed, to its own shape"),
    lowered("Flatten", &["axis"], s::flatten).or(Moves(fold::flatten)),
    folded("Floor", NONE, Computes(fold::floor)),
    lowered("Gather", &["axis"], s::gather)
        .or(Computes(fold::gather))
        .limited("of what is computed, one known place along an axis"),
    lowered("Gelu", &["approximate"], f::gelu),
    lowered("Gemm", &["alpha", "beta", "transA", "transB"], p::gemm),
    lowered("GlobalAveragePool", NONE, i::global_average_pool).limited("one or two axes"),
    lowered("Greater", NONE, softplus::greater)
        .or(Computes(fold::greater))
        .limited("of what is computed, as PyTorch writes softplus"),
    lowered("HardSigmoid", &["alpha", "beta"], f::hard_sigmoid),
    lowered("Identity", NONE, s::identity),
    lowered(
        "LayerNormalization",
        &["axis", "epsilon", "stash_type"],
        n::layer_normalization,
    )
    .limited("without `Mean` and `InvStdDev`"),
    lowered("LeakyRelu", &["alpha"], f::leaky_relu),
    folded("Less", NONE, Computes(fold::less)),
    lowered("Log", NONE, f::log).or(Computes(fold::ln)),
    lowered("LogSoftmax", &["axis"], r::log_softmax),
    lowered("MatMul", NONE, p::matmul)
        .limited("axes before the last two are alike, or one operand is one matrix"),
    lowered("Max", NONE, e::maximum).or(Computes(fold::maximum)),
    lowered(
        "MaxPool",
        &[
            "auto_pad",
            "ceil_mode",
            "dilations",
            "kernel_shape",
            "pads",
            "storage_order",
            "strides",
        ],
        i::max_pool,
    )
    .limited("one or two axes, without `Indices`"),
    lowered("Mean", NONE, e::mean),
    lowered("Min", NONE, e::minimum).or(Computes(fold::minimum)),
    folded("Mod", &["fmod"], Computes(fold::modulo)),
    lowered("Mul", NONE, e::multiply).or(Computes(fold::multiply)),
    lowered("Neg", NONE, f::negate).or(Computes(fold::negate)),
    folded("Not", NONE, Computes(fold::not)),
    folded("Or", NONE, Computes(fold::or)),
    lowered("PRelu", NONE, f::prelu),
    lowered("Pad", &["mode", "pads", "value"], pad::pad).limited("adds, and cuts nothing"),
    lowered("Pow", NONE, f::power)
        .or(Computes(fold::power))
        .limited("of what is computed, to one known integer, at most 63 in size and not 0"),
    folded("Range", NONE, Computes(fold::range)),
    lowered("Reciprocal", NONE, f::reciprocal).or(Computes(fold::reciprocal)),
    lowered("ReduceMax", REDUCED, r::max).or(Computes(fold::reduce_max)),
    lowered("ReduceMean", REDUCED, r::mean).or(Computes(fold::reduce_mean)),
    folded("ReduceMin", REDUCED, Computes(fold::reduce_min)),
    folded("ReduceProd", REDUCED, Computes(fold::reduce_product)),
    lowered("ReduceSum", REDUCED, r::sum).or(Computes(fold::reduce_sum)),
    lowered("Relu", NONE, f::relu),
    lowered("Reshape", &["allowzero"], s::reshape).or(Moves(fold::reshape)),
    lowered("Shape", &["end", "start"], s::shape),
    lowered("Sigmoid", NONE, f::sigmoid),
    lowered("Size", NONE, s::size),
    lowered("Slice", &["axes", "ends", "starts"], s::slice).or(Moves(fold::slice)),
    lowered("Softmax", &["axis"], r::softmax),
    lowered("Softplus", NONE, f::softplus),
    lowered("Split", &["axis", "num_outputs", "split"], s::split),
    lowered("Sqrt", NONE, f::sqrt).or(Computes(fold::sqrt)),
    lowered("Squeeze", &["axes"], s::squeeze).or(Moves(fold::squeeze)),
    lowered("Sub", NONE, e::subtract).or(Computes(fold::subtract)),
    lowered("Sum", NONE, e::sum),
    lowered("Tanh", NONE, f::tanh),
    lowered("Transpose", &["perm"], s::transpose).or(Moves(fold::transpose)),
    lowered("Unsqueeze", &["axes"], s::unsqueeze).or(Moves(fold::unsqueeze)),
    lowered("Where", NONE, softplus::choose)
        .or(Computes(fold::where_))
        .limited("of what is computed, as PyTorch writes softplus"),
];

/// The table of operators in Markdown.
pub(crate) fn table() -> String {
    let mut table =
        "| operator | on tensors that are computed | on those known before | what is taken |\n\
                     | --- | --- | --- | --- |\n"
            .to_owned();
    for operator in OPERATORS {
        let said = |yes: bool| if yes { "yes" } else { "-" };
        let limits = if operator.limits.is_empty() {
            "all"
        } else {
            operator.limits
        };
        writeln!(
            table,
            "| {} | {} | {} | {limits} |",
            operator.name,
            said(operator.lower.is_some()),
            said(operator.fold.is_some()),
        )
        .expect("text is written to memory");
    }
    let (from, to) = (OPSETS.start(), OPSETS.end());
    writeln!(table, "\nOpsets {from} to {to} are read.").expect("text is written to memory");
    table
}
