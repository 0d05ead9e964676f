//! From a network to a plan: shapes and encryption of every value, fusion, commands, memory.

use std::ops::Range;

use furthermore_kernels_cpu::conv2d::Conv2dShape;
use furthermore_kernels_cpu::function_map::Function;
use furthermore_kernels_cpu::pool::Pool;

use super::averaged::Averaged;
use super::memory::{self, Storage};
use super::{Binding, Command, CompileOptions, Kernel, Plan, Region, Role, Watch};
use crate::algebra::{Algebra, SLOTS};
use crate::error::{Error, Result};
use crate::network::{Network, Op, Value, conv2d_shape, matmul_shape, pool_shape};
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
    /// When shapes do not go together, or an encrypted gradient meets a plaintext parameter.
    pub fn compile(network: &Network, options: &CompileOptions) -> Result<Plan> {
        if let Algebra::Blocks(n) | Algebra::Compact(n) = options.algebra
            && !SLOTS.contains(&n)
        {
            return Err(Error::UnknownAlgebra(options.algebra.to_string()));
        }
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
        compiler.finish()
    }
}

/// A matrix product or convolution with what is fused to it.
#[derive(Clone, Copy)]
struct Chain {
    product: Value,
    bias: Option<Value>,
    activation: Option<Function>,
    /// The last value of the chain, which is the one that exists.
    end: Value,
}

/// How a tensor lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// Row-major, sample after sample.
    Rows,
    /// In tiles of images, as convolutions and pooling like it.
    Tiles,
}

/// How an operation whose result lies in `result` takes its operands.
fn operand_layout(op: &Op, nth: usize, result: Layout) -> Layout {
    match (op, nth) {
        (Op::Conv2dGradientWeights { .. } | Op::Conv2dGradientBias, _) => Layout::Tiles,
        (Op::Conv2d(_) | Op::Conv2dGradientInput { .. }, 1..) => Layout::Rows,
        _ => result,
    }
}

pub(super) struct Compiler<'a> {
    pub(super) network: &'a Network,
    pub(super) options: &'a CompileOptions,
    pub(super) shapes: Vec<Shape>,
    pub(super) encrypted: Vec<bool>,
    pub(super) live: Vec<bool>,
    /// When the value is last read, in node order.
    last_use: Vec<usize>,
    /// By the end of a chain.
    chains: Vec<Option<Chain>>,
    /// The value is inside a chain and never exists.
    pub(super) inside: Vec<bool>,
    /// The value is relu of another, which the averages that read it take themselves.
    pub(super) rectified: Vec<bool>,
    /// By an average that is one operation with its convolution, and by the gradient between them.
    pub(super) averaged: Vec<Option<Averaged>>,
    pub(super) storages: Vec<Storage>,
    pub(super) regions: Vec<Option<Region>>,
    /// How the region lies in memory.
    pub(super) layouts: Vec<Layout>,
    /// The same value in the other layout, where something has asked for it.
    converted: Vec<Option<Region>>,
    commands: Vec<Command>,
    updates: Vec<Command>,
    bindings: Vec<Binding>,
}

impl<'a> Compiler<'a> {
    fn new(network: &'a Network, options: &'a CompileOptions) -> Result<Self> {
        let shapes = network.shapes(options.batch)?;
        let count = network.nodes().len();
        let mut encrypted = vec![false; count];
        for value in network.values() {
            let node = network.node(value);
            let stays_plain = options.plaintext.contains(&node.name);
            encrypted[value.0] = match node.op {
                Op::Input { .. } => options.encrypted_inputs && !stays_plain,
                Op::Parameter { .. } => options.encrypted_parameters && !stays_plain,
                Op::State { .. } => options.encrypted_parameters,
                _ => node.operands.iter().any(|v| encrypted[v.0]),
            };
        }
        // A velocity is encrypted as its parameter is.
        for node in network.nodes() {
            if let (Op::Sgd { .. }, &[_, parameter, velocity]) = (&node.op, &node.operands[..]) {
                encrypted[velocity.0] = encrypted[parameter.0];
            }
        }
        let mut live = vec![false; count];
        for (_, value) in network.outputs() {
            live[value.0] = true;
        }
        for value in network.values().rev() {
            let node = network.node(value);
            live[value.0] |= matches!(node.op, Op::Sgd { .. });
            if live[value.0] {
                node.operands.iter().for_each(|v| live[v.0] = true);
            }
        }
        let mut compiler = Self {
            network,
            options,
            shapes,
            encrypted,
            live,
            last_use: vec![0; count],
            chains: vec![None; count],
            inside: vec![false; count],
            rectified: vec![false; count],
            averaged: vec![None; count],
            storages: Vec::new(),
            regions: vec![None; count],
            layouts: vec![Layout::Rows; count],
            converted: vec![None; count],
            commands: Vec::new(),
            updates: Vec::new(),
            bindings: Vec::new(),
        };
        compiler.fuse();
        Ok(compiler)
    }

