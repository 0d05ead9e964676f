//! One variant of a shader: the header that Rust writes, and which fragments go with it.

use std::fmt::Write as _;

use crate::source;

/// How numbers lie in buffers; arithmetic is in f32 always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stored {
    /// Single precision.
    F32,
    /// Half precision.
    F16,
}

/// How an element's coordinates become slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// Plaintext: one coordinate, one slot.
    Real,
    /// Two slots of so many coordinates.
    Two {
        /// Coordinates.
        coordinates: u32,
    },
    /// Any number of both.
    Many {
        /// Coordinates.
        coordinates: u32,
        /// Slots.
        slots: u32,
    },
    /// Polynomials over an algebra of two slots and coordinates, with so many of these in all.
    Polynomial {
        /// Coordinates.
        coordinates: u32,
    },
}

impl Form {
    /// Coordinates of an element.
    pub fn coordinates(self) -> u32 {
        match self {
            Form::Real => 1,
            Form::Two { coordinates }
            | Form::Many { coordinates, .. }
            | Form::Polynomial { coordinates } => coordinates,
        }
    }

    /// Slots of an element.
    pub fn slots(self) -> u32 {
        match self {
            Form::Real => 1,
            Form::Two { .. } => 2,
            Form::Many { slots, .. } => slots,
            Form::Polynomial { coordinates } => coordinates,
        }
    }
}

/// How the elements of operands `a` and `b` are multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Product {
    /// One of them is a plaintext, or both.
    Plain,
    /// Three products of a + bZ; its constants start at that place of the algebra's buffer.
    Compact2 {
        /// Where.
        constants: u32,
    },
    /// A bilinear program whose products are each of a combination of their own; its matrices start at
    /// that place of the algebra's buffer.
    Program {
        /// Where.
        constants: u32,
        /// Real products.
        terms: u32,
    },
    /// Products of matrices of that size.
    Blocks {
        /// Rows and columns.
        size: u32,
    },
}

/// The value of a `const` in the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Constant {
    /// A number.
    U32(u32),
    /// A truth value.
    Bool(bool),
    /// The name of another constant, written in capitals.
    Name(&'static str),
}

/// Sizes of a matrix product's tiles: a workgroup has `group_rows x group_columns` invocations with
/// `thread_rows x thread_columns` elements each, both multiples of 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tile {
    /// Rows of an invocation.
    pub thread_rows: u32,
    /// Columns of an invocation.
    pub thread_columns: u32,
    /// Invocations along the rows.
    pub group_rows: u32,
    /// Invocations along the columns.
    pub group_columns: u32,
    /// What is staged at a time.
    pub depth: u32,
}

impl Tile {
    /// Rows of a workgroup.
    pub fn rows(&self) -> u32 {
        self.thread_rows * self.group_rows
    }

    /// Columns of a workgroup.
    pub fn columns(&self) -> u32 {
        self.thread_columns * self.group_columns
    }

    /// Workgroups that cover a result of so many rows and columns.
    pub fn count(&self, rows: usize, columns: usize) -> usize {
        rows.div_ceil(self.rows() as usize) * columns.div_ceil(self.columns() as usize)
    }

    /// Bytes of workgroup memory for operands of so many combinations.
    pub fn bytes(&self, left: u32, right: u32) -> u32 {
        16 * self.depth * (left * (self.rows() / 4 + 1) + right * (self.columns() / 4 + 1))
    }
}

