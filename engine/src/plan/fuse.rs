//! Fusion: which operations of a network become one command, and when each value is last read.

use furthermore_kernels_cpu::function_map::Function;
use furthermore_kernels_cpu::pool::Pool;

use crate::network::{Network, Op, Value, Window};
use crate::tensor::Shape;

/// A matrix product or convolution with what is fused to it.
#[derive(Clone, Copy)]
pub(super) struct Chain {
    pub(super) product: Value,
    pub(super) bias: Option<Value>,
    pub(super) activation: Option<Function>,
    /// The last value of the chain, which is the one that exists.
    pub(super) end: Value,
}

/// A convolution of which only averages of relu exist.
#[derive(Clone, Copy)]
pub(super) struct Averaged {
    pub(super) convolution: Value,
    /// Rows and columns of the windows, which tile the convolution.
    pub(super) window: [usize; 2],
    /// The gradient by the convolution, which only the convolution's own gradients read.
    pub(super) gradient: Option<Value>,
}

/// What is read in place of the gradient by an averaged convolution.
#[derive(Clone, Copy)]
pub(super) struct AveragedGradient {
    pub(super) by_average: Value,
    pub(super) window: [usize; 2],
}

/// What is found in a network. Each list has an entry a value.
pub(super) struct Fusion<'a> {
    network: &'a Network,
    /// The live operations that read the value.
    users: Vec<Vec<Value>>,
    /// By the end of a chain.
    chains: Vec<Option<Chain>>,
    /// The value is inside another's command and never exists.
    inside: Vec<bool>,
    /// The value is relu of another, which the averages that read it take themselves.
    rectified: Vec<bool>,
    /// By the average that is one command with its convolution.
    averaged: Vec<Option<Averaged>>,
    /// By the gradient by such a convolution.
    averaged_gradients: Vec<Option<AveragedGradient>>,
    /// The last value in whose command the value is read.
    last_use: Vec<Value>,
}

impl<'a> Fusion<'a> {
    /// Looks through the operations that are `live`.
    pub(super) fn new(
        network: &'a Network,
        live: &[bool],
        shapes: &[Shape],
        planes: &[usize],
    ) -> Self {
        let count = network.nodes().len();
        let mut fusion = Self {
            network,
            users: vec![Vec::new(); count],
            chains: vec![None; count],
            inside: vec![false; count],
            rectified: vec![false; count],
            averaged: vec![None; count],
            averaged_gradients: vec![None; count],
            last_use: network.values().collect(),
        };
        let live = || network.values().filter(|v| live[v.0]);
        for user in live() {
            for operand in &network.node(user).operands {
                fusion.users[operand.0].push(user);
            }
        }
        live().for_each(|value| fusion.rectify(value));
        live().for_each(|value| fusion.average(value, shapes, planes));
        live().for_each(|value| fusion.chain(value, shapes, planes));
        live().for_each(|value| fusion.read(value));
        fusion
    }

    /// The chain that ends in `value`.
    pub(super) fn chain_to(&self, value: Value) -> Option<Chain> {
        self.chains[value.0]
    }

    /// The convolution of which `value` is the average, in one command with it.
    pub(super) fn averaged(&self, value: Value) -> Option<Averaged> {
        self.averaged[value.0]
    }

    /// Where `value` is the gradient by an averaged convolution: what is read in its place.
    pub(super) fn averaged_gradient(&self, value: Value) -> Option<AveragedGradient> {
        self.averaged_gradients[value.0]
    }

    /// Whether `value` is inside another's command and never exists.
    pub(super) fn is_inside(&self, value: Value) -> bool {
        self.inside[value.0]
    }

    /// Whether the command of `by` is the last that reads `value`.
    pub(super) fn is_last_use(&self, value: Value, by: Value) -> bool {
        self.last_use[value.0] == by
    }

    /// The images that pooling reads: before relu, where it applies that itself.
    pub(super) fn pooled(&self, images: Value) -> (Value, bool) {
        if self.rectified[images.0] {
            (self.network.node(images).operands[0], true)
        } else {
            (images, false)
        }
    }

    /// The one operation that reads a value which nobody else sees.
    fn only_user(&self, value: Value) -> Option<Value> {
        match self.users[value.0][..] {
            [user] if !self.network.is_output(value) => Some(user),
            _ => None,
        }
    }

    /// Finds relu of images that only averages read, and gradients of averages that go only through
    /// it: the averages apply relu themselves, and neither is ever written.
    fn rectify(&mut self, value: Value) {
        let node = self.network.node(value);
        let (relu, users) = (Function::Relu, &self.users[value.0]);
        if node.op != (Op::Map { function: relu }) || self.network.is_output(value) {
            return;
        }
        let takes = |user: &Value| match self.network.node(*user).op {
            Op::Pool { pool, .. } => pool != Pool::Max,
            Op::PoolGradient { pool, .. } => {
                let through = self.only_user(*user).map(|by| self.network.node(by));
                pool != Pool::Max
                    && through.is_some_and(|by| {
                        by.op == (Op::MapGradient { function: relu })
                            && by.operands == [node.operands[0], *user]
                    })
            }
            _ => false,
        };
        if users.is_empty() || !users.iter().all(takes) {
            return;
        }
        (self.rectified[value.0], self.inside[value.0]) = (true, true);
        for user in users {
            if matches!(self.network.node(*user).op, Op::PoolGradient { .. }) {
                self.inside[user.0] = true;
            }
        }
    }

