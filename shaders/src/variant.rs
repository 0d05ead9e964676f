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
}

impl Form {
    /// Coordinates of an element.
    pub fn coordinates(self) -> u32 {
        match self {
            Form::Real => 1,
            Form::Two { coordinates } | Form::Many { coordinates, .. } => coordinates,
        }
    }

    /// Slots of an element.
    pub fn slots(self) -> u32 {
        match self {
            Form::Real => 1,
            Form::Two { .. } => 2,
            Form::Many { slots, .. } => slots,
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
    /// Values at Chebyshev nodes; its matrices start at that place of the algebra's buffer.
    Compact {
        /// Where.
        constants: u32,
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
    /// Planes of operands that are not ciphertexts of `form`: plaintexts among them.
    pub plaintexts: Vec<&'static str>,
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
            plaintexts: Vec::new(),
            constants: Vec::new(),
        }
    }

    /// With a plaintext operand.
    pub fn plaintext(mut self, operand: &'static str, plain: bool) -> Self {
        if plain {
            self.plaintexts.push(operand);
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
        if self.plaintexts.contains(&operand) {
            1
        } else {
            self.form.coordinates()
        }
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
                Product::Compact { constants } => {
                    line(format_args!("const PRODUCT = {constants}u;"));
                    source::PRODUCT_COMPACT
                }
                Product::Blocks { size } => {
                    line(format_args!("const SIZE = {size}u;"));
                    source::PRODUCT_BLOCKS
                }
            }
        });
        let mut parts = vec![form, source::COMMON];
        parts.extend(product);
        parts.extend(family.fragments);
        parts.push(family.source);
        for part in parts {
            text.push('\n');
            text.push_str(part);
        }
        for (operand, written) in operands(family.source) {
            text.push('\n');
            text.push_str(&self.accessors(operand, written));
        }
        Some(text)
    }

    /// The functions by which a kernel reads and writes an operand.
    fn accessors(&self, operand: &str, written: bool) -> String {
        let planes = self.planes(operand);
        let kind = if planes == self.form.coordinates() {
            source::OPERAND_CIPHERTEXT
        } else {
            source::OPERAND_PLAINTEXT
        };
        let write = if written { source::OPERAND_WRITTEN } else { "" };
        [source::OPERAND, kind, write]
            .join("\n")
            .replace("PLANES", &format!("{planes}u"))
            .replace("NAME", operand)
    }
}

/// The operands a kernel's file declares, as `var<storage, ...> name: array<Stored>`, and whether they
/// are written.
fn operands(source: &str) -> impl Iterator<Item = (&str, bool)> {
    source.lines().filter_map(|line| {
        let (before, name) = line
            .strip_suffix(": array<Stored>;")?
            .split_once("var<storage, ")?;
        debug_assert!(before.starts_with("@group(0)"));
        let (access, name) = name.split_once("> ")?;
        Some((name, access == "read_write"))
    })
}
