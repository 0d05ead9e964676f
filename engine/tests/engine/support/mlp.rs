//! A trainer of fully connected networks in f64: plain loops, gradients written out by hand.

use furthermore::network::{Function, Network, Parameters, Value};
use furthermore::tensor::{DType, Plaintext, Tensor};

use super::{Point, derivative, value};

/// How a network's results are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    CrossEntropy,
    SquaredError,
}

struct Layer {
    inputs: usize,
    outputs: usize,
    weight: Vec<f64>,
    bias: Vec<f64>,
    weight_velocity: Vec<f64>,
    bias_velocity: Vec<f64>,
}

/// Layers `fc1`, `fc2` .. of the sizes given, an activation between each two of them.
pub(crate) struct Mlp {
    sizes: Vec<usize>,
    activation: Function,
    loss: Loss,
    layers: Vec<Layer>,
}

impl Mlp {
    pub(crate) fn new(sizes: &[usize], activation: Function, loss: Loss) -> Self {
        let layers = sizes.windows(2).map(|pair| Layer {
            inputs: pair[0],
            outputs: pair[1],
            weight: vec![0.0; pair[0] * pair[1]],
            bias: vec![0.0; pair[1]],
            weight_velocity: vec![0.0; pair[0] * pair[1]],
            bias_velocity: vec![0.0; pair[1]],
        });
        Self {
            layers: layers.collect(),
            sizes: sizes.to_vec(),
            activation,
            loss,
        }
    }

    pub(crate) fn inputs(&self) -> usize {
        self.sizes[0]
    }

    pub(crate) fn outputs(&self) -> usize {
        self.sizes[self.sizes.len() - 1]
    }

    /// The same network for the engine, up to its results.
    fn start(&self) -> (Network, Value) {
        let mut network = Network::new();
        let mut x = network.input("x", [self.inputs()]).expect("a new name");
        for (i, layer) in self.layers.iter().enumerate() {
            let name = format!("fc{}", i + 1);
            let linear = network.linear(&name, x, layer.inputs, layer.outputs);
            x = linear.expect("a new name");
            if i + 1 < self.layers.len() {
                let name = format!("activation{}", i + 1);
                x = network.map(&name, self.activation, x).expect("a new name");
            }
        }
        (network, x)
    }

    /// The network with output `y` alone.
    pub(crate) fn inference(&self) -> Network {
        let (mut network, y) = self.start();
        network.output("y", y).expect("a new name");
        network
    }

    /// The network with its loss, both as outputs; returns the loss.
    pub(crate) fn judged(&self) -> (Network, Value) {
        let (mut network, y) = self.start();
        network.output("y", y).expect("a new name");
        let target = network
            .input("target", [self.outputs()])
            .expect("a new name");
        let loss = match self.loss {
            Loss::CrossEntropy => network.softmax_cross_entropy("loss", y, target),
            Loss::SquaredError => network.mean_squared_error("loss", y, target),
        };
        let loss = loss.expect("a new name");
        network.output("loss", loss).expect("a new name");
        (network, loss)
    }

    /// Takes over plaintext weights, and forgets the velocities.
    pub(crate) fn load(&mut self, parameters: &Parameters) {
        let get = |name: String| match parameters.get(&name).expect("every layer has weights") {
            Tensor::Plaintext(p) => p.to_f64(),
            Tensor::Ciphertext(_) => panic!("the oracle takes plaintext weights"),
        };
        for (i, layer) in self.layers.iter_mut().enumerate() {
            layer.weight = get(format!("fc{}.weight", i + 1));
            layer.bias = get(format!("fc{}.bias", i + 1));
            layer.weight_velocity.fill(0.0);
            layer.bias_velocity.fill(0.0);
        }
    }

    /// The weights by name.
    pub(crate) fn weights(&self) -> Point {
        let mut point = Point::new();
        for (i, layer) in self.layers.iter().enumerate() {
            point.insert(format!("fc{}.weight", i + 1), layer.weight.clone());
            point.insert(format!("fc{}.bias", i + 1), layer.bias.clone());
        }
        point
    }

    /// Sets one number of a weight.
    pub(crate) fn nudge(&mut self, name: &str, index: usize, by: f64) {
        for (i, layer) in self.layers.iter_mut().enumerate() {
            if name == format!("fc{}.weight", i + 1) {
                layer.weight[index] += by;
            } else if name == format!("fc{}.bias", i + 1) {
                layer.bias[index] += by;
            }
        }
    }

