//! An evaluator of graphs of operations: it builds the engine's network and its own side by side, and
//! differentiates by finite differences of its own values.

use std::collections::BTreeMap;

use furthermore::network::{Convolution, Function, Init, Network, Pool, Value, Window};

use super::mlp::{cross_entropy, squared_error};
use super::value;

/// Numbers by the name of the input or parameter they are for.
pub(crate) type Point = BTreeMap<String, Vec<f64>>;

/// A value of a graph.
pub(crate) type Node = usize;

enum Step {
    Given(String),
    MatMul(Node, Node),
    Linear(f64, Node, f64, Node),
    Scale(f64, Node),
    Multiply(Node, Node),
    Map(Function, Node),
    CrossEntropy(Node, Node),
    SquaredError(Node, Node),
    Reshape(Node),
    Conv2d(Node, Node, Node, Convolution),
    Pool(Pool, Node, Window),
}

/// The engine's network and what is needed to evaluate it without the engine.
pub(crate) struct Graph {
    pub(crate) network: Network,
    pub(crate) batch: usize,
    steps: Vec<Step>,
    shapes: Vec<Vec<usize>>,
    values: Vec<Value>,
}

impl Graph {
    pub(crate) fn new(batch: usize) -> Self {
        Self {
            network: Network::new(),
            batch,
            steps: Vec::new(),
            shapes: Vec::new(),
            values: Vec::new(),
        }
    }

    fn push(&mut self, step: Step, shape: Vec<usize>, value: furthermore::Result<Value>) -> Node {
        self.steps.push(step);
        self.shapes.push(shape);
        self.values
            .push(value.expect("a new name and operands that exist"));
        self.steps.len() - 1
    }

    /// A name no operation has yet.
    fn name(&self) -> String {
        format!("step{}", self.steps.len())
    }

    /// The engine's value.
    pub(crate) fn value(&self, node: Node) -> Value {
        self.values[node]
    }

    pub(crate) fn shape(&self, node: Node) -> &[usize] {
        &self.shapes[node]
    }

    /// What a step reads.
    fn operands(&self, node: Node) -> Vec<Node> {
        match self.steps[node] {
            Step::Given(_) => vec![],
            Step::Scale(_, a) | Step::Map(_, a) | Step::Reshape(a) | Step::Pool(_, a, _) => vec![a],
            Step::Conv2d(x, w, b, _) => vec![x, w, b],
            Step::Linear(_, a, _, b) => vec![a, b],
            Step::MatMul(a, b)
            | Step::Multiply(a, b)
            | Step::CrossEntropy(a, b)
            | Step::SquaredError(a, b) => vec![a, b],
        }
    }

    /// Whether `node` is computed from `on`.
    pub(crate) fn depends(&self, node: Node, on: Node) -> bool {
        node == on || self.operands(node).iter().any(|v| self.depends(*v, on))
    }

    /// Declares an output of the engine's network.
    pub(crate) fn output(&mut self, name: &str, node: Node) {
        let declared = self.network.output(name, self.values[node]);
        declared.expect("a new name");
    }

    pub(crate) fn input(&mut self, name: &str, sample: &[usize]) -> Node {
        let value = self.network.input(name, sample);
        let shape = std::iter::once(self.batch).chain(sample.iter().copied());
        let shape = shape.collect();
        self.push(Step::Given(name.to_owned()), shape, value)
    }

    pub(crate) fn parameter(&mut self, name: &str, shape: &[usize]) -> Node {
        let init = Init::Uniform { bound: 1.0 };
        let value = self.network.parameter(name, shape, init);
        self.push(Step::Given(name.to_owned()), shape.to_vec(), value)
    }

    pub(crate) fn matmul(&mut self, a: Node, b: Node) -> Node {
        let value = self
            .network
            .matmul(&self.name(), self.values[a], self.values[b]);
        let shape = vec![self.shapes[a][0], self.shapes[b][1]];
        self.push(Step::MatMul(a, b), shape, value)
    }

    pub(crate) fn add(&mut self, a: Node, b: Node) -> Node {
        let value = self
            .network
            .add(&self.name(), self.values[a], self.values[b]);
        self.push(Step::Linear(1.0, a, 1.0, b), self.shapes[a].clone(), value)
    }

    pub(crate) fn subtract(&mut self, a: Node, b: Node) -> Node {
        let name = self.name();
        let value = self.network.subtract(&name, self.values[a], self.values[b]);
        self.push(Step::Linear(1.0, a, -1.0, b), self.shapes[a].clone(), value)
    }

    pub(crate) fn scale(&mut self, a: Node, factor: f64) -> Node {
        let value = self.network.scale(&self.name(), self.values[a], factor);
        self.push(Step::Scale(factor, a), self.shapes[a].clone(), value)
    }

