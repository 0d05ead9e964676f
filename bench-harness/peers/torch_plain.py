#!/usr/bin/env python3
"""The plaintext networks and products of the harness in PyTorch, for `furthermore-bench versus`.

Protocol: prints what it can run, one name a line ("torch-plain WORKLOAD JOB BATCH"), then an empty
line. For each name read on standard input it runs that once, after a warm-up the first time, and
prints the seconds it took.

    pip install -r requirements.txt
    furthermore-bench versus --peer "python3 bench-harness/peers/torch_plain.py --threads 2"
"""

import argparse
import sys
import time

import torch
from torch import nn

PRODUCTS = [(64, 784, 128), (256, 256, 256), (512, 512, 512), (1024, 1024, 1024)]
WARM_UP = 3


def mlp():
    return nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))


def wbc():
    return nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 8))


def lenet():
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )


def angio():
    layers = []
    for ins, outs in [(1, 8), (8, 16), (16, 32)]:
        layers += [nn.Conv2d(ins, outs, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(2048, 64), nn.ReLU(), nn.Linear(64, 2))


def product(m, k, n):
    a, b = torch.rand(m, k) - 0.5, torch.rand(k, n) - 0.5
    return lambda: a @ b


def inference(network, sample, batch):
    x = torch.rand(batch, *sample)

    def run():
        with torch.inference_mode():
            network(x)

    return run


def training(network, sample, batch, classify):
    x = torch.rand(batch, *sample)
    outputs = network(x).shape[1]
    target = torch.randint(0, outputs, (batch,)) if classify else torch.rand(batch, outputs)
    loss = nn.CrossEntropyLoss() if classify else nn.MSELoss()
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-6)

    def run():
        optimiser.zero_grad(set_to_none=True)
        loss(network(x), target).backward()
        optimiser.step()

    return run


def workloads():
    runs = {}
    for m, k, n in PRODUCTS:
        runs[f"torch-plain matmul {m}x{k}x{n} pt-pt {m}"] = product(m, k, n)
    networks = [
        ("mlp", mlp, (784,), True),
        ("lenet", lenet, (1, 28, 28), True),
        ("wbc", wbc, (8,), False),
        ("angio", angio, (1, 64, 64), True),
    ]
    for name, build, sample, classify in networks:
        for batch in (1, 32, 256):
            runs[f"torch-plain {name} infer {batch}"] = inference(build(), sample, batch)
        runs[f"torch-plain {name} train 64"] = training(build(), sample, 64, classify)
    return runs


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="threads of PyTorch (default: 2)")
    torch.set_num_threads(parser.parse_args().threads)
    torch.manual_seed(0)
    runs = workloads()
    print("\n".join(runs), end="\n\n", flush=True)
    warm = set()
    for line in sys.stdin:
        name = line.strip()
        if name not in runs:
            print(f"unknown: {name}", flush=True)
            continue
        if name not in warm:
            warm.add(name)
            for _ in range(WARM_UP):
                runs[name]()
        start = time.perf_counter()
        runs[name]()
        print(f"{time.perf_counter() - start:.9f}", flush=True)


if __name__ == "__main__":
    main()
