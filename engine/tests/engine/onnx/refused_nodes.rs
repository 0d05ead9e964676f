//! Nodes that are past what is supported, or ask for what does not fit: each is an error that names the
//! node, its operator and the opset.

use super::build::{
    AttributeProto, NodeProto, TensorProto, float, floats, import, int, integers, ints, model,
    node, text, value,
};
use crate::support::refused;

/// One node on the input, its settings, initialisers, and a part of what is said.
type Case<'a> = (
    &'a str,
    &'a [&'a str],
    Vec<AttributeProto>,
    Vec<TensorProto>,
    &'a str,
);

#[test]
fn operators_and_settings_past_what_is_supported_are_refused() {
    let w = |shape: &[i64]| {
        let count = shape.iter().product::<i64>() as usize;
        floats("w", shape, &vec![0.5; count])
    };
    let i = |values: &[i64]| integers("i", &[values.len() as i64], values);
    let one = |value: f32| floats("w", &[], &[value]);
    let kernel = ints("kernel_shape", &[2]);
    let mut graph = int("axis", 0);
    graph.g = vec![0];
    let mut of_function = int("axis", 0);
    of_function.ref_attr_name = "axis".to_owned();
    let cases: Vec<Case<'_>> = vec![
        ("ArgMax", &["x"], vec![], vec![], "not supported: ONNX.md"),
        (
            "Relu",
            &["x"],
            vec![int("axis", 1)],
            vec![],
            "attribute 'axis' is not known",
        ),
        ("Softmax", &["x"], vec![graph], vec![], "'axis' is a graph"),
        (
            "Softmax",
            &["x"],
            vec![of_function],
            vec![],
            "'axis' is one of a function",
        ),
        (
            "Softmax",
            &["x"],
            vec![float("axis", 1.0)],
            vec![],
            "of type 1, not 2",
        ),
        (
            "Softmax",
            &["x"],
            vec![int("axis", 1); 2],
            vec![],
            "'axis' is there twice",
        ),
        ("Softmax", &["x"], vec![int("axis", 3)], vec![], "axis 3"),
        (
            "Softmax",
            &["x"],
            vec![int("axis", i64::MIN)],
            vec![],
            "axis -9",
        ),
        ("Relu", &[], vec![], vec![], "input 0 is missing"),
        ("Relu", &[""], vec![], vec![], "input 0 is missing"),
        ("Sum", &[], vec![], vec![], "no inputs"),
        ("Concat", &[], vec![int("axis", 0)], vec![], "no inputs"),
        ("Concat", &["x", "x"], vec![], vec![], "no axis"),
        (
            "Concat",
            &["x", "w"],
            vec![int("axis", 1)],
            vec![w(&[3, 4, 5])],
            "[3, 4, 5]",
        ),
        (
            "Gelu",
            &["x"],
            vec![text("approximate", "best")],
            vec![],
            "'best'",
        ),
        (
            "Clip",
            &["x"],
            vec![float("max", 1.0), float("min", 2.0)],
            vec![],
            "from 2 to 1",
        ),
        ("Clip", &["x", "x"], vec![], vec![], "'x') is computed"),
        (
            "Pow",
            &["x", "w"],
            vec![],
            vec![one(0.5)],
            "one integer from -63 to 63",
        ),
        ("Pow", &["x", "w"], vec![], vec![one(0.0)], "one integer"),
        ("Pow", &["x", "w"], vec![], vec![one(64.0)], "one integer"),
        (
            "Pow",
            &["x", "w"],
            vec![],
            vec![one(f32::NAN)],
            "one integer",
        ),
        (
            "Pow",
            &["x", "x"],
            vec![],
            vec![],
            "is computed from the data",
        ),
        ("Div", &["x", "w"], vec![], vec![one(0.0)], "divides by 0"),
        (
            "Mul",
            &["x", "w"],
            vec![],
            vec![one(f32::INFINITY)],
            "not finite",
        ),
        ("Add", &["x", "w"], vec![], vec![w(&[5])], "[5]"),
        (
            "Add",
            &["x", "i"],
            vec![],
            vec![i(&[1])],
            "'i' is of integers",
        ),
        (
            "Gemm",
            &["x", "w"],
            vec![],
            vec![w(&[5, 2])],
            "depths 6 and 5",
        ),
        (
            "Gemm",
            &["x", "w"],
            vec![int("transB", 2)],
            vec![w(&[6, 2])],
            "2, not 0 or 1",
        ),
        (
            "MatMul",
            &["x", "w"],
            vec![],
            vec![one(1.0)],
            "without axes",
        ),
        (
            "Conv",
            &["x", "w"],
            vec![],
            vec![w(&[2, 4, 3, 3])],
            "do not fit",
        ),
        (
            "Conv",
            &["x", "w"],
            vec![kernel.clone()],
            vec![w(&[2, 4, 3])],
            "kernel_shape [2]",
        ),
        (
            "Conv",
            &["x", "w"],
            vec![int("group", -1)],
            vec![w(&[2, 4, 3])],
            "groups",
        ),
        (
            "Conv",
            &["x", "w"],
            vec![int("group", 0)],
            vec![w(&[2, 4, 3])],
            "groups",
        ),
        (
            "Conv",
            &["x", "w"],
            vec![ints("strides", &[0])],
            vec![w(&[2, 4, 3])],
            "is 0",
        ),
        (
            "Conv",
            &["x", "w"],
            vec![ints("strides", &[-1])],
            vec![w(&[2, 4, 3])],
            "[-1]",
        ),
        (
            "Conv",
            &["x", "w"],
            vec![ints("strides", &[1, 1])],
            vec![w(&[2, 4, 3])],
            "[1, 1]",
        ),
        (
            "Conv",
            &["x", "w"],
            vec![ints("pads", &[i64::MAX; 2])],
            vec![w(&[2, 4, 3])],
            "y",
        ),
        (
            "Conv",
            &["x", "w"],
            vec![ints("dilations", &[i64::MAX])],
            vec![w(&[2, 4, 3])],
            "y",
        ),
        (
            "Conv",
            &["x", "w"],
            vec![text("auto_pad", "ALL")],
            vec![w(&[2, 4, 3])],
            "'ALL'",
        ),
        ("Conv", &["x", "w"], vec![], vec![w(&[2, 4, 7])], "no place"),
        ("MaxPool", &["x"], vec![], vec![], "no kernel_shape"),
        (
            "MaxPool",
            &["x"],
            vec![ints("kernel_shape", &[2, 2])],
            vec![],
            "[2, 2]",
        ),
        (
            "MaxPool",
            &["x"],
            vec![ints("kernel_shape", &[i64::MAX])],
            vec![],
            "y",
        ),
        (
            "MaxPool",
            &["x"],
            vec![kernel.clone(), ints("pads", &[2, 2])],
            vec![],
            "padding",
        ),
        (
            "AveragePool",
            &["x"],
            vec![
                kernel,
                ints("pads", &[i64::MAX, 1]),
                int("ceil_mode", 1),
                int("count_include_pad", 1),
            ],
            vec![],
            "y",
        ),
        (
            "BatchNormalization",
            &["x", "w"],
            vec![],
            vec![w(&[4])],
            "input 2 is missing",
        ),
        (
            "LayerNormalization",
            &["x", "w"],
            vec![int("axis", 3)],
            vec![w(&[6])],
            "axis 3",
        ),
        (
            "LayerNormalization",
            &["x", "w"],
            vec![float("epsilon", -1e-5)],
            vec![w(&[6])],
            "below zero",
        ),
        (
            "LayerNormalization",
            &["x", "w"],
            vec![],
            vec![w(&[4])],
            "differ along an axis",
        ),
        (
            "BatchNormalization",
            &["x"; 5],
            vec![int("training_mode", 1)],
            vec![],
            "training",
        ),
        (
            "BatchNormalization",
            &["x", "w", "w", "w", "w"],
            vec![],
            vec![w(&[3])],
            "3 channels",
        ),
        (
            "BatchNormalization",
            &["x", "w", "w", "w", "w"],
            vec![],
            vec![w(&[4, 1])],
            "row",
        ),
        (
            "BatchNormalization",
            &["x", "w", "w", "w", "w"],
            vec![float("epsilon", -0.5)],
            vec![w(&[4])],
            "inf",
        ),
        (
            "Dropout",
            &["x", "", "i"],
            vec![],
            vec![i(&[1])],
            "training",
        ),
        ("Cast", &["x"], vec![int("to", 7)], vec![], "I64"),
        ("Cast", &["x"], vec![], vec![], "to which type"),
        ("Reshape", &["x", "i"], vec![], vec![i(&[0, 25])], "[0, 25]"),
        (
            "Reshape",
            &["x", "i"],
            vec![],
            vec![i(&[-1, -1])],
            "[-1, -1]",
        ),
        ("Reshape", &["x", "i"], vec![], vec![i(&[0; 4])], "axis 3"),
        ("Reshape", &["x", "i"], vec![], vec![i(&[1; 17])], "16 axes"),
        (
            "Reshape",
            &["x", "i"],
            vec![],
            vec![i(&[i64::MAX, i64::MAX, -1])],
            "addressed",
        ),
        (
            "Reshape",
            &["x", "x"],
            vec![],
            vec![],
            "is computed from the data",
        ),
        (
            "Reshape",
            &["x", "w"],
            vec![],
            vec![w(&[2])],
            "not of integers",
        ),
        ("Flatten", &["x"], vec![int("axis", 4)], vec![], "axis 4"),
        (
            "Squeeze",
            &["x", "i"],
            vec![],
            vec![i(&[1])],
            "not of size 1",
        ),
        (
            "Squeeze",
            &["x", "i"],
            vec![],
            vec![i(&[0, 0])],
            "name one twice",
        ),
        (
            "Unsqueeze",
            &["x", "i"],
            vec![],
            vec![i(&[0; 14])],
            "17 axes",
        ),
        ("Unsqueeze", &["x", "i"], vec![], vec![i(&[9])], "axis 9"),
        (
            "Transpose",
            &["x"],
            vec![ints("perm", &[0, 1])],
            vec![],
            "[0, 1]",
        ),
        (
            "Transpose",
            &["x"],
            vec![ints("perm", &[0, 1, 1])],
            vec![],
            "[0, 1, 1]",
        ),
        ("Slice", &["x"], vec![], vec![], "names no starts"),
        (
            "Slice",
            &["x", "i", "i"],
            vec![],
            vec![i(&[0, 0])],
            "no 0 elements",
        ),
        (
            "Slice",
            &["x", "i", "i"],
            vec![],
            vec![i(&[0; 4])],
            "axis 3",
        ),
        (
            "Slice",
            &["x", "i", "i", "i", "i"],
            vec![],
            vec![i(&[0])],
            "step is 0",
        ),
        (
            "Slice",
            &["x", "i", "i", "i"],
            vec![],
            vec![i(&[1, 1])],
            "one twice",
        ),
        (
            "Split",
            &["x", "i"],
            vec![],
            vec![i(&[2])],
            "[2] are not 1 of 3",
        ),
        ("Split", &["x", "i"], vec![], vec![i(&[-3])], "size -3"),
        ("Gather", &["x", "i"], vec![], vec![i(&[0, 1])], "one place"),
        ("Gather", &["x", "i"], vec![], vec![i(&[3])], "index 3"),
        (
            "Expand",
            &["x", "i"],
            vec![],
            vec![i(&[2, 3, 4, 6])],
            "not repeated",
        ),
        ("Pad", &["x", "i"], vec![], vec![i(&[0, 0, 1])], "3 amounts"),
        (
            "Pad",
            &["x", "i"],
            vec![],
            vec![i(&[0, 0, -1, 0, 0, 0])],
            "-1 cuts",
        ),
        (
            "Pad",
            &["x", "i"],
            vec![],
            vec![i(&[0, 0, i64::MAX, 0, 0, i64::MAX])],
            "y",
        ),
        (
            "Pad",
            &["x", "i"],
            vec![text("mode", "mirror")],
            vec![i(&[0; 6])],
            "'mirror'",
        ),
        (
            "Pad",
            &["x", "i"],
            vec![text("mode", "reflect")],
            vec![i(&[0, 0, 5, 0, 0, 6])],
            "axis 2 of size 6 gives 5 elements to add, and 6 are asked for",
        ),
        (
            "Pad",
            &["x", "i"],
            vec![text("mode", "wrap")],
            vec![i(&[0, 5, 0, 0, 0, 0])],
            "axis 1 of size 4 gives 4 elements",
        ),
        (
            "Pad",
            &["x", "i"],
            vec![text("mode", "edge")],
            vec![i(&[0, 0, i64::MAX, 0, 0, 0])],
            "axis 2 of size 6",
        ),
        (
            "Pad",
            &["x", "i", "w"],
            vec![],
            vec![i(&[0; 6]), one(f32::INFINITY)],
            "pads with inf",
        ),
        ("ReduceSum", &["x", "i"], vec![], vec![i(&[3])], "axis 3"),
        ("ReduceProd", &["x"], vec![], vec![], "known before a run"),
        (
            "Where",
            &["x", "x", "x"],
            vec![],
            vec![],
            "known before a run",
        ),
        (
            "GlobalAveragePool",
            &["w"],
            vec![],
            vec![w(&[2])],
            "no image",
        ),
    ];
    for (operator, inputs, attributes, initialisers, part) in cases {
        let node = node(operator, inputs, &["y"], &attributes);
        let what = format!("{operator} {attributes:?}");
        let said = format!("({operator}, opset 18)");
        refused(
            &what,
            import(&model(&[node], &initialisers)),
            &["'y'", &said, part],
        );
    }
    for shape in [&[0][..], &[0, 2], &[0, 2, 2, 2, 2]] {
        let mut odd = model(
            &[node("Conv", &["x", "w"], &["y"], &[])],
            &[w(&vec![1; shape.len()])],
        );
        odd.graph.as_mut().expect("it has one").input = vec![value("x", shape)];
        refused("no image", import(&odd), &["'y' (Conv, opset 18)"]);
    }
    let mut foreign = node("Gelu", &["x"], &["y"], &[]);
    foreign.domain = "com.microsoft".to_owned();
    let parts = ["(com.microsoft.Gelu, opset 18)", "not supported"];
    refused("another domain", import(&model(&[foreign], &[])), &parts);
    let attributes = [ints("kernel_shape", &[2])];
    let pool = node("MaxPool", &["x"], &["y", "places"], &attributes);
    assert!(import(&model(std::slice::from_ref(&pool), &[])).is_ok());
    let read = node("Relu", &["places"], &["z"], &[]);
    let mut read = model(&[pool, read], &[]);
    read.graph
        .as_mut()
        .expect("it has one")
        .output
        .push(value("z", &[]));
    refused("places", import(&read), &["MaxPool", "'places'"]);
}