    /// What goes into each layer, and what comes out of each before its activation.
    fn trace(&self, x: &[f64], rows: usize) -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
        let (mut into, mut out) = (Vec::new(), Vec::new());
        let mut x = x.to_vec();
        for (i, layer) in self.layers.iter().enumerate() {
            let mut z = vec![0.0; rows * layer.outputs];
            for r in 0..rows {
                for o in 0..layer.outputs {
                    let mut sum = layer.bias[o];
                    for k in 0..layer.inputs {
                        sum += x[r * layer.inputs + k] * layer.weight[k * layer.outputs + o];
                    }
                    z[r * layer.outputs + o] = sum;
                }
            }
            into.push(x);
            let last = i + 1 == self.layers.len();
            let act = |z: &f64| {
                if last { *z } else { value(self.activation, *z) }
            };
            x = z.iter().map(act).collect();
            out.push(z);
        }
        (into, out)
    }

    /// Results of a forward pass.
    pub(crate) fn forward(&self, x: &[f64], rows: usize) -> Vec<f64> {
        let (_, mut out) = self.trace(x, rows);
        out.pop().expect("a network has layers")
    }

    /// The loss and its gradient by the results.
    fn judge(&self, y: &[f64], target: &[f64], rows: usize) -> (f64, Vec<f64>) {
        match self.loss {
            Loss::CrossEntropy => cross_entropy(y, target, rows),
            Loss::SquaredError => squared_error(y, target),
        }
    }

    pub(crate) fn loss(&self, x: &[f64], target: &[f64], rows: usize) -> f64 {
        self.judge(&self.forward(x, rows), target, rows).0
    }

    /// The loss's gradient by every weight.
    pub(crate) fn gradients(&self, x: &[f64], target: &[f64], rows: usize) -> Point {
        let (into, out) = self.trace(x, rows);
        let mut point = Point::new();
        let last = self.layers.len() - 1;
        let mut g = self.judge(&out[last], target, rows).1;
        for (i, layer) in self.layers.iter().enumerate().rev() {
            if i != last {
                for (g, z) in g.iter_mut().zip(&out[i]) {
                    *g *= derivative(self.activation, *z);
                }
            }
            let mut weight = vec![0.0; layer.weight.len()];
            let mut bias = vec![0.0; layer.outputs];
            let mut back = vec![0.0; rows * layer.inputs];
            for r in 0..rows {
                for o in 0..layer.outputs {
                    let g = g[r * layer.outputs + o];
                    bias[o] += g;
                    for k in 0..layer.inputs {
                        weight[k * layer.outputs + o] += into[i][r * layer.inputs + k] * g;
                        back[r * layer.inputs + k] += layer.weight[k * layer.outputs + o] * g;
                    }
                }
            }
            point.insert(format!("fc{}.weight", i + 1), weight);
            point.insert(format!("fc{}.bias", i + 1), bias);
            g = back;
        }
        point
    }

    /// One step of gradient descent with momentum.
    pub(crate) fn step(&mut self, x: &[f64], target: &[f64], rows: usize, rate: f64, keep: f64) {
        let gradients = self.gradients(x, target, rows);
        for (i, layer) in self.layers.iter_mut().enumerate() {
            let descend = |name: String, weight: &mut [f64], velocity: &mut [f64]| {
                for ((w, v), g) in weight.iter_mut().zip(velocity).zip(&gradients[&name]) {
                    *v = keep * *v + g;
                    *w -= rate * *v;
                }
            };
            let name = format!("fc{}.weight", i + 1);
            descend(name, &mut layer.weight, &mut layer.weight_velocity);
            let name = format!("fc{}.bias", i + 1);
            descend(name, &mut layer.bias, &mut layer.bias_velocity);
        }
    }
}

/// Mean over rows of the cross entropy of softmax(logits), and its gradient.
pub(crate) fn cross_entropy(logits: &[f64], target: &[f64], rows: usize) -> (f64, Vec<f64>) {
    let columns = logits.len() / rows.max(1);
    let mut loss = 0.0;
    let mut gradient = Vec::with_capacity(logits.len());
    for r in 0..rows {
        let (x, y) = (
            &logits[r * columns..][..columns],
            &target[r * columns..][..columns],
        );
        let top = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = x.iter().map(|x| (x - top).exp()).sum();
        for (x, y) in x.iter().zip(y) {
            loss -= y * (x - top - sum.ln()) / rows as f64;
            gradient.push(((x - top).exp() / sum - y) / rows as f64);
        }
    }
    (loss, gradient)
}

/// Mean over all elements of the squared difference, and its gradient.
pub(crate) fn squared_error(predicted: &[f64], target: &[f64]) -> (f64, Vec<f64>) {
    let scale = 1.0 / predicted.len() as f64;
    let differences = predicted.iter().zip(target).map(|(p, t)| p - t);
    let loss = differences.clone().map(|d| d * d * scale).sum();
    (loss, differences.map(|d| 2.0 * d * scale).collect())
}
