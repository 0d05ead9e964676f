//! ONNX models with the values that `tests/fixtures/make_onnx.py` has stored beside them: of onnx's
//! reference evaluator for operators, of PyTorch, TensorFlow and scikit-learn for networks.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use furthermore::Algebra;
use furthermore::device::Device;
use furthermore::network::Network;
use furthermore::onnx::{Imported, OnnxOptions};
use furthermore::plan::{CompileOptions, Plan};
use furthermore::tensor::{DType, Plaintext, Tensor, TensorView};
use serde_json::Value;

use super::{
    REGIMES, Regime, compare, decrypted, encrypt, key, open, parameters_encrypted, tensor,
    write_inputs,
};

/// Where the models lie.
pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/onnx")
}

/// The batch that models are imported for, and samples in every stored example that is run as one.
pub(crate) const BATCH: usize = 3;

/// Tensors by name.
pub(crate) type Named = BTreeMap<String, (Vec<usize>, Vec<f64>)>;

/// A stored example of a model.
pub(crate) struct Example {
    pub(crate) name: String,
    path: PathBuf,
    inputs: Named,
    pub(crate) outputs: Named,
}

fn tensors(stored: &Value) -> Named {
    let numbers = |list: &Value| -> Vec<f64> {
        let list = list.as_array().expect("a list").iter();
        list.map(|number| number.as_f64().expect("a number"))
            .collect()
    };
    let tensor = |stored: &Value| {
        let shape = numbers(&stored["shape"])
            .iter()
            .map(|x| *x as usize)
            .collect();
        (shape, numbers(&stored["values"]))
    };
    let stored = stored.as_object().expect("tensors by name").iter();
    stored
        .map(|(name, stored)| (name.clone(), tensor(stored)))
        .collect()
}

/// All models in a folder of fixtures.
pub(crate) fn examples(folder: &str) -> Vec<Example> {
    let folder = fixtures().join(folder);
    let text = fs::read_to_string(folder.join("expected.json")).expect("stored values");
    let stored: Value = serde_json::from_str(&text).expect("they are JSON");
    let stored = stored.as_object().expect("examples by name").iter();
    let example = |(name, stored): (&String, &Value)| Example {
        name: name.clone(),
        path: folder.join(format!("{name}.onnx")),
        inputs: tensors(&stored["inputs"]),
        outputs: tensors(&stored["outputs"]),
    };
    stored.map(example).collect()
}

impl Example {
    pub(crate) fn import(&self) -> Result<Imported, String> {
        let options = OnnxOptions {
            batch: BATCH,
            outputs: self.outputs.keys().cloned().collect(),
        };
        Network::from_onnx(&self.path, &options).map_err(|error| error.to_string())
    }

