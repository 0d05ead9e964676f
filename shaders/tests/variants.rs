//! Every shader in every variant is valid WGSL. No device is needed.

use furthermore_shaders::{
    Access, Binding, Constant, FAMILIES, Form, Product, Shader, Split, Stored, Tile, Value,
    Variant, binding_name,
};

const TILE: Tile = Tile {
    thread_rows: 4,
    thread_columns: 4,
    group_rows: 4,
    group_columns: 4,
    depth: 4,
};

const FORMS: [Form; 6] = [
    Form::Real,
    Form::Two { coordinates: 2 },
    Form::Two { coordinates: 4 },
    Form::Many {
        coordinates: 3,
        slots: 3,
    },
    Form::Many {
        coordinates: 9,
        slots: 3,
    },
    Form::Polynomial { coordinates: 6 },
];

fn cipher_product(form: Form) -> Product {
    match form {
        Form::Real => Product::Plain,
        Form::Two { coordinates: 2 } => Product::Compact2 { constants: 8 },
        Form::Two { .. } => Product::Blocks { size: 2 },
        Form::Many { coordinates, slots } if coordinates == slots => Product::Program {
            constants: 18,
            terms: 2 * coordinates - 1,
        },
        Form::Many { slots, .. } => Product::Blocks { size: slots },
        Form::Polynomial { .. } => Product::Program {
            constants: 8,
            terms: 9,
        },
    }
}