    /// Finds a convolution whose relu one average takes, over windows that tile it: what lies between
    /// is never written, nor is a gradient by it that only the convolution's own gradients read.
    fn average(&mut self, convolution: Value, shapes: &[Shape], planes: &[usize]) {
        let Some((average, window)) = self.only_average(convolution, &shapes[convolution.0]) else {
            return;
        };
        let relu = self.users[convolution.0][0];
        let gradient = match (&self.users[relu.0][1..], &self.users[convolution.0][1..]) {
            ([], []) => None,
            (&[pooled], &[by_convolution]) => {
                let by_average = self.network.node(pooled).operands[1];
                if !self.is_own_gradient(by_convolution)
                    || planes[by_average.0] != planes[convolution.0]
                {
                    return;
                }
                let gradient = AveragedGradient { by_average, window };
                self.averaged_gradients[by_convolution.0] = Some(gradient);
                self.inside[by_convolution.0] = true;
                Some(by_convolution)
            }
            _ => return,
        };
        self.inside[convolution.0] = true;
        self.averaged[average.0] = Some(Averaged {
            convolution,
            window,
            gradient,
        });
    }

    /// The average that takes relu of a convolution, and its windows; others may be gradients only.
    fn only_average(&self, convolution: Value, shape: &Shape) -> Option<(Value, [usize; 2])> {
        let op = |value: Value| &self.network.node(value).op;
        let relu = *self.users[convolution.0].first()?;
        if !matches!(op(convolution), Op::Conv2d(_))
            || self.network.is_output(convolution)
            || !self.rectified[relu.0]
        {
            return None;
        }
        let (&average, others) = self.users[relu.0].split_first()?;
        let (&Op::Pool { window, .. }, true) = (
            op(average),
            others
                .iter()
                .all(|user| matches!(op(*user), Op::PoolGradient { .. })),
        ) else {
            return None;
        };
        // Windows that tile leave nothing to round up for.
        let side_by_side = Window {
            kernel: window.kernel,
            stride: window.kernel,
            ceil: window.ceil,
            ..Window::tiling(1)
        };
        let tiles = |axis: usize| {
            let window = window.kernel[axis];
            window > 0 && shape[2 + axis].is_multiple_of(window)
        };
        (window == side_by_side && tiles(0) && tiles(1)).then_some((average, window.kernel))
    }

    /// Whether only a convolution's gradients read `gradient`, each as the one by its result.
    fn is_own_gradient(&self, gradient: Value) -> bool {
        let takes = |user: &Value| {
            let node = self.network.node(*user);
            match (&node.op, &node.operands[..]) {
                (Op::Conv2dGradientInput { .. }, &[_, other])
                | (Op::Conv2dGradientWeights { .. }, &[other, _]) => other != gradient,
                (Op::Conv2dGradientBias, _) => true,
                _ => false,
            }
        };
        !self.network.is_output(gradient) && self.users[gradient.0].iter().all(takes)
    }

    /// Finds the row added to a matrix product and the function applied to that or a convolution.
    fn chain(&mut self, product: Value, shapes: &[Shape], planes: &[usize]) {
        let network = self.network;
        let is_matmul = match network.node(product).op {
            Op::MatMul { .. } => true,
            Op::Conv2d(_) => false,
            _ => return,
        };
        let mut chain = Chain {
            product,
            bias: None,
            activation: None,
            end: product,
        };
        let sum = Op::Linear {
            alpha: 1.0,
            beta: 1.0,
        };
        if is_matmul
            && let Some(user) = self.only_user(product)
            && let (op, &[a, b]) = (&network.node(user).op, &network.node(user).operands[..])
            && *op == sum
            && let bias = if a == product { b } else { a }
            && shapes[bias.0].len() == 1
            && shapes[bias.0].last() == shapes[product.0].last()
            && planes[product.0] == planes[user.0]
        {
            self.inside[product.0] = true;
            (chain.bias, chain.end) = (Some(bias), user);
        }
        if let Some(user) = self.only_user(chain.end)
            && let Op::Map { function } = network.node(user).op
            && !self.rectified[user.0]
        {
            self.inside[chain.end.0] = true;
            (chain.activation, chain.end) = (Some(function), user);
        }
        self.chains[chain.end.0] = Some(chain);
    }

    /// Notes that the operands of `value` are read when the last of what it is inside is computed.
    fn read(&mut self, value: Value) {
        let (mut within, mut last) = (vec![value], value);
        if self.network.is_step(value) {
            // Parameters are stepped after everything else.
            last = Value(usize::MAX);
        }
        while let Some(at) = within.pop() {
            last = last.max(at);
            if self.inside[at.0] {
                within.extend(&self.users[at.0]);
            }
        }
        for operand in &self.network.node(value).operands {
            let seen = &mut self.last_use[operand.0];
            *seen = last.max(*seen);
        }
    }
}