    pub(super) fn is_output(&self, value: Value) -> bool {
        self.network.outputs().iter().any(|(_, v)| *v == value)
    }

    /// Finds chains, and from them when each value is last read.
    fn fuse(&mut self) {
        let mut users: Vec<Vec<Value>> = vec![Vec::new(); self.shapes.len()];
        for user in self.network.values().filter(|v| self.live[v.0]) {
            for operand in &self.network.node(user).operands {
                users[operand.0].push(user);
            }
        }
        let only_user = |compiler: &Self, value: Value| match users[value.0][..] {
            [user] if !compiler.is_output(value) => Some(user),
            _ => None,
        };
        self.rectify(&users);
        self.average_convolutions(&users);
        for product in self.network.values().filter(|v| self.live[v.0]) {
            let is_product = matches!(self.network.node(product).op, Op::MatMul { .. });
            if !is_product && !matches!(self.network.node(product).op, Op::Conv2d(_)) {
                continue;
            }
            let mut chain = Chain {
                product,
                bias: None,
                activation: None,
                end: product,
            };
            if is_product
                && let Some(user) = only_user(self, product)
                && let (
                    Op::Linear {
                        alpha: 1.0,
                        beta: 1.0,
                    },
                    &[a, bias],
                ) = (
                    &self.network.node(user).op,
                    &self.network.node(user).operands[..],
                )
                && a == product
                && self.shapes[bias.0].len() == 1
                && self.encrypted[product.0] == self.encrypted[user.0]
            {
                (chain.bias, chain.end) = (Some(bias), user);
            }
            if let Some(user) = only_user(self, chain.end)
                && let Op::Map { function } = self.network.node(user).op
                && !self.rectified[user.0]
            {
                (chain.activation, chain.end) = (Some(function), user);
            }
            self.chains[chain.end.0] = Some(chain);
            let mut within = product;
            while within != chain.end {
                self.inside[within.0] = true;
                within = users[within.0][0];
            }
        }
        let network = self.network;
        for value in network.values().filter(|v| self.live[v.0]) {
            // What inner operations read is read when the last of what they are in is computed.
            let (mut within, mut last) = (vec![value], value.0);
            while let Some(at) = within.pop() {
                last = last.max(at.0);
                if self.inside[at.0] {
                    within.extend(&users[at.0]);
                }
            }
            for operand in &network.node(value).operands {
                self.last_use[operand.0] = self.last_use[operand.0].max(last);
            }
        }
    }

    /// Finds relu of images that only averages read, and gradients of averages that go only through
    /// it: the averages apply relu themselves, and neither is ever written.
    fn rectify(&mut self, users: &[Vec<Value>]) {
        let network = self.network;
        for value in network.values().filter(|v| self.live[v.0]) {
            let node = network.node(value);
            if node.op
                != (Op::Map {
                    function: Function::Relu,
                })
                || self.is_output(value)
            {
                continue;
            }
            let takes = |user: &Value| match network.node(*user).op {
                Op::Pool { pool, .. } => pool != Pool::Max,
                Op::PoolGradient { pool, .. } => {
                    let through = Op::MapGradient {
                        function: Function::Relu,
                    };
                    pool != Pool::Max
                        && !self.is_output(*user)
                        && matches!(users[user.0][..], [by] if network.node(by).op == through
                            && network.node(by).operands == [node.operands[0], *user])
                }
                _ => false,
            };
            if !users[value.0].is_empty() && users[value.0].iter().all(takes) {
                (self.rectified[value.0], self.inside[value.0]) = (true, true);
                for user in &users[value.0] {
                    if matches!(network.node(*user).op, Op::PoolGradient { .. }) {
                        self.inside[user.0] = true;
                    }
                }
            }
        }
    }

    /// The images that pooling reads: before relu, where it applies that itself.
    fn pooled(&self, images: Value) -> (Value, bool) {
        if self.rectified[images.0] {
            (self.network.node(images).operands[0], true)
        } else {
            (images, false)
        }
    }

