"""Trains the lenet workload on MNIST in PyTorch and writes it for `furthermore-bench infer`.

    pip install -r bench-harness/peers/requirements.txt
    python3 bench-harness/peers/torch_lenet.py --data DIR --output OUT

DIR holds MNIST's four IDX files, gzip or not. OUT gets lenet.onnx (a dynamic batch axis), images.npy
(the test images) and logits.npy (what PyTorch makes of them). With --compare FILE it reads logits that
something else has computed, prints the largest difference from PyTorch's and both accuracies, and
fails where the difference is past --within.
"""

import argparse
import gzip
import pathlib
import sys

import numpy as np
import torch
from torch import nn

from torch_plain import lenet


def read(folder, name):
    """An IDX file of bytes."""
    for path in (folder / name, folder / f"{name}.gz"):
        if path.exists():
            data = path.read_bytes()
            data = gzip.decompress(data) if path.suffix == ".gz" else data
            axes = data[3]
            shape = np.frombuffer(data, ">u4", axes, 4)
            return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)
    raise SystemExit(f"{folder}: there is no {name}")


def images(folder, name):
    pixels = read(folder, f"{name}-images-idx3-ubyte").astype(np.float32) / 255
    return torch.from_numpy(pixels[:, None])


def labels(folder, name):
    return torch.from_numpy(read(folder, f"{name}-labels-idx1-ubyte").astype(np.int64))


def train(folder, network, epochs):
    x, y = images(folder, "train"), labels(folder, "train")
    steps = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(64):
            steps.zero_grad()
            nn.functional.cross_entropy(network(x[rows]), y[rows]).backward()
            steps.step()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder with MNIST")
    parser.add_argument("--output", type=pathlib.Path, required=True, help="folder to write to")
    parser.add_argument("--epochs", type=int, default=2, help="epochs of training (default: 2)")
    parser.add_argument("--compare", type=pathlib.Path, help="logits to compare, as .npy")
    parser.add_argument("--within", type=float, default=1e-3, help="the difference allowed (default: 1e-3)")
    options = parser.parse_args()
    answers = labels(options.data, "t10k").numpy()
    if options.compare:
        expected, found = np.load(options.output / "logits.npy"), np.load(options.compare)
        difference = np.abs(expected - found).max()
        accuracies = [(logits.argmax(1) == answers).mean() for logits in (expected, found)]
        print(f"largest difference {difference:.2e}; accuracy {accuracies[0]:.4f} and {accuracies[1]:.4f}")
        sys.exit(not difference <= options.within)
    torch.manual_seed(0)
    network = lenet()
    train(options.data, network, options.epochs)
    network.eval()
    x = images(options.data, "t10k")
    with torch.no_grad():
        logits = network(x)
    options.output.mkdir(parents=True, exist_ok=True)
    batch = torch.export.Dim("batch")
    torch.onnx.export(
        network,
        (x[:2],),
        options.output / "lenet.onnx",
        input_names=["image"],
        output_names=["logits"],
        dynamic_shapes=({0: batch},),
        external_data=False,
    )
    np.save(options.output / "images.npy", x.numpy())
    np.save(options.output / "logits.npy", logits.numpy())
    print(f"accuracy {(logits.argmax(1).numpy() == answers).mean():.4f}")


if __name__ == "__main__":
    main()
