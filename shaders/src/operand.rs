//! The operands of a kernel's file: how a variant declares them, whole or as several bindings, and the
//! functions through which kernels read and write them.

use crate::source;
use crate::variant::{Stored, Variant};

/// How an operand is bound as several: groups of planes, or segments of each plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Split {
    /// Its planes; 1 of what has no planes.
    pub planes: u32,
    /// So many planes are one binding; 1 where planes are bound in segments.
    pub together: u32,
    /// Bindings of a plane where it is too large for one, else 1.
    pub segments: u32,
    /// Each segment but a plane's last has two to that many numbers, where there are several.
    pub bits: u32,
}

impl Split {
    /// Bindings in all.
    pub fn bindings(&self) -> u32 {
        self.planes.div_ceil(self.together) * self.segments
    }
}

/// The name of one of the bindings of an operand that has several, in the order of planes and then of
/// segments.
pub fn binding_name(operand: &str, number: u32) -> String {
    format!("{operand}_{number}")
}

/// The first number of bindings that are several of an operand: more than any kernel has operands.
const SEVERAL: u32 = 8;

/// An operand that a kernel's file declares.
pub(crate) struct Operand<'a> {
    number: u32,
    pub(crate) name: &'a str,
    access: &'a str,
    kind: Kind<'a>,
}

/// What an operand holds.
#[derive(Clone, Copy)]
enum Kind<'a> {
    /// Planes of numbers, as tensors are stored.
    Tensor,
    /// Numbers or words of this type.
    Flat(&'a str),
}

impl<'a> Operand<'a> {
    /// The operand declared by `@group(0) @binding(N) var<storage, ACCESS> NAME: array<TYPE>;`.
    pub(crate) fn declared_in(line: &'a str) -> Option<Self> {
        let (number, rest) = line
            .strip_prefix("@group(0) @binding(")?
            .split_once(") var<storage, ")?;
        let (access, rest) = rest.split_once("> ")?;
        let (name, held) = rest.strip_suffix(">;")?.split_once(": array<")?;
        let kind = match held {
            "Stored" => Kind::Tensor,
            "f32" | "u32" => Kind::Flat(held),
            _ => return None,
        };
        Some(Self {
            number: number.parse().ok()?,
            name,
            access,
            kind,
        })
    }

    fn is_written(&self) -> bool {
        self.access == "read_write"
    }
}

impl Variant {
    /// Storage buffers that its kernel declares, without those that all commands share.
    pub fn declared_bindings(&self) -> u32 {
        let family = source::family(self.family);
        let lines = family.into_iter().flat_map(|family| family.source.lines());
        lines
            .filter_map(Operand::declared_in)
            .map(|operand| self.split(operand.name).map_or(1, |split| split.bindings()))
            .sum()
    }

    fn split(&self, operand: &str) -> Option<Split> {
        let mut splits = self.split.iter();
        splits.find_map(|&(name, split)| (name == operand).then_some(split))
    }