    /// The gradient of an average by the images before relu, where `value` is the last of what is
    /// one operation then.
    fn emit_rectified_gradient(&mut self, value: Value) -> Result<bool> {
        let network = self.network;
        let (Op::MapGradient { .. }, &[x, average]) =
            (&network.node(value).op, &network.node(value).operands[..])
        else {
            return Ok(false);
        };
        let (&Op::PoolGradient { pool, window }, true) =
            (&network.node(average).op, self.inside[average.0])
        else {
            return Ok(false);
        };
        let gradient = network.node(average).operands[1];
        self.alike(value, &[x, gradient])?;
        self.layouts[value.0] = Layout::Tiles;
        let reads = [x, gradient].map(|v| self.operand(v, Layout::Tiles));
        let shape = self.sizes(value, pool_shape(&self.shapes[x.0], &window))?;
        let kernel = Kernel::PoolGradient {
            pool,
            shape,
            rectified: true,
        };
        self.plain_call(value, kernel, &reads);
        Ok(true)
    }

    /// A new tensor for `value`.
    fn create(&mut self, value: Value, pinned: bool) -> Region {
        let planes = if self.encrypted[value.0] {
            self.options.algebra.dim()
        } else {
            1
        };
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

    pub(super) fn result(&mut self, value: Value) -> Region {
        let pinned = self.is_output(value);
        self.create(value, pinned)
    }

    fn region(&self, value: Value) -> Region {
        self.regions[value.0].expect("operands are computed before what reads them")
    }

    /// Whether `operand` may be overwritten when `by` is computed.
    fn dies(&self, operand: Value, by: Value) -> bool {
        self.last_use[operand.0] == by.0 && !self.storages[self.region(operand).buffer].pinned
    }

    pub(super) fn command(
        &mut self,
        value: Value,
        kernel: Kernel,
        reads: &[Region],
        writes: &[Region],
    ) {
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
            region: self.create(value, true),
        };
        self.bindings.push(binding);
    }

