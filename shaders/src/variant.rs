//! One variant of a shader: the header that Rust writes, and which fragments go with it.

use std::fmt::Write as _;

use crate::operand::{Operand, Split};
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
    /// Operands that are bound as several.
    pub split: Vec<(&'static str, Split)>,
    /// Operands whose bindings begin before they do, by so many numbers as the parameter `NAME_late` says:
    /// a multiple of 4 where they are wide.
    pub late: Vec<&'static str>,
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

    pub(crate) fn planes(&self, operand: &str) -> u32 {
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
            text.push_str(&self.accessors(&operand));
        }
        Some(text)
    }
}