    pub(crate) fn multiply(&mut self, a: Node, b: Node) -> Node {
        let name = self.name();
        let value = self.network.multiply(&name, self.values[a], self.values[b]);
        self.push(Step::Multiply(a, b), self.shapes[a].clone(), value)
    }

    pub(crate) fn map(&mut self, function: Function, a: Node) -> Node {
        let value = self.network.map(&self.name(), function, self.values[a]);
        self.push(Step::Map(function, a), self.shapes[a].clone(), value)
    }

    pub(crate) fn cross_entropy(&mut self, a: Node, b: Node) -> Node {
        let (name, values) = (self.name(), (self.values[a], self.values[b]));
        let value = self
            .network
            .softmax_cross_entropy(&name, values.0, values.1);
        self.push(Step::CrossEntropy(a, b), vec![], value)
    }

    pub(crate) fn squared_error(&mut self, a: Node, b: Node) -> Node {
        let (name, values) = (self.name(), (self.values[a], self.values[b]));
        let value = self.network.mean_squared_error(&name, values.0, values.1);
        self.push(Step::SquaredError(a, b), vec![], value)
    }

    pub(crate) fn reshape(&mut self, a: Node, sample: &[usize]) -> Node {
        let value = self.network.reshape(&self.name(), self.values[a], sample);
        let shape = std::iter::once(self.shapes[a][0]).chain(sample.iter().copied());
        let shape = shape.collect();
        self.push(Step::Reshape(a), shape, value)
    }

    /// A convolution by weights `{name}.weight` and a bias `{name}.bias`.
    pub(crate) fn conv2d(
        &mut self,
        name: &str,
        x: Node,
        channels: usize,
        kernel: [usize; 2],
        convolution: Convolution,
    ) -> (Node, [Node; 2]) {
        let ins = self.shapes[x][1];
        let value = self
            .network
            .conv2d(name, self.values[x], [ins, channels], kernel, convolution);
        let shape = vec![channels, ins / convolution.groups, kernel[0], kernel[1]];
        let made = value.expect("new names");
        let operands = self
            .network
            .nodes()
            .iter()
            .find(|node| node.name == name)
            .map(|node| node.operands.clone())
            .expect("the node that was made");
        let given = |part: &str| Step::Given(format!("{name}.{part}"));
        let w = self.push(given("weight"), shape, Ok(operands[1]));
        let b = self.push(given("bias"), vec![channels], Ok(operands[2]));
        let mut shape = vec![self.shapes[x][0], channels];
        for axis in 0..2 {
            let [before, after] = convolution.padding[axis];
            let padded = self.shapes[x][axis + 2] + before + after;
            let span = (kernel[axis] - 1) * convolution.dilation[axis] + 1;
            shape.push((padded - span) / convolution.stride[axis] + 1);
        }
        let y = self.push(Step::Conv2d(x, w, b, convolution), shape, Ok(made));
        (y, [w, b])
    }

    /// A pooling whose windows all begin and end in the padded image.
    pub(crate) fn pool(&mut self, pool: Pool, x: Node, window: Window) -> Node {
        let value = self
            .network
            .pool(&self.name(), pool, self.values[x], window);
        let mut shape = self.shapes[x][..2].to_vec();
        for axis in 0..2 {
            let [before, after] = window.padding[axis];
            let padded = self.shapes[x][axis + 2] + before + after;
            let span = (window.kernel[axis] - 1) * window.dilation[axis] + 1;
            shape.push((padded - span) / window.stride[axis] + 1);
        }
        self.push(Step::Pool(pool, x, window), shape, value)
    }

    /// The elements of `x` that a place of a sliding window covers: for each its channel's offset in
    /// the window (tap row, tap column) and its index in the image.
    fn covered(
        &self,
        x: Node,
        place: [usize; 2],
        kernel: [usize; 2],
        (stride, padding, dilation): ([usize; 2], [[usize; 2]; 2], [usize; 2]),
    ) -> Vec<([usize; 2], usize)> {
        let [rows, columns] = [self.shapes[x][2], self.shapes[x][3]];
        let mut found = Vec::new();
        for row in 0..kernel[0] {
            for column in 0..kernel[1] {
                let at = |axis: usize, tap: usize| {
                    (place[axis] * stride[axis] + tap * dilation[axis])
                        .checked_sub(padding[axis][0])
                };
                if let (Some(i), Some(j)) = (at(0, row), at(1, column))
                    && i < rows
                    && j < columns
                {
                    found.push(([row, column], i * columns + j));
                }
            }
        }
        found
    }

    /// One result of a convolution or pooling: sample, channel, row and column of an index.
    fn place(&self, at: usize, e: usize) -> [usize; 4] {
        let shape = &self.shapes[at];
        let (columns, rows) = (shape[3], shape[2]);
        let image = e / (rows * columns);
        [
            image / shape[1],
            image % shape[1],
            e / columns % rows,
            e % columns,
        ]
    }

