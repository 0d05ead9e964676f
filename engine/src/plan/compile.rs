//! From a network to a plan: shapes and encryption of every value, then a command for each that is
//! computed.

mod elements;
mod images;
mod moves;
mod planes;
mod products;
mod rows;
mod steps;

use std::collections::BTreeMap;

use furthermore_kernels_cpu::elementwise::Broadcast;

use super::fuse::Fusion;
use super::layout::{Layout, operand_layout, result_layout};
use super::memory::{self, Storage};
use super::{Binding, Command, CompileOptions, Fill, Filled, Kernel, Plan, Region, Role, Watch};
use crate::error::{Error, Result};
use crate::network::{Network, Op, Value, pool_shape};
use crate::tensor::Shape;

impl Plan {
    /// Compiles `network`.
    ///
    /// Operations that neither an output nor an update needs are left out. A matrix product, the row
    /// added to it and the function applied to it become one command where nothing else reads what
    /// lies between. Updates come last, after every gradient has passed the guard, so that a run
    /// that fails leaves the parameters as they were.
    ///
    /// # Errors
    /// When shapes do not go together, an encrypted gradient meets a plaintext parameter, or the plan
    /// passes the options' limit of memory.
    pub fn compile(network: &Network, options: &CompileOptions) -> Result<Plan> {
        options.check_algebra()?;
        if options.batch == 0 {
            let reason = "a batch of 0 samples has nothing to compute".to_owned();
            return Err(Error::Operation {
                operation: "compile".to_owned(),
                reason,
            });
        }
        for name in &options.plaintext {
            let stored = |op: &Op| matches!(op, Op::Input { .. } | Op::Parameter { .. });
            if !network
                .nodes()
                .iter()
                .any(|node| node.name == *name && stored(&node.op))
            {
                let reason =
                    format!("'{name}' should stay plaintext, and is no input or parameter");
                return Err(Error::Operation {
                    operation: "compile".to_owned(),
                    reason,
                });
            }
        }
        let mut compiler = Compiler::new(network, options)?;
        for value in network.values() {
            if compiler.live[value.0] {
                compiler.emit(value)?;
            }
        }
        let plan = compiler.finish()?;
        options.check_memory(plan.bytes())?;
        Ok(plan)
    }
}

/// Which values are encrypted.
///
/// # Errors
/// When what has to stay plaintext is an average of what is encrypted.
fn encryption(network: &Network, options: &CompileOptions) -> Result<Vec<bool>> {
    let stays_plain = |value: Value| options.plaintext.contains(&network.node(value).name);
    let mut averages: BTreeMap<Value, bool> = BTreeMap::new();
    let mut encrypted = vec![false; network.nodes().len()];
    // An average is encrypted as what it averages, which is known after what may read the average.
    for _ in 0..2 {
        for value in network.values() {
            let node = network.node(value);
            encrypted[value.0] = match node.op {
                Op::Input { .. } => options.encrypted_inputs && !stays_plain(value),
                Op::Parameter { .. } => match averages.get(&value) {
                    Some(encrypted) => *encrypted,
                    None => options.encrypted_parameters && !stays_plain(value),
                },
                Op::State { .. } => options.encrypted_parameters,
                _ => node.operands.iter().any(|v| encrypted[v.0]),
            };
        }
        for step in network.values().filter(|v| network.is_step(*v)) {
            match (&network.node(step).op, &network.node(step).operands[..]) {
                (Op::MovingAverage { .. }, &[of, average]) => {
                    averages.insert(average, encrypted[of.0]);
                }
                // An optimiser's memory is encrypted as its parameter is.
                (_, [_, parameter, states @ ..]) => {
                    let parameter = encrypted[parameter.0];
                    states.iter().for_each(|v| encrypted[v.0] = parameter);
                }
                _ => {}
            }
        }
    }
    match averages
        .iter()
        .find(|(v, encrypted)| **encrypted && stays_plain(**v))
    {
        None => Ok(encrypted),
        Some((average, _)) => Err(Error::Operation {
            operation: network.node(*average).name.clone(),
            reason: "it should stay plaintext, and is an average of ciphertexts".to_owned(),
        }),
    }
}