/// Which variant of which shader.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Variant {
    /// The kernel family.
    pub family: &'static str,
    /// The entry point.
    pub entry: &'static str,
    /// How numbers are stored.
    pub stored: Stored,
    /// The algebra's slots.
    pub form: Form,
    /// The product of operands `a` and `b`, for kernels that have one.
    pub product: Option<Product>,
    /// Tiles, for kernels that have them.
    pub tile: Option<Tile>,
    /// Planes of operands that are not ciphertexts of `form`: plaintexts, and polynomials of other
    /// degrees.
    pub planes: Vec<(&'static str, u32)>,
    /// Operands of tiled products that are bound as vectors of four numbers, for those are read at a
    /// time.
    pub wide: Vec<&'static str>,
    /// Operands of which each plane is a binding of its own, and how many planes these are.
    pub split: Vec<(&'static str, u32)>,
    /// Operands whose bindings begin so many numbers before they do: a multiple of 4 where they are
    /// wide.
    pub late: Vec<(&'static str, u32)>,
    /// Further constants.
    pub constants: Vec<(&'static str, Constant)>,
}

impl Variant {
    /// A variant without a product.
    pub fn new(family: &'static str, entry: &'static str, stored: Stored, form: Form) -> Self {
        Self {
            family,
            entry,
            stored,
            form,
            product: None,
            tile: None,
            planes: Vec::new(),
            wide: Vec::new(),
            split: Vec::new(),
            late: Vec::new(),
            constants: Vec::new(),
        }
    }

    /// With a plaintext operand.
    pub fn plaintext(self, operand: &'static str, plain: bool) -> Self {
        if plain {
            self.with_planes(operand, 1)
        } else {
            self
        }
    }

    /// With an operand of so many planes.
    pub fn with_planes(mut self, operand: &'static str, planes: u32) -> Self {
        if planes != self.form.coordinates() {
            self.planes.push((operand, planes));
        }
        self
    }

    /// With an operand that is read four numbers at a time.
    pub fn wide(mut self, operand: &'static str, wide: bool) -> Self {
        if wide {
            self.wide.push(operand);
        }
        self
    }

    /// With a further constant.
    pub fn constant(mut self, name: &'static str, value: Constant) -> Self {
        self.constants.push((name, value));
        self
    }

    /// With a truth value.
    pub fn flag(self, name: &'static str, value: bool) -> Self {
        self.constant(name, Constant::Bool(value))
    }

    fn planes(&self, operand: &str) -> u32 {
        let own = self.planes.iter().find(|(name, _)| *name == operand);
        own.map_or(self.form.coordinates(), |(_, planes)| *planes)
    }

    /// The whole text: header, shared fragments, kernel. `None` where there is no such family.
    pub(crate) fn text(&self) -> Option<String> {
        let family = source::family(self.family)?;
        let mut text = String::new();
        let stored = match self.stored {
            Stored::F32 => "f32",
            Stored::F16 => {
                text.push_str("enable f16;\n");
                "f16"
            }
        };
        let mut line = |arguments: std::fmt::Arguments<'_>| {
            text.write_fmt(arguments).expect("strings take all text");
            text.push('\n');
        };
        line(format_args!("alias Stored = {stored};"));
        let form = match self.form {
            Form::Real => source::FORM_REAL,
            Form::Two { coordinates } => {
                line(format_args!("const D = {coordinates}u;"));
                source::FORM_TWO
            }
            Form::Many { coordinates, slots } => {
                line(format_args!("const D = {coordinates}u;"));
                line(format_args!("const N = {slots}u;"));
                source::FORM_MANY
            }
            Form::Polynomial { coordinates } => {
                line(format_args!("const D = {coordinates}u;"));
                source::FORM_POLYNOMIAL
            }
        };
        for (name, value) in &self.constants {
            match value {
                Constant::U32(number) => line(format_args!("const {name} = {number}u;")),
                Constant::Bool(truth) => line(format_args!("const {name} = {truth};")),
                Constant::Name(other) => {
                    line(format_args!("const {name} = {};", other.to_uppercase()));
                }
            }
        }
        if let Some(tile) = self.tile {
            line(format_args!("const THREAD_ROWS = {}u;", tile.thread_rows));
            line(format_args!(
                "const THREAD_COLUMNS = {}u;",
                tile.thread_columns
            ));
            line(format_args!("const GROUP_ROWS = {}u;", tile.group_rows));
            line(format_args!(
                "const GROUP_COLUMNS = {}u;",
                tile.group_columns
            ));
            line(format_args!("const DEPTH = {}u;", tile.depth));
            line(format_args!("const WIDE_A = {};", self.wide.contains(&"a")));
            line(format_args!("const WIDE_B = {};", self.wide.contains(&"b")));
        }
        let product = self.product.map(|product| {
            line(format_args!("const A_PLANES = {}u;", self.planes("a")));
            line(format_args!("const B_PLANES = {}u;", self.planes("b")));
            match product {
                Product::Plain => source::PRODUCT_PLAIN,
                Product::Compact2 { constants } => {
                    line(format_args!("const PRODUCT = {constants}u;"));
                    source::PRODUCT_COMPACT2
                }
                Product::Program { constants, terms } => {
                    line(format_args!("const PRODUCT = {constants}u;"));
                    line(format_args!("const TERMS = {terms}u;"));
                    source::PRODUCT_PROGRAM
                }
                Product::Blocks { size } => {
                    line(format_args!("const SIZE = {size}u;"));
                    source::PRODUCT_BLOCKS
                }
            }
        });
        // Tiled products combine the coordinates of four elements at a time, others of one.
        let numbers = if self.tile.is_some() {
            "vec4<f32>"
        } else {
            "f32"
        };
        let product = product.map(|fragment| fragment.replace("NUMBERS", numbers));
        let mut parts = vec![form, source::COMMON];
        parts.extend(product.as_deref());
        parts.extend(family.fragments);
        let kernel = self.declared(family.source);
        parts.push(&kernel);
        for part in parts {
            text.push('\n');
            text.push_str(part);
        }
        for operand in family.source.lines().filter_map(Operand::declared_in) {
            text.push('\n');
            text.push_str(&self.accessors(operand.name, operand.access == "read_write"));
        }
        Some(text)
    }

    /// How many planes an operand has that is bound plane by plane.
    fn split(&self, operand: &str) -> Option<u32> {
        let mut splits = self.split.iter();
        splits.find_map(|&(name, planes)| (name == operand).then_some(planes))
    }

    /// What an operand's bindings hold, and by what a number's place is divided to find it there.
    fn word(&self, operand: &str) -> (&'static str, &'static str) {
        if self.wide.contains(&operand) {
            ("vec4<Stored>", " / 4u")
        } else {
            ("Stored", "")
        }
    }

    /// A kernel's file with its operands declared as this variant binds them.
    fn declared(&self, source: &str) -> String {
        let declare = |line: &str| {
            let Some(operand) = Operand::declared_in(line) else {
                return format!("{line}\n");
            };
            let Operand { name, access, .. } = operand;
            let (word, _) = self.word(name);
            let declaration = |number: u32, name: &str| {
                format!(
                    "@group(0) @binding({number}) var<storage, {access}> {name}: array<{word}>;\n"
                )
            };
            match self.split(name) {
                None => declaration(operand.number, name),
                Some(planes) => (0..planes)
                    .map(|p| declaration(operand.number + p * BINDINGS, &plane_name(name, p)))
                    .collect(),
            }
        };
        source.lines().map(declare).collect()
    }

    /// The functions that reach into an operand's bindings, `word_` and, of what is written, `put_`.
    fn reach(&self, operand: &str, written: bool) -> String {
        let (word, divided) = self.word(operand);
        let late = self.late.iter().find(|(name, _)| *name == operand);
        let late = late.map_or(String::new(), |(_, numbers)| format!(" + {numbers}u"));
        let places: Vec<String> = match self.split(operand) {
            None => vec![format!(
                "{operand}[(plane * params.{operand}_stride + at{late}){divided}]"
            )],
            Some(planes) => (0..planes)
                .map(|p| format!("{}[(at{late}){divided}]", plane_name(operand, p)))
                .collect(),
        };
        let each = |statement: &dyn Fn(&str) -> String| {
            let Some((last, others)) = places.split_last() else {
                return String::new();
            };
            let cases: String = others
                .iter()
                .enumerate()
                .map(|(p, place)| format!("case {p}u: {{ {} }}\n", statement(place)))
                .collect();
            if cases.is_empty() {
                return statement(last);
            }
            format!(
                "switch plane {{\n{cases}default: {{ {} }}\n}}",
                statement(last)
            )
        };
        let mut text = format!(
            "fn word_{operand}(plane: u32, at: u32) -> {word} {{\n{}\n}}\n",
            each(&|place| format!("return {place};"))
        );
        if written {
            text += &format!(
                "\nfn put_{operand}(plane: u32, at: u32, number: f32) {{\n{}\n}}\n",
                each(&|place| format!("{place} = Stored(number);"))
            );
        }
        text
    }

    /// The functions by which a kernel reads and writes an operand.
    fn accessors(&self, operand: &str, written: bool) -> String {
        let planes = self.planes(operand);
        let kind = if planes == self.form.coordinates() {
            source::OPERAND_CIPHERTEXT
        } else {
            source::OPERAND_PLAINTEXT
        };
        let access = if self.wide.contains(&operand) {
            source::OPERAND_VECTORS
        } else {
            source::OPERAND_SCALARS
        };
        let write = if written { source::OPERAND_WRITTEN } else { "" };
        let shared = [source::OPERAND, access, kind, write]
            .join("\n")
            .replace("PLANES", &format!("{planes}u"))
            .replace("NAME", operand);
        [shared, self.reach(operand, written)].join("\n")
    }
}

/// What the numbers of a plane's bindings are apart: more than any kernel has bindings.
const BINDINGS: u32 = 8;

/// The name of the binding of one plane of an operand that is bound plane by plane.
pub fn plane_name(operand: &str, plane: u32) -> String {
    format!("{operand}_{plane}")
}

/// An operand that a kernel's file declares.
struct Operand<'a> {
    number: u32,
    name: &'a str,
    access: &'a str,
}

impl<'a> Operand<'a> {
    /// The operand declared by `@group(0) @binding(N) var<storage, ACCESS> NAME: array<Stored>;`.
    fn declared_in(line: &'a str) -> Option<Self> {
        let (number, rest) = line
            .strip_prefix("@group(0) @binding(")?
            .strip_suffix(": array<Stored>;")?
            .split_once(") var<storage, ")?;
        let (access, name) = rest.split_once("> ")?;
        Some(Self {
            number: number.parse().ok()?,
            name,
            access,
        })
    }
}
