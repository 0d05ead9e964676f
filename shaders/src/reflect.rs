//! A compiled shader, and what is read back from it.

use naga::valid::{Capabilities, ValidationFlags, Validator};
use naga::{AddressSpace, Module, ScalarKind, StorageAccess, TypeInner};
use thiserror::Error;

use crate::variant::{Stored, Variant};

/// A shader that does not compile: a bug of this crate or of whoever chose the variant.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("shader {family}, entry {entry}: {reason}")]
pub struct ShaderError {
    family: &'static str,
    entry: &'static str,
    reason: String,
}

/// How a shader uses a binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Parameters.
    Uniform,
    /// Read only.
    Read,
    /// Read and written.
    ReadWrite,
}

/// A binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// Its group: 0 for a command's operands and parameters, 1 for what all commands share.
    pub group: u32,
    /// Its number in the group.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// How it is used.
    pub access: Access,
}

/// A member of the parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Where it lies, in bytes.
    pub offset: u32,
    /// Its kind: all are 4 bytes.
    pub kind: ScalarKind,
}

/// A parameter's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// A size or a place.
    U32(u32),
    /// A factor.
    F32(f32),
}

/// A compiled variant.
#[derive(Debug, Clone)]
pub struct Shader {
    variant: Variant,
    source: String,
    module: Module,
    bindings: Vec<Binding>,
    parameters: Vec<Parameter>,
    parameter_bytes: u32,
    workgroup: [u32; 3],
}

impl Variant {
    /// Parses and validates the variant, and reads back what it binds.
    ///
    /// # Errors
    /// When there is no such family or entry point, or the text is not valid WGSL.
    pub fn compile(&self) -> Result<Shader, ShaderError> {
        let error = |reason: String| ShaderError {
            family: self.family,
            entry: self.entry,
            reason,
        };
        let source = self
            .text()
            .ok_or_else(|| error("there is no such family".to_owned()))?;
        let mut module =
            naga::front::wgsl::parse_str(&source).map_err(|e| error(e.emit_to_string(&source)))?;
        module.entry_points.retain(|point| point.name == self.entry);
        let mut capabilities = Capabilities::empty();
        if self.stored == Stored::F16 {
            capabilities |= Capabilities::SHADER_FLOAT16;
        }
        let info = Validator::new(ValidationFlags::all(), capabilities)
            .validate(&module)
            .map_err(|e| error(e.emit_to_string(&source)))?;
        let point = module
            .entry_points
            .first()
            .ok_or_else(|| error("there is no such entry point".to_owned()))?;
        let workgroup = point.workgroup_size;
        let usage = info.get_entry_point(0);
        let mut bindings = Vec::new();
        let (mut parameters, mut parameter_bytes) = (Vec::new(), 0);
        for (handle, variable) in module.global_variables.iter() {
            let Some(place) = variable.binding else {
                continue;
            };
            // What all commands share is bound whether this one uses it or not.
            if usage[handle].is_empty() && place.group == 0 {
                continue;
            }
            let access = match variable.space {
                AddressSpace::Uniform => Access::Uniform,
                AddressSpace::Storage { access } if access.contains(StorageAccess::STORE) => {
                    Access::ReadWrite
                }
                _ => Access::Read,
            };
            if let (0, Access::Uniform, TypeInner::Struct { members, span }) =
                (place.group, access, &module.types[variable.ty].inner)
            {
                parameter_bytes = *span;
                parameters = members
                    .iter()
                    .map(|member| Parameter {
                        name: member.name.clone().unwrap_or_default(),
                        offset: member.offset,
                        kind: match module.types[member.ty].inner {
                            TypeInner::Scalar(scalar) => scalar.kind,
                            _ => ScalarKind::Uint,
                        },
                    })
                    .collect();
            }
            bindings.push(Binding {
                group: place.group,
                number: place.binding,
                name: variable.name.clone().unwrap_or_default(),
                access,
            });
        }
        bindings.sort_by_key(|binding| (binding.group, binding.number));
        Ok(Shader {
            variant: self.clone(),
            source,
            module,
            bindings,
            parameters,
            parameter_bytes,
            workgroup,
        })
    }
}

impl Shader {
    /// The variant it was compiled from.
    pub fn variant(&self) -> &Variant {
        &self.variant
    }

    /// Its text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Its module, with the one entry point of the variant.
    pub fn module(&self) -> &Module {
        &self.module
    }

    /// What it binds, by group and number: of group 0 only what the entry point uses.
    pub fn bindings(&self) -> &[Binding] {
        &self.bindings
    }

    /// Members of its parameters.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Invocations of a workgroup.
    pub fn workgroup(&self) -> [u32; 3] {
        self.workgroup
    }

    /// The parameters as they lie in memory; those not named are 0.
    ///
    /// # Errors
    /// When the shader has no parameter of a name, or of another kind.
    pub fn pack(&self, values: &[(&str, Value)]) -> Result<Vec<u8>, ShaderError> {
        let mut bytes = vec![0; self.parameter_bytes as usize];
        for (name, value) in values {
            let found = self.parameters.iter().find(|p| p.name == *name);
            let (kind, data) = match value {
                Value::U32(x) => (ScalarKind::Uint, x.to_le_bytes()),
                Value::F32(x) => (ScalarKind::Float, x.to_le_bytes()),
            };
            match found {
                Some(parameter) if parameter.kind == kind => {
                    bytes[parameter.offset as usize..][..4].copy_from_slice(&data);
                }
                _ => {
                    return Err(ShaderError {
                        family: self.variant.family,
                        entry: self.variant.entry,
                        reason: format!("it has no parameter '{name}' of the kind of {value:?}"),
                    });
                }
            }
        }
        Ok(bytes)
    }
}