struct Compiler<'a> {
    network: &'a Network,
    options: &'a CompileOptions,
    shapes: Vec<Shape>,
    encrypted: Vec<bool>,
    /// Of each value.
    planes: Vec<usize>,
    live: Vec<bool>,
    fusion: Fusion<'a>,
    storages: Vec<Storage>,
    regions: Vec<Option<Region>>,
    /// How the region lies in memory.
    layouts: Vec<Layout>,
    /// The same value in the other layout, where something has asked for it.
    converted: Vec<Option<Region>>,
    commands: Vec<Command>,
    updates: Vec<Command>,
    bindings: Vec<Binding>,
    filled: Vec<Filled>,
}

impl<'a> Compiler<'a> {
    fn new(network: &'a Network, options: &'a CompileOptions) -> Result<Self> {
        let shapes = network.shapes(options.batch)?;
        let count = network.nodes().len();
        let encrypted = encryption(network, options)?;
        let mut live = vec![false; count];
        for (_, value) in network.outputs() {
            live[value.0] = true;
        }
        for value in network.values().rev() {
            let node = network.node(value);
            live[value.0] |= network.is_step(value);
            if live[value.0] {
                node.operands.iter().for_each(|v| live[v.0] = true);
            }
        }
        let planes = planes::planes(network, options, &shapes, &encrypted, &live)?;
        let fusion = Fusion::new(network, &live, &shapes, &planes);
        Ok(Self {
            network,
            options,
            shapes,
            encrypted,
            planes,
            live,
            fusion,
            storages: Vec::new(),
            regions: vec![None; count],
            layouts: vec![Layout::Rows; count],
            converted: vec![None; count],
            commands: Vec::new(),
            updates: Vec::new(),
            bindings: Vec::new(),
            filled: Vec::new(),
        })
    }

    /// A new tensor for `value`.
    fn create(&mut self, value: Value, pinned: bool) -> Region {
        let planes = self.planes[value.0];
        let elements = self.shapes[value.0].iter().product();
        let stride = self.options.dtype.plane_stride(elements);
        self.storages.push(Storage {
            elements: planes * stride,
            pinned,
        });
        let region = Region {
            buffer: self.storages.len() - 1,
            planes,
            elements,
            stride,
        };
        self.regions[value.0] = Some(region);
        region
    }

    fn result(&mut self, value: Value) -> Region {
        let pinned = self.network.is_output(value);
        self.create(value, pinned)
    }

    fn region(&self, value: Value) -> Region {
        self.regions[value.0].expect("operands are computed before what reads them")
    }

    /// Whether `operand` may be overwritten when `by` is computed.
    fn dies(&self, operand: Value, by: Value) -> bool {
        self.fusion.is_last_use(operand, by) && !self.storages[self.region(operand).buffer].pinned
    }

    fn command(&mut self, value: Value, kernel: Kernel, reads: &[Region], writes: &[Region]) {
        let watch = Watch::Ratio;
        let name = self.network.node(value).name.clone();
        let (reads, writes) = (reads.to_vec(), writes.to_vec());
        self.commands.push(Command {
            name,
            kernel,
            reads,
            writes,
            watch,
        });
    }

    fn refuse<T>(&self, value: Value, reason: &str) -> Result<T> {
        let operation = self.network.node(value).name.clone();
        Err(Error::Operation {
            operation,
            reason: reason.to_owned(),
        })
    }

    fn bind(&mut self, value: Value, role: Role) {
        let binding = Binding {
            name: self.network.node(value).name.clone(),
            role,
            shape: self.shapes[value.0].clone(),
            encrypted: self.encrypted[value.0],
            by_sample: role == Role::Input,
            region: self.create(value, true),
        };
        self.bindings.push(binding);
    }