/// A variant with each regime: which of `a` and `b` is a plaintext.
fn products(base: &Variant, form: Form) -> Vec<Variant> {
    let regimes: &[&[&'static str]] = match form {
        Form::Real => &[&[]],
        _ => &[&[], &["a"], &["b"]],
    };
    let with = |plain: &&[&'static str]| {
        let mut variant = base.clone();
        variant.planes.extend(plain.iter().map(|name| (*name, 1)));
        variant.product = Some(if plain.is_empty() {
            cipher_product(form)
        } else {
            Product::Plain
        });
        variant.tile = (base.family != "elementwise").then_some(TILE);
        variant
    };
    regimes.iter().map(with).collect()
}

const FUNCTIONS: [&str; 18] = [
    "exp",
    "ln",
    "sqrt",
    "inverse",
    "abs",
    "sign",
    "relu",
    "leaky_relu",
    "elu",
    "sigmoid",
    "hard_sigmoid",
    "tanh",
    "softplus",
    "gelu",
    "gelu_tanh",
    "erf",
    "silu",
    "square",
];

/// Windows of image tensors: sizes along both axes and of tiles.
fn windows(base: &Variant) -> Variant {
    let sizes = [
        ("ROWS_INPUT", 7),
        ("ROWS_OUTPUT", 4),
        ("ROWS_KERNEL", 3),
        ("ROWS_STRIDE", 2),
        ("ROWS_PADDING", 1),
        ("ROWS_AFTER", 1),
        ("ROWS_DILATION", 1),
        ("COLUMNS_INPUT", 5),
        ("COLUMNS_OUTPUT", 2),
        ("COLUMNS_KERNEL", 2),
        ("COLUMNS_STRIDE", 1),
        ("COLUMNS_PADDING", 0),
        ("COLUMNS_AFTER", 0),
        ("COLUMNS_DILATION", 3),
        ("TILE_IMAGES", 32),
    ];
    sizes.iter().fold(base.clone(), |variant, &(name, size)| {
        variant.constant(name, Constant::U32(size))
    })
}

/// With each of `a` and `b` read number by number and four at a time.
fn widths(base: &Variant) -> Vec<Variant> {
    let widths = [(false, false), (true, false), (false, true), (true, true)];
    widths
        .map(|(a, b)| base.clone().wide("a", a).wide("b", b))
        .to_vec()
}

fn convolutions(base: &Variant, form: Form) -> Vec<Variant> {
    let sizes = [("GROUPS", 2), ("SOURCES", 3), ("TARGETS", 4)];
    let add = |variant: Variant| {
        sizes.iter().fold(variant, |variant, &(name, size)| {
            variant.constant(name, Constant::U32(size))
        })
    };
    products(&windows(base), form)
        .iter()
        .flat_map(widths)
        .map(add)
        .collect()
}

/// A gradient by a convolution's result as it is, and by averages.
fn pooled(variant: &Variant) -> [Variant; 2] {
    [(false, 1), (true, 2)].map(|(pooled, window)| {
        variant
            .clone()
            .flag("POOLED", pooled)
            .constant("WINDOW_ROWS", Constant::U32(window))
            .constant("WINDOW_COLUMNS", Constant::U32(window))
    })
}

/// Every variant of an entry point, but for the element type.
fn variants(family: &'static str, entry: &'static str, form: Form) -> Vec<Variant> {
    let base = Variant::new(family, entry, Stored::F32, form);
    match family {
        "block_matmul" => products(&base, form)
            .iter()
            .flat_map(widths)
            .flat_map(|variant| {
                [
                    (false, false, false, "identity"),
                    (true, true, true, "relu"),
                    (true, false, false, "identity"),
                ]
                .map(|(transpose_a, transpose_b, bias, f)| {
                    variant
                        .clone()
                        .flag("TRANSPOSE_A", transpose_a)
                        .flag("TRANSPOSE_B", transpose_b)
                        .flag("HAS_BIAS", bias)
                        .plaintext("bias", bias && form != Form::Real)
                        .constant("FUNCTION", Constant::Name(f))
                })
            })
            .collect(),
        "conv2d" => convolutions(&base, form)
            .into_iter()
            .flat_map(|variant| {
                let forward = entry == "conv2d";
                let gradients = pooled(&variant);
                [
                    (&gradients[0], false, "identity"),
                    (&gradients[usize::from(!forward)], forward, "sigmoid"),
                ]
                .map(|(variant, bias, f)| {
                    variant
                        .clone()
                        .flag("SWAPPED", !forward)
                        .flag("IN_SCRATCH", bias)
                        .flag("HAS_BIAS", bias)
                        .plaintext("bias", bias && form != Form::Real)
                        .constant("FUNCTION", Constant::Name(f))
                })
            })
            .collect(),
        "conv2d_pooled" => [false, true]
            .map(|steps| {
                let [_, pooled] = pooled(&base);
                pooled
                    .flag("HAS_STEPS", steps)
                    .constant("TILE_IMAGES", Constant::U32(32))
                    .constant("CHANNELS", Constant::U32(3))
                    .constant("RESULT_ROWS", Constant::U32(4))
                    .constant("RESULT_COLUMNS", Constant::U32(6))
            })
            .to_vec(),
        "conv2d_weights" => convolutions(&base, form)
            .iter()
            .flat_map(pooled)
            .flat_map(|variant| {
                [false, true].map(|in_pieces| variant.clone().flag("IN_PIECES", in_pieces))
            })
            .collect(),
        "conv2d_sums" => pooled(&base)
            .iter()
            .flat_map(|variant| {
                [false, true].map(|in_pieces| {
                    variant
                        .clone()
                        .flag("IN_PIECES", in_pieces)
                        .constant("TILE_IMAGES", Constant::U32(32))
                })
            })
            .collect(),
        "pool" => [(false, false), (false, true), (true, false)]
            .map(|(maximum, with_padding)| {
                windows(&base)
                    .constant("CHANNELS", Constant::U32(3))
                    .flag("MAXIMUM", maximum)
                    .flag("WITH_PADDING", with_padding)
            })
            .to_vec(),
        "function_map" => FUNCTIONS
            .iter()
            .flat_map(|&function| {
                [false, true].map(|in_place| {
                    base.clone()
                        .constant("FUNCTION", Constant::Name(function))
                        .flag("IN_PLACE", in_place)
                })
            })
            .collect(),
        "elementwise" => products(&base, form)
            .into_iter()
            .flat_map(|variant| {
                [1, 6].map(|axes| variant.clone().constant("AXES", Constant::U32(axes)))
            })
            .collect(),
        "poly_map" => {
            let regimes: &[&[&'static str]] = match form {
                Form::Real => &[&[]],
                _ => &[&[], &["x"], &["c"], &["g"], &["x", "c"]],
            };
            let regime = |plain: &&[&'static str]| {
                [false, true].map(|in_table| {
                    let mut variant = base.clone().flag("IN_TABLE", in_table);
                    variant.planes.extend(plain.iter().map(|name| (*name, 1)));
                    variant
                })
            };
            regimes.iter().flat_map(regime).collect()
        }
        "poly_map_composed" => match form {
            Form::Polynomial { .. } => [false, true]
                .map(|in_table| {
                    let planes = base.clone().with_planes("x", 4).with_planes("c", 1);
                    let planes = planes.constant("X_PLANES", Constant::U32(4));
                    planes.flag("IN_TABLE", in_table)
                })
                .to_vec(),
            _ => Vec::new(),
        },
        "convert" => [(32, 32, 1, false), (2, 512, 6, false), (1024, 1, 6, true)]
            .map(|(rows, columns, axes, whole)| {
                base.clone()
                    .constant("TILE_ROWS", Constant::U32(rows))
                    .constant("TILE_COLUMNS", Constant::U32(columns))
                    .constant("AXES", Constant::U32(axes))
                    .flag("WHOLE", whole)
            })
            .to_vec(),
        // Targets may be plaintext.
        "reduce" => [false, form != Form::Real]
            .map(|plain| base.clone().plaintext("targets", plain))
            .into(),
        "update" => [false, true]
            .map(|velocity| base.clone().flag("HAS_VELOCITY", velocity))
            .into(),
        "guard" | "peak" => vec![base],
        other => panic!("no variants of {other} are listed"),
    }
}

/// Operands by the names that kernels give them.
const OPERANDS: [&str; 17] = [
    "a",
    "b",
    "bias",
    "c",
    "g",
    "gradient",
    "moment",
    "parameter",
    "root",
    "scratch",
    "steps",
    "table",
    "targets",
    "velocity",
    "watched",
    "x",
    "y",
];

/// A variant is valid with all its operands bound from before they begin, plane by plane, by groups of
/// planes or in segments, and binds each of these as the operand.
fn binds_several(shader: &Shader) {
    let operand = |b: &&Binding| b.group == 0 && b.access != Access::Uniform;
    let whole: Vec<&Binding> = shader.bindings().iter().filter(operand).collect();
    let names = OPERANDS.iter().copied();
    let names: Vec<&'static str> = names
        .filter(|name| whole.iter().any(|b| b.name == *name))
        .collect();
    assert_eq!(names.len(), whole.len(), "{}", shader.variant().entry);
    let mut variant = shader.variant().clone();
    // What has a stride, as all tensors and steps do.
    let parameters = shader.parameters();
    let stride = |name: &&str| {
        parameters
            .iter()
            .any(|p| p.name == format!("{name}_stride"))
    };
    variant.late = names.iter().copied().filter(stride).collect();
    let late = variant.compile().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(late.bindings(), shader.bindings());
    for (together, segments) in [(1, 1), (2, 1), (1, 2)] {
        let split = |name: &&'static str| {
            let has_planes = !["scratch", "steps", "table", "watched"].contains(name);
            let split = Split {
                planes: if has_planes { 3 } else { 1 },
                together: if has_planes { together } else { 1 },
                segments,
                bits: 5,
            };
            (*name, split)
        };
        variant.split = names.iter().map(split).collect();
        let split = variant.compile().unwrap_or_else(|e| panic!("{e}"));
        let found: Vec<&Binding> = split.bindings().iter().filter(operand).collect();
        let bindings = |(_, split): &(_, Split)| split.bindings();
        let all: u32 = variant.split.iter().map(bindings).sum();
        assert_eq!(found.len(), all as usize, "{}", variant.entry);
        assert!(all <= variant.declared_bindings(), "{}", variant.entry);
        for (name, split) in &variant.split {
            let operand = whole.iter().find(|b| b.name == *name);
            for number in 0..split.bindings() {
                let name = binding_name(name, number);
                let bound = found.iter().find(|b| b.name == name);
                assert_eq!(bound.map(|b| b.access), operand.map(|b| b.access), "{name}");
            }
        }
    }
}

#[test]
fn every_variant_is_valid() {
    let mut compiled = 0;
    for family in FAMILIES {
        for &entry in family.entries {
            for form in FORMS {
                for variant in variants(family.name, entry, form) {
                    for stored in [Stored::F32, Stored::F16] {
                        let variant = Variant {
                            stored,
                            ..variant.clone()
                        };
                        let shader = variant.compile().unwrap_or_else(|e| panic!("{e}"));
                        let names: Vec<&str> = shader
                            .parameters()
                            .iter()
                            .map(|p| p.name.as_str())
                            .collect();
                        assert_eq!(names[0], "command", "{entry}");
                        let uniform = |b: &&Binding| b.group == 0 && b.access == Access::Uniform;
                        assert_eq!(
                            shader.bindings().iter().filter(uniform).count(),
                            1,
                            "{entry}"
                        );
                        assert!(shader.workgroup().iter().product::<u32>() > 1, "{entry}");
                        compiled += 1;
                        // Half precision differs in the words of bindings alone. Peaks are those of
                        // plain arrays, no tensors.
                        let every = stored == Stored::F32 || form == FORMS[1];
                        if every && family.name != "peak" {
                            binds_several(&shader);
                        }
                    }
                }
            }
        }
    }
    println!("{compiled} variants");
}

#[test]
fn what_a_shader_binds_is_read_back() {
    let variant = Variant::new(
        "function_map",
        "function_map",
        Stored::F32,
        Form::Two { coordinates: 2 },
    )
    .constant("FUNCTION", Constant::Name("leaky_relu"))
    .flag("IN_PLACE", true);
    let shader = variant.compile().expect("it is valid");
    let names: Vec<(u32, u32, &str, Access)> = shader
        .bindings()
        .iter()
        .map(|b| (b.group, b.number, b.name.as_str(), b.access))
        .collect();
    assert!(names.contains(&(0, 1, "y", Access::ReadWrite)), "{names:?}");
    assert!(
        names.contains(&(0, 2, "params", Access::Uniform)),
        "{names:?}"
    );
    assert!(
        names.contains(&(1, 0, "algebra", Access::Read)),
        "{names:?}"
    );
    assert_eq!(shader.workgroup(), [256, 1, 1]);
    let packed = shader
        .pack(&[("len", Value::U32(7)), ("alpha", Value::F32(0.5))])
        .expect("it has both");
    assert_eq!(packed[16..20], 7u32.to_le_bytes());
    assert_eq!(packed[20..24], 0.5f32.to_le_bytes());
    for wrong in [("length", Value::U32(7)), ("len", Value::F32(7.0))] {
        let error = shader.pack(&[wrong]).expect_err("there is none such");
        assert!(error.to_string().contains(wrong.0), "{error}");
    }
}

#[test]
fn what_is_not_there_is_named() {
    let none = Variant::new("function_map", "no_such_entry", Stored::F32, Form::Real)
        .constant("FUNCTION", Constant::Name("exp"))
        .flag("IN_PLACE", false);
    let error = none.compile().expect_err("there is no such entry");
    assert!(error.to_string().contains("no_such_entry"), "{error}");
    let none = Variant::new("no_such_family", "x", Stored::F32, Form::Real);
    let error = none.compile().expect_err("there is no such family");
    assert!(error.to_string().contains("no_such_family"), "{error}");
}