    fn emit(&mut self, value: Value) -> Result<()> {
        if self.inside[value.0] {
            return Ok(());
        }
        if let Some(chain) = self.chains[value.0] {
            return self.emit_product(&chain);
        }
        if let Some(averaged) = self.averaged[value.0] {
            return self.emit_averaged(value, &averaged);
        }
        if self.emit_rectified_gradient(value)? {
            return Ok(());
        }
        let network = self.network;
        let node = network.node(value);
        let layout = self.result_layout(value);
        self.layouts[value.0] = layout;
        let mut reads: Vec<Region> = (0..node.operands.len())
            .map(|nth| {
                let (operand, _) = self.pooled(node.operands[nth]);
                let operand = self
                    .averaged_gradient(operand)
                    .map_or(operand, |(by, _)| by);
                self.operand(operand, operand_layout(&node.op, nth, layout))
            })
            .collect();
        let mut pooled = None;
        for operand in &node.operands {
            if let Some((_, window)) = self.averaged_gradient(*operand) {
                pooled = Some(window);
                reads.push(self.region(*operand));
            }
        }
        let columns = node
            .operands
            .first()
            .map_or(0, |v| self.shapes[v.0].row_elements());
        let operands = &node.operands[..];
        match node.op {
            Op::Input { .. } => self.bind(value, Role::Input),
            Op::Parameter { .. } => self.bind(value, Role::Parameter),
            Op::State { .. } => self.bind(value, Role::State),
            Op::MatMul { .. } | Op::Conv2d(_) => {
                unreachable!("every product is the start of a chain")
            }
            Op::Conv2dGradientInput { convolution, .. } => {
                let shape = self.sizes(
                    value,
                    conv2d_shape(
                        &self.shapes[value.0],
                        &self.shapes[operands[1].0],
                        &convolution,
                    ),
                )?;
                self.plain_call(value, Kernel::Conv2dGradientInput { shape, pooled }, &reads);
            }
            Op::Conv2dGradientWeights { convolution, .. } => {
                let shape = self.sizes(
                    value,
                    conv2d_shape(
                        &self.shapes[operands[0].0],
                        &self.shapes[value.0],
                        &convolution,
                    ),
                )?;
                self.plain_call(
                    value,
                    Kernel::Conv2dGradientWeights { shape, pooled },
                    &reads,
                );
            }
            Op::Conv2dGradientBias => {
                let &[batch, channels, rows, columns] = &*self.shapes[operands[0].0] else {
                    return self.refuse(value, "its operand is no image");
                };
                let sizes = [batch, channels, rows, columns];
                self.plain_call(value, Kernel::Conv2dGradientBias { sizes, pooled }, &reads);
            }
            Op::Pool { pool, window } => {
                let shape = self.sizes(value, pool_shape(&self.shapes[operands[0].0], &window))?;
                let (_, rectified) = self.pooled(operands[0]);
                let kernel = Kernel::Pool {
                    pool,
                    shape,
                    rectified,
                };
                self.plain_call(value, kernel, &reads);
            }
            Op::PoolGradient { pool, window } => {
                let shape = self.sizes(value, pool_shape(&self.shapes[value.0], &window))?;
                self.alike(value, operands)?;
                let kernel = Kernel::PoolGradient {
                    pool,
                    shape,
                    rectified: false,
                };
                self.plain_call(value, kernel, &reads);
            }
            Op::Reshape { .. } => self.copy(value, reads[0]),
            Op::Linear { alpha, beta } => {
                self.plain_call(value, Kernel::Linear { alpha, beta }, &reads)
            }
            Op::Scale { factor } => {
                let kernel = Kernel::Linear {
                    alpha: factor,
                    beta: 0.0,
                };
                self.plain_call(value, kernel, &[reads[0], reads[0]]);
            }
            Op::Multiply => self.plain_call(value, Kernel::Multiply, &reads),
            Op::SumRows => self.plain_call(value, Kernel::SumRows, &reads),
            Op::Map { function } => {
                let target = if self.dies(operands[0], value) && !self.is_output(value) {
                    self.regions[value.0] = Some(reads[0]);
                    reads[0]
                } else {
                    self.result(value)
                };
                self.command(value, Kernel::FunctionMap { function }, &reads, &[target]);
            }
            Op::MapGradient { function } => {
                self.alike(value, operands)?;
                let overwrite = self.dies(operands[1], value)
                    && !self.is_output(value)
                    && reads[0].buffer != reads[1].buffer;
                let target = if overwrite {
                    self.regions[value.0] = Some(reads[1]);
                    reads[1]
                } else {
                    self.copy(value, reads[1]);
                    self.region(value)
                };
                let kernel = Kernel::FunctionMapGradient { function };
                self.command(value, kernel, &reads[..1], &[target]);
            }
            Op::SoftmaxCrossEntropy => {
                self.loss(value, Kernel::SoftmaxCrossEntropy { columns }, &reads)?;
            }
            Op::SoftmaxCrossEntropyGradient => {
                self.loss(
                    value,
                    Kernel::SoftmaxCrossEntropyGradient { columns },
                    &reads,
                )?;
            }
            Op::MeanSquaredError => self.loss(value, Kernel::MeanSquaredError, &reads)?,
            Op::MeanSquaredErrorGradient => {
                let scale = 2.0 / reads[0].elements.max(1) as f64;
                let kernel = Kernel::Linear {
                    alpha: scale,
                    beta: -scale,
                };
                self.plain_call(value, kernel, &reads);
            }
            Op::Sgd { momentum } => {
                if self.encrypted[operands[0].0] != self.encrypted[operands[1].0] {
                    return self.refuse(
                        value,
                        "the gradient is encrypted and the parameter is not: compile with \
                         encrypted parameters to train on encrypted inputs",
                    );
                }
                self.regions[value.0] = Some(reads[1]);
                self.updates.push(Command {
                    name: node.name.clone(),
                    kernel: Kernel::Sgd { momentum },
                    reads: vec![reads[0]],
                    writes: reads[1..].to_vec(),
                    watch: Watch::Finite,
                });
            }
        }
        Ok(())
    }

    /// How the result of an operation lies in memory: as its operands do where it does not care.
    fn result_layout(&self, value: Value) -> Layout {
        let node = self.network.node(value);
        let tiled = |v: &Value| self.layouts[v.0] == Layout::Tiles;
        let same_shape = |v: &Value| self.shapes[v.0] == self.shapes[value.0];
        match node.op {
            Op::Conv2d(_)
            | Op::Conv2dGradientInput { .. }
            | Op::Pool { .. }
            | Op::PoolGradient { .. } => Layout::Tiles,
            Op::Map { .. }
            | Op::MapGradient { .. }
            | Op::Scale { .. }
            | Op::Multiply
            | Op::Linear { .. }
            | Op::MeanSquaredErrorGradient
                if node.operands.iter().any(tiled) && node.operands.iter().all(same_shape) =>
            {
                Layout::Tiles
            }
            _ => Layout::Rows,
        }
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
        let copy = Kernel::Linear {
            alpha: 1.0,
            beta: 0.0,
        };
        self.plain_call(value, copy, &[from, from]);
    }