    /// Inputs of `rows` samples, which are the stored ones over and over.
    fn inputs(&self, rows: usize, dtype: DType) -> Vec<(&str, Plaintext)> {
        (self.inputs.iter())
            .map(|(name, (shape, values))| {
                let mut shape = shape.clone();
                shape[0] = rows;
                let values = repeated(values, rows);
                (name.as_str(), tensor(&shape, &values, dtype))
            })
            .collect()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What the network gives for the stored inputs, on plaintext in f64.
    pub(crate) fn found(&self, device: &dyn Device, imported: &Imported) -> Result<Named, String> {
        let options = CompileOptions::plain(BATCH, DType::F64);
        let plan = Plan::compile(&imported.network, &options).map_err(|error| error.to_string())?;
        let key = key(2, 77);
        let mut session = open(device, Arc::new(plan), &key, &imported.parameters);
        let inputs = self.inputs(BATCH, DType::F64);
        let inputs: Vec<(&str, &Plaintext)> = inputs.iter().map(|(n, t)| (*n, t)).collect();
        write_inputs(&mut session, &key, 6, &inputs);
        session.run().map_err(|error| error.to_string())?;
        let found = |(name, (shape, _)): (&String, &(Vec<usize>, Vec<f64>))| {
            let numbers = decrypted(&session, &key, name);
            (name.clone(), (shape.clone(), numbers))
        };
        Ok(self.outputs.iter().map(found).collect())
    }

    /// Compares everything that it gives with what is stored, of the stored values' own size.
    pub(crate) fn check(
        &self,
        device: &dyn Device,
        imported: &Imported,
        rows: usize,
        dtype: DType,
        algebra: Algebra,
        regime: Regime,
        tolerance: f64,
    ) -> Result<(), String> {
        let key = key(2, 77);
        let encrypted = algebra != Algebra::Real;
        let options = CompileOptions {
            algebra,
            encrypted_inputs: encrypted && regime.inputs,
            encrypted_parameters: encrypted && regime.parameters,
            ..CompileOptions::plain(rows, dtype)
        };
        let plan = Plan::compile(&imported.network, &options).map_err(|error| error.to_string())?;
        let mut session = open(device, Arc::new(plan), &key, &imported.parameters);
        if encrypted && regime.parameters {
            parameters_encrypted(&mut session, &key, &imported.parameters, 5);
        }
        let inputs = self.inputs(rows, dtype);
        let inputs: Vec<(&str, &Plaintext)> = inputs.iter().map(|(n, t)| (*n, t)).collect();
        write_inputs(&mut session, &key, 6, &inputs);
        session.run().map_err(|error| error.to_string())?;
        for (name, (_, values)) in &self.outputs {
            let expected = repeated(values, rows);
            let size = expected.iter().fold(1.0, |most: f64, x| most.max(x.abs()));
            let found = decrypted(&session, &key, name);
            compare(&found, &expected, tolerance * size)
                .map_err(|error| format!("{name}: {error}"))?;
        }
        Ok(())
    }
}

/// Runs every example of more samples than its batch through plans of that batch.
pub(crate) fn check_predicted(
    device: &dyn Device,
    example: &Example,
    algebra: Algebra,
) -> Result<(), String> {
    let imported = example.import()?;
    let (key, dtype) = (key(2, 77), DType::F32);
    let options = CompileOptions::encrypted_inputs(BATCH, dtype, algebra);
    let plan = Plan::compile(&imported.network, &options).map_err(|error| error.to_string())?;
    let mut session = open(device, Arc::new(plan), &key, &imported.parameters);
    let inputs = example.inputs.iter();
    let inputs: Vec<(&str, Tensor)> = inputs
        .map(|(name, (shape, values))| {
            let x = tensor(shape, values, dtype);
            let x = match algebra {
                Algebra::Real => Tensor::Plaintext(x),
                _ => Tensor::Ciphertext(encrypt(&key, algebra, 6, &x)),
            };
            (name.as_str(), x)
        })
        .collect();
    let inputs: Vec<(&str, TensorView<'_>)> = inputs.iter().map(|(n, x)| (*n, x.view())).collect();
    for (name, (shape, expected)) in &example.outputs {
        let found = session.predict(&inputs, name, |_| ());
        let found = match found.map_err(|error| error.to_string())? {
            Tensor::Plaintext(y) => y,
            Tensor::Ciphertext(y) => key.decrypt(&y).map_err(|error| error.to_string())?,
        };
        if found.shape()[..] != shape[..] {
            return Err(format!("{name} has shape {}, not {shape:?}", found.shape()));
        }
        compare(&found.to_f64(), expected, 1e-3).map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(())
}

/// Numbers of the stored samples as those of `rows`, over and over.
fn repeated(values: &[f64], rows: usize) -> Vec<f64> {
    if rows == BATCH {
        return values.to_vec();
    }
    let width = values.len() / BATCH;
    let sample = |row: usize| &values[row % BATCH * width..][..width];
    (0..rows).flat_map(sample).copied().collect()
}

/// Runs every example and says all that went wrong.
pub(crate) fn all(folder: &str, mut check: impl FnMut(&Example) -> Result<(), String>) {
    let wrong: Vec<String> = (examples(folder).iter())
        .filter_map(|example| {
            check(example)
                .err()
                .map(|why| format!("{}: {why}", example.name))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Runs an example on ciphertexts in both algebras of two slots.
pub(crate) fn check_encrypted(device: &dyn Device, example: &Example) -> Result<(), String> {
    let imported = example.import()?;
    for algebra in [Algebra::Compact(2), Algebra::Blocks(2)] {
        example
            .check(
                device,
                &imported,
                BATCH,
                DType::F32,
                algebra,
                REGIMES[0],
                1e-3,
            )
            .map_err(|why| format!("{algebra}: {why}"))?;
    }
    Ok(())
}