    fn emit(&mut self, value: Value) -> Result<()> {
        if self.fusion.is_inside(value) {
            return Ok(());
        }
        if let Some(chain) = self.fusion.chain_to(value) {
            return self.emit_product(&chain);
        }
        if let Some(averaged) = self.fusion.averaged(value) {
            return self.emit_averaged(value, &averaged);
        }
        if self.emit_rectified_gradient(value)? || self.emit_convolution_gradient(value)? {
            return Ok(());
        }
        let network = self.network;
        let node = network.node(value);
        let tiled = (node.operands.iter()).any(|v| self.layouts[v.0] == Layout::Tiles)
            && (node.operands.iter()).all(|v| self.shapes[v.0] == self.shapes[value.0]);
        let layout = result_layout(&node.op, tiled);
        self.layouts[value.0] = layout;
        // Of what says only how large the result is nothing is read.
        let read = match node.op {
            Op::Expand { .. } => &node.operands[..1],
            _ => &node.operands[..],
        };
        let reads: Vec<Region> = (read.iter().enumerate())
            .map(|(nth, operand)| {
                let (operand, _) = self.fusion.pooled(*operand);
                self.operand(operand, operand_layout(&node.op, nth, layout))
            })
            .collect();
        match &node.op {
            Op::Input { .. } => self.bind(value, Role::Input),
            Op::Parameter { .. } => self.bind(value, Role::Parameter),
            Op::State { .. } => self.bind(value, Role::State),
            Op::Constant { values, .. } => self.fill(value, Fill::Constant(values.clone())),
            &Op::DropoutMask { rate, .. } => self.fill(value, Fill::Dropout { rate }),
            Op::MatMul { .. } | Op::Conv2d(_) => {
                unreachable!("every product is the start of a chain")
            }
            Op::Conv2dGradientInput { .. }
            | Op::Conv2dGradientWeights { .. }
            | Op::Conv2dGradientBias => {
                unreachable!("gradients of convolutions are emitted before")
            }
            Op::Linear { .. } => {
                let reads = self.level(value, reads);
                return self.emit_elements(value, &reads);
            }
            Op::Scale { .. }
            | Op::Multiply
            | Op::Divide
            | Op::Map { .. }
            | Op::MapGradient { .. }
            | Op::Polynomial { .. }
            | Op::PolynomialGradient { .. }
            | Op::PolynomialCoefficientGradient { .. }
            | Op::Clip { .. }
            | Op::MeanSquaredErrorGradient => return self.emit_elements(value, &reads),
            Op::Reduce { .. }
            | Op::MaxGradient { .. }
            | Op::Softmax { .. }
            | Op::SoftmaxGradient { .. }
            | Op::SoftmaxCrossEntropy
            | Op::SoftmaxCrossEntropyGradient
            | Op::BinaryCrossEntropy
            | Op::BinaryCrossEntropyGradient
            | Op::MeanSquaredError => return self.emit_rows(value, &reads),
            Op::Reshape { .. }
            | Op::Expand { .. }
            | Op::Transpose { .. }
            | Op::Concat { .. }
            | Op::Slice { .. }
            | Op::SliceGradient { .. }
            | Op::Pad { .. } => return self.emit_moves(value, &reads),
            Op::Step(_) | Op::MovingAverage { .. } => {
                return self.emit_step(value, &reads);
            }
            &Op::Pool { pool, window } => {
                let images = node.operands[0];
                let shape = self.sizes(value, pool_shape(&self.shapes[images.0], &window))?;
                let (_, rectified) = self.fusion.pooled(images);
                let kernel = Kernel::Pool {
                    pool,
                    shape,
                    rectified,
                };
                self.plain_call(value, kernel, &reads);
            }
            &Op::PoolGradient { pool, window } => {
                let shape = self.sizes(value, pool_shape(&self.shapes[value.0], &window))?;
                self.alike(value, &node.operands)?;
                let kernel = Kernel::PoolGradient {
                    pool,
                    shape,
                    rectified: false,
                };
                self.plain_call(value, kernel, &reads);
            }
        }
        Ok(())
    }

    /// A tensor that the session fills itself.
    fn fill(&mut self, value: Value, fill: Fill) {
        let filled = Filled {
            shape: self.shapes[value.0].clone(),
            region: self.create(value, true),
            fill,
        };
        self.filled.push(filled);
    }

    /// Where an operand lies in `layout`: it is converted where it lies otherwise.
    fn operand(&mut self, value: Value, layout: Layout) -> Region {
        let region = self.region(value);
        if self.layouts[value.0] == layout || self.shapes[value.0].len() < 4 {
            return region;
        }
        if let Some(region) = self.converted[value.0] {
            return region;
        }
        let stride = region.stride;
        self.storages.push(Storage {
            elements: region.planes * stride,
            pinned: false,
        });
        let buffer = self.storages.len() - 1;
        let target = Region { buffer, ..region };
        let kernel = Kernel::Tiles {
            batch: self.shapes[value.0].rows(),
            into: layout == Layout::Tiles,
        };
        self.command(value, kernel, &[region], &[target]);
        self.converted[value.0] = Some(target);
        target
    }

