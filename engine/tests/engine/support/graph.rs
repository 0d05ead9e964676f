//! An evaluator of graphs of operations: it builds the engine's network and its own side by side, and
//! differentiates by finite differences of its own values.

use std::collections::BTreeMap;

use furthermore::network::{Function, Init, Network, Value};

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
            Step::Scale(_, a) | Step::Map(_, a) => vec![a],
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