    /// Every value of the graph at a point.
    pub(crate) fn evaluate(&self, point: &Point) -> Vec<Vec<f64>> {
        let mut found: Vec<Vec<f64>> = Vec::new();
        for (at, step) in self.steps.iter().enumerate() {
            let all = |a: Node, f: &dyn Fn(f64) -> f64| found[a].iter().map(|x| f(*x)).collect();
            // `b` repeats where it is shorter, as a row added to every row does.
            let both = |a: Node, b: Node, f: &dyn Fn(f64, f64) -> f64| {
                let b = found[b].iter().cycle();
                found[a].iter().zip(b).map(|(x, y)| f(*x, *y)).collect()
            };
            let result: Vec<f64> = match step {
                Step::Given(name) => point[name].clone(),
                &Step::MatMul(a, b) => {
                    let (&[m, k], &[_, n]) = (&self.shapes[a][..], &self.shapes[b][..]) else {
                        panic!("step {at} multiplies what are no matrices");
                    };
                    let entry = |e: usize| {
                        let (i, j) = (e / n, e % n);
                        let term = |l: usize| found[a][i * k + l] * found[b][l * n + j];
                        (0..k).map(term).sum()
                    };
                    (0..m * n).map(entry).collect()
                }
                &Step::Linear(alpha, a, beta, b) => both(a, b, &|x, y| alpha * x + beta * y),
                &Step::Multiply(a, b) => both(a, b, &|x, y| x * y),
                &Step::Scale(factor, a) => all(a, &|x| factor * x),
                &Step::Map(function, a) => all(a, &|x| value(function, x)),
                &Step::CrossEntropy(a, b) => {
                    vec![cross_entropy(&found[a], &found[b], self.shapes[a][0]).0]
                }
                &Step::SquaredError(a, b) => vec![squared_error(&found[a], &found[b]).0],
                &Step::Reshape(a) => found[a].clone(),
                &Step::Conv2d(x, w, b, c) => {
                    let [outs, depth, kr, kc] = self.shapes[w][..] else {
                        panic!("step {at} has no weights");
                    };
                    let pixels = self.shapes[x][2] * self.shapes[x][3];
                    let one = |e: usize| {
                        let [sample, out, row, column] = self.place(at, e);
                        let slide = (c.stride, c.padding, c.dilation);
                        let covered = self.covered(x, [row, column], [kr, kc], slide);
                        let mut sum = found[b][out];
                        for source in 0..depth {
                            let channel = out / (outs / c.groups) * depth + source;
                            let image = (sample * self.shapes[x][1] + channel) * pixels;
                            for ([i, j], pixel) in &covered {
                                let weight = ((out * depth + source) * kr + i) * kc + j;
                                sum += found[w][weight] * found[x][image + pixel];
                            }
                        }
                        sum
                    };
                    (0..self.shapes[at].iter().product()).map(one).collect()
                }
                &Step::Pool(pool, x, w) => {
                    let pixels = self.shapes[x][2] * self.shapes[x][3];
                    let one = |e: usize| {
                        let [sample, channel, row, column] = self.place(at, e);
                        let slide = (w.stride, w.padding, w.dilation);
                        let covered = self.covered(x, [row, column], w.kernel, slide);
                        let image = (sample * self.shapes[x][1] + channel) * pixels;
                        let values = covered.iter().map(|(_, pixel)| found[x][image + pixel]);
                        match pool {
                            Pool::Max => values.fold(f64::NEG_INFINITY, f64::max),
                            Pool::Average => values.sum::<f64>() / covered.len() as f64,
                            Pool::AverageWithPadding => {
                                values.sum::<f64>() / (w.kernel[0] * w.kernel[1]) as f64
                            }
                        }
                    };
                    (0..self.shapes[at].iter().product()).map(one).collect()
                }
            };
            assert_eq!(result.len(), self.shapes[at].iter().product::<usize>());
            found.push(result);
        }
        found
    }

    /// The gradient of `loss` by what is given under `name`, by central differences. With steps of
    /// 1e-5 their error is about 1e-10 of the third derivative, and rounding adds about 1e-11.
    pub(crate) fn difference(&self, loss: Node, name: &str, point: &Point) -> Vec<f64> {
        let step = 1e-5;
        let at = |index: usize, by: f64| {
            let mut moved = point.clone();
            moved.get_mut(name).expect("a name of the graph")[index] += by;
            self.evaluate(&moved)[loss][0]
        };
        let one = |index: usize| (at(index, step) - at(index, -step)) / (2.0 * step);
        (0..point[name].len()).map(one).collect()
    }
}