    /// Sizes that shape inference has found to go together.
    fn sizes<R>(&self, value: Value, found: Result<R, String>) -> Result<R> {
        found.map_err(|reason| Error::Operation {
            operation: self.network.node(value).name.clone(),
            reason,
        })
    }

    /// What a function saved and its gradient have to be both plaintext or both encrypted.
    fn alike(&self, value: Value, operands: &[Value]) -> Result<()> {
        if self.encrypted[operands[0].0] == self.encrypted[operands[1].0] {
            return Ok(());
        }
        self.refuse(
            value,
            "what was saved and its gradient are not encrypted alike",
        )
    }

    /// A new tensor with the elements of a region.
    fn copy(&mut self, value: Value, from: Region) {
        self.scale(value, 1.0, from);
    }

    /// A new tensor with a multiple of the elements of a region.
    fn scale(&mut self, value: Value, factor: f64, from: Region) {
        let kernel = Kernel::Linear {
            broadcast: Broadcast::same(from.elements),
            alpha: factor,
            beta: 0.0,
        };
        self.plain_call(value, kernel, &[from, from]);
    }

    /// How two operands meet: both row-major, or alike and in any layout.
    fn broadcast(&self, operands: &[Value]) -> Result<Broadcast> {
        let [a, b] = [0, 1].map(|nth| &self.shapes[operands[nth].0]);
        Ok(Broadcast::new(a, b)?)
    }

    /// A command that writes a new tensor.
    fn plain_call(&mut self, value: Value, kernel: Kernel, reads: &[Region]) {
        let target = self.result(value);
        self.command(value, kernel, reads, &[target]);
    }

    /// Where `value` is computed in place: over `operand`, which lies in `read`, where nothing else
    /// needs that any more, or over a copy.
    fn in_place(
        &mut self,
        value: Value,
        operand: Value,
        read: Region,
        others: &[Region],
    ) -> Region {
        let free = self.dies(operand, value)
            && !self.network.is_output(value)
            && others.iter().all(|other| other.buffer != read.buffer);
        if free {
            self.regions[value.0] = Some(read);
            return read;
        }
        self.copy(value, read);
        self.region(value)
    }

    /// Looks at a tensor that leaves the plan or steps a parameter.
    fn watch(&mut self, name: &str, region: Region, watch: Watch) {
        self.commands.push(Command {
            name: name.to_owned(),
            kernel: Kernel::SlotMaxima,
            reads: vec![region],
            writes: Vec::new(),
            watch,
        });
    }

    fn finish(mut self) -> Result<Plan> {
        let network = self.network;
        let gradients: Vec<(String, Region, Watch)> = (self.updates.iter())
            .map(|step| {
                // Of what is averaged one slot may well be near zero.
                let watch = match step.kernel {
                    Kernel::Sgd { rate: Some(_), .. } => Watch::Finite,
                    _ => Watch::Ratio,
                };
                (step.name.clone(), step.reads[0], watch)
            })
            .collect();
        for (name, gradient, watch) in gradients {
            self.watch(&name, gradient, watch);
        }
        let by_sample = network.by_sample(&self.shapes, self.options.batch);
        for (name, value) in network.outputs() {
            let node = network.node(*value);
            let is_loss = matches!(
                node.op,
                Op::SoftmaxCrossEntropy | Op::BinaryCrossEntropy | Op::MeanSquaredError
            );
            let region = self.operand(*value, Layout::Rows);
            self.storages[region.buffer].pinned = true;
            self.bindings.push(Binding {
                name: name.clone(),
                role: Role::Output,
                shape: self.shapes[value.0].clone(),
                encrypted: self.encrypted[value.0],
                by_sample: by_sample[value.0],
                region,
            });
            // A loss shrinks in each slot at its own pace, and nothing is computed from it.
            self.watch(
                &node.name,
                region,
                if is_loss { Watch::Finite } else { Watch::Ratio },
            );
        }
        self.commands.append(&mut self.updates);
        for command in &self.commands {
            command.check(self.options.algebra)?;
        }
        let bound = self.bindings.iter_mut().map(|b| &mut b.region);
        let pinned = bound.chain(self.filled.iter_mut().map(|f| &mut f.region));
        let buffers = memory::assign(&self.storages, &mut self.commands, pinned);
        Ok(Plan {
            options: self.options.clone(),
            commands: self.commands,
            bindings: self.bindings,
            filled: self.filled,
            buffers,
        })
    }
}