    /// A command that writes a new tensor.
    fn plain_call(&mut self, value: Value, kernel: Kernel, reads: &[Region]) {
        let target = self.result(value);
        self.command(value, kernel, reads, &[target]);
    }

    fn loss(&mut self, value: Value, kernel: Kernel, reads: &[Region]) -> Result<()> {
        if reads[0].planes < reads[1].planes {
            return self.refuse(value, "targets are encrypted and predictions are not");
        }
        self.plain_call(value, kernel, reads);
        Ok(())
    }

    /// A convolution's sizes, whether it has a bias, and what it reads.
    pub(super) fn convolution(&mut self, value: Value) -> Result<(Conv2dShape, bool, Vec<Region>)> {
        let node = self.network.node(value);
        let (&Op::Conv2d(convolution), &[x, weights, ref bias @ ..]) =
            (&node.op, &node.operands[..])
        else {
            return self.refuse(value, "it is no convolution");
        };
        if let [bias] = bias
            && self.encrypted[bias.0]
            && !self.encrypted[x.0]
            && !self.encrypted[weights.0]
        {
            let reason = "its bias is encrypted and neither images nor weights are";
            return self.refuse(value, reason);
        }
        let shape = self.sizes(
            value,
            conv2d_shape(&self.shapes[x.0], &self.shapes[weights.0], &convolution),
        )?;
        let layout = |nth| operand_layout(&node.op, nth, Layout::Tiles);
        let operands = node.operands.iter().enumerate();
        let reads = operands
            .map(|(nth, v)| self.operand(*v, layout(nth)))
            .collect();
        Ok((shape, !bias.is_empty(), reads))
    }

    fn emit_product(&mut self, chain: &Chain) -> Result<()> {
        let network = self.network;
        let node = network.node(chain.product);
        if let Op::Conv2d(_) = node.op {
            let (shape, bias, reads) = self.convolution(chain.product)?;
            self.layouts[chain.end.0] = Layout::Tiles;
            let kernel = Kernel::Conv2d {
                shape,
                bias,
                activation: chain.activation,
            };
            self.plain_call(chain.end, kernel, &reads);
            return Ok(());
        }
        let (
            Op::MatMul {
                transpose_a,
                transpose_b,
            },
            &[a, b],
        ) = (&node.op, &node.operands[..])
        else {
            return self.refuse(chain.product, "it is no product of two operands");
        };
        let shape = matmul_shape(
            &self.shapes[a.0],
            &self.shapes[b.0],
            *transpose_a,
            *transpose_b,
        )
        .map_err(|reason| Error::Operation {
            operation: node.name.clone(),
            reason,
        })?;
        let mut reads = vec![self.region(a), self.region(b)];
        reads.extend(chain.bias.map(|bias| self.region(bias)));
        let target = self.result(chain.end);
        let kernel = Kernel::BlockMatmul {
            shape,
            bias: chain.bias.is_some(),
            activation: chain.activation,
        };
        self.command(chain.end, kernel, &reads, &[target]);
        Ok(())
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
        let updates: Range<usize> = 0..self.updates.len();
        for i in updates {
            let step = &self.updates[i];
            let (name, gradient) = (step.name.clone(), step.reads[0]);
            self.watch(&name, gradient, Watch::Ratio);
        }
        for (name, value) in network.outputs() {
            let node = network.node(*value);
            let is_loss = matches!(node.op, Op::SoftmaxCrossEntropy | Op::MeanSquaredError);
            let region = self.operand(*value, Layout::Rows);
            self.storages[region.buffer].pinned = true;
            self.bindings.push(Binding {
                name: name.clone(),
                role: Role::Output,
                shape: self.shapes[value.0].clone(),
                encrypted: self.encrypted[value.0],
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
        let pinned = self.bindings.iter_mut().map(|b| &mut b.region);
        let buffers = memory::assign(&self.storages, &mut self.commands, pinned);
        Ok(Plan {
            options: self.options.clone(),
            commands: self.commands,
            bindings: self.bindings,
            buffers,
        })
    }
}