    /// What an operand's bindings hold, and by what a number's place is divided to find it there.
    fn word<'a>(&self, operand: &Operand<'a>) -> (&'a str, &'static str) {
        match operand.kind {
            Kind::Tensor if self.wide.contains(&operand.name) => ("vec4<Stored>", " / 4u"),
            Kind::Tensor => ("Stored", ""),
            Kind::Flat(word) => (word, ""),
        }
    }

    /// A kernel's file with its operands declared as this variant binds them, and among its parameters how
    /// late they begin.
    pub(crate) fn declared(&self, source: &str) -> String {
        let mut numbers = SEVERAL..;
        let declare = |line: &str| {
            let Some(operand) = Operand::declared_in(line) else {
                let stride = line.trim().strip_suffix("_stride: u32,");
                let late = stride.filter(|name| self.late.contains(name));
                let late = late.map_or(String::new(), |name| format!("    {name}_late: u32,\n"));
                return format!("{line}\n{late}");
            };
            let Operand { name, access, .. } = operand;
            let (word, _) = self.word(&operand);
            let declaration = |number: u32, name: &str| {
                format!(
                    "@group(0) @binding({number}) var<storage, {access}> {name}: array<{word}>;\n"
                )
            };
            match self.split(name) {
                None => declaration(operand.number, name),
                Some(split) => (0..split.bindings())
                    .zip(numbers.by_ref())
                    .map(|(nth, number)| declaration(number, &binding_name(name, nth)))
                    .collect(),
            }
        };
        source.lines().map(declare).collect()
    }

    /// The functions that reach into an operand's bindings, `word_` and, of what is written, `put_`.
    fn reach(&self, operand: &Operand<'_>) -> String {
        let name = operand.name;
        let (word, divided) = self.word(operand);
        let at = match self.late.contains(&name) {
            true => format!("(at + params.{name}_late)"),
            false => "at".to_owned(),
        };
        let (plane, takes, given) = match operand.kind {
            Kind::Tensor => ("plane", "plane: u32, at: u32", "f32"),
            Kind::Flat(word) => ("0u", "at: u32", word),
        };
        let split = self.split(name);
        // By what a binding is chosen, and where in it the number lies.
        let (chosen, inside) = match (split, operand.kind) {
            (None, Kind::Flat(_)) => (String::new(), at),
            (None, Kind::Tensor) => (
                String::new(),
                format!("(plane * params.{name}_stride + {at})"),
            ),
            (Some(split), _) if split.segments > 1 => {
                let Split { segments, bits, .. } = split;
                (
                    format!("{plane} * {segments}u + ({at} >> {bits}u)"),
                    format!("({at} & {}u)", (1u64 << bits) - 1),
                )
            }
            (Some(split), _) if split.together > 1 => {
                let together = split.together;
                (
                    format!("{plane} / {together}u"),
                    format!("({plane} % {together}u * params.{name}_stride + {at})"),
                )
            }
            (Some(_), _) => (plane.to_owned(), at),
        };
        let bindings = split.map_or(1, |split| split.bindings());
        let places: Vec<String> = (0..bindings)
            .map(|number| match split {
                None => format!("{name}[{inside}{divided}]"),
                Some(_) => format!("{}[{inside}{divided}]", binding_name(name, number)),
            })
            .collect();
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
                "switch {chosen} {{\n{cases}default: {{ {} }}\n}}",
                statement(last)
            )
        };
        let mut text = format!(
            "fn word_{name}({takes}) -> {word} {{\n{}\n}}\n",
            each(&|place| format!("return {place};"))
        );
        if operand.is_written() {
            let stored = match operand.kind {
                Kind::Tensor => "Stored(number)",
                Kind::Flat(_) => "number",
            };
            let seen = match (operand.kind, self.stored) {
                (Kind::Tensor, Stored::F16) => "see_stored(number);\n",
                _ => "",
            };
            text += &format!(
                "\nfn put_{name}({takes}, number: {given}) {{\n{seen}{}\n}}\n",
                each(&|place| format!("{place} = {stored};"))
            );
        }
        text
    }

    /// The functions by which a kernel reads and writes an operand.
    pub(crate) fn accessors(&self, operand: &Operand<'_>) -> String {
        let Kind::Tensor = operand.kind else {
            return self.reach(operand);
        };
        let name = operand.name;
        let planes = self.planes(name);
        let kind = if planes == self.form.coordinates() {
            source::OPERAND_CIPHERTEXT
        } else {
            source::OPERAND_PLAINTEXT
        };
        let access = if self.wide.contains(&name) {
            source::OPERAND_VECTORS
        } else {
            source::OPERAND_SCALARS
        };
        let write = if operand.is_written() {
            source::OPERAND_WRITTEN
        } else {
            ""
        };
        let shared = [source::OPERAND, access, kind, write]
            .join("\n")
            .replace("PLANES", &format!("{planes}u"))
            .replace("NAME", name);
        [shared, self.reach(operand)].join("\n")
    }
}