#[test]
fn what_is_known_is_computed_within_bounds() {
    let i = |name: &str, values: &[i64]| integers(name, &[values.len() as i64], values);
    let n = |name: &str, value: i64| integers(name, &[], &[value]);
    let cast = || node("Cast", &["k"], &["f"], &[int("to", 1)]);
    let known = |first: NodeProto, initialisers: &[TensorProto]| {
        let add = node("Add", &["x", "f"], &["y"], &[]);
        import(&model(&[first, cast(), add], initialisers))
    };
    let first = |operator: &str, inputs: &[&str]| node(operator, inputs, &["k"], &[]);
    let range = |start, limit, step| {
        let numbers = [n("a", start), n("b", limit), n("c", step)];
        known(first("Range", &["a", "b", "c"]), &numbers)
    };
    assert!(range(0, 6, 1).is_ok());
    refused("no step", range(0, 6, 0), &["'k' (Range", "step is 0"]);
    refused(
        "a long range",
        range(i64::MIN, i64::MAX, 1),
        &["(Range", "more than"],
    );
    refused(
        "a range back",
        range(i64::MAX, i64::MIN, -1),
        &["(Range", "more than"],
    );
    let endless = [
        floats("a", &[], &[0.0]),
        floats("b", &[], &[1.0]),
        floats("c", &[], &[0.0]),
    ];
    let endless = known(first("Range", &["a", "b", "c"]), &endless);
    refused("an endless range", endless, &["no end of steps"]);
    let filled = |sizes: &[i64]| known(first("ConstantOfShape", &["a"]), &[i("a", sizes)]);
    refused(
        "a huge fill",
        filled(&[1 << 40]),
        &["(ConstantOfShape", "more than 16777216"],
    );
    refused(
        "a fill around none",
        filled(&[0, i64::MAX, i64::MAX]),
        &["addressed"],
    );
    refused("a negative fill", filled(&[-1]), &["size -1"]);
    let expanded = known(
        first("Expand", &["a", "b"]),
        &[i("a", &[1]), i("b", &[1 << 20, 1 << 20])],
    );
    refused("a huge expansion", expanded, &["(Expand", "more than"]);
    let gathered = known(
        first("Gather", &["a", "b"]),
        &[i("a", &[1, 2]), i("b", &[2])],
    );
    refused("a place", gathered, &["(Gather", "pass the 2 places"]);
    let binary =
        |operator, a: i64, b: i64| known(first(operator, &["a", "b"]), &[n("a", a), n("b", b)]);
    for operator in ["Div", "Mod"] {
        refused("a division", binary(operator, 1, 0), &["divided by 0"]);
        assert!(binary(operator, i64::MIN, -1).is_err() || operator == "Mod");
    }
    for (operator, a, b) in [
        ("Add", i64::MAX, 1),
        ("Sub", i64::MIN, 1),
        ("Mul", i64::MAX, 2),
    ] {
        refused(operator, binary(operator, a, b), &[operator, "64 bits"]);
    }
    refused("a power", binary("Pow", 10, 19), &["64 bits"]);
    refused("a negative power", binary("Pow", 10, -1), &["64 bits"]);
    let negated = known(first("Neg", &["a"]), &[n("a", i64::MIN)]);
    refused("a negation", negated, &["64 bits"]);
    let largest = known(node("ReduceMax", &["a"], &["k"], &[]), &[i("a", &[])]);
    refused("a maximum of none", largest, &["no elements"]);
    let cut = node("Cast", &["f"], &["k"], &[int("to", 7)]);
    let cut = model(
        &[cut, node("Reshape", &["x", "k"], &["y"], &[])],
        &[floats("f", &[1], &[1e30])],
    );
    refused("a cut", import(&cut), &["Cast", "no integer of 64 bits"]);
    // Each is within bounds, and all of them are not.
    let fill = |nth: usize| node("ConstantOfShape", &["a"], &[&format!("k{nth}")], &[]);
    let mut nodes: Vec<NodeProto> = (0..64).map(fill).collect();
    let all: Vec<String> = (0..64).map(|nth| format!("k{nth}")).collect();
    let all: Vec<&str> = all.iter().map(|name| &**name).collect();
    nodes.push(node("Concat", &all, &["k"], &[int("axis", 0)]));
    nodes.push(node("Add", &["x", "k"], &["y"], &[]));
    let fills = import(&model(&nodes, &[i("a", &[1 << 24])]));
    refused(
        "many fills",
        fills,
        &["ConstantOfShape", "too many numbers"],
    );
}
