"""Trains our network in PyTorch: what ``cargo xtask bench --train`` measures our training against.

    python train_pytorch.py --data-dir data/mnist --threads 2 --time-steps 60
    python train_pytorch.py --data-dir data/mnist --threads 2 --seed-recipe --seed 1 --epochs 5

The network is that of crates/training/src/network.rs: PyTorch's MNIST example, but with padding. It runs on
the CPU in float32, eager, as PyTorch comes. Nothing but PyTorch itself takes its time: all images
are one normalized tensor in memory, and a batch is a selection of its rows. There is no DataLoader.

``--time-steps N`` makes N steps of our recipe (AdamW, dropout), without its learning rate's cycle, which
costs nothing, and prints the seconds of each, the batch's selection included.

``--seed-recipe`` trains by the example's own recipe (Adadelta, a learning rate that falls by 0.7 an epoch),
on all 60 000 images, and scores the test images after each epoch, which is not part of the seconds.

``--channels-last`` keeps weights and activations in the memory format NHWC: which one is faster
depends on the processor.

Prints one line of JSON to stdout; messages go to stderr. Exit status: 0 done, 1 failed, 2 bad usage.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from mnist_images import Unusable, read_idx

BATCH = 64
TEST_BATCH = 1000
# As crates/training: torchvision's numbers for MNIST.
MEAN, STD = 0.1307, 0.3081
SIDE = 28


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.dropout1 = nn.Dropout(0.25)
        self.dropout2 = nn.Dropout(0.5)
        self.fc1 = nn.Linear(64 * (SIDE // 2) ** 2, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.conv1(x))
        x = functional.relu(self.conv2(x))
        x = self.dropout1(functional.max_pool2d(x, 2))
        x = functional.relu(self.fc1(torch.flatten(x, 1)))
        return functional.log_softmax(self.fc2(self.dropout2(x)), dim=1)


class Images:
    """Normalized images and their classes, in memory as a whole."""

    def __init__(self, folder: pathlib.Path, prefix: str, layout: torch.memory_format) -> None:
        pixels = torch.from_numpy(read_idx(folder, f"{prefix}-images-idx3-ubyte", 3).copy())
        labels = torch.from_numpy(read_idx(folder, f"{prefix}-labels-idx1-ubyte", 1).copy())
        if tuple(pixels.shape[1:]) != (SIDE, SIDE) or len(pixels) != len(labels) or len(pixels) < BATCH:
            raise Unusable(f"{folder}: expected images of {SIDE} by {SIDE}, each with a label; found {prefix} of "
                           f"{list(pixels.shape)} with {len(labels)} labels")
        self.pixels = ((pixels.float() / 255 - MEAN) / STD)[:, None]
        self.labels = labels.long()
        self.layout = layout

    def batch(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.pixels[rows].contiguous(memory_format=self.layout), self.labels[rows]


def step(network: Network, optimizer: torch.optim.Optimizer, images: Images, rows: torch.Tensor) -> None:
    pixels, labels = images.batch(rows)
    optimizer.zero_grad()
    loss = functional.nll_loss(network(pixels), labels)
    loss.backward()
    optimizer.step()


def shuffled_batches(images: Images) -> Iterator[torch.Tensor]:
    """The rows of each batch of one epoch; the last one may be smaller."""
    yield from torch.randperm(len(images.labels)).split(BATCH)


def time_steps(network: Network, images: Images, count: int) -> dict[str, Any]:
    network.train()
    # The fused kernel is PyTorch's fastest on the CPU: one pass over each parameter instead of a dozen.
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2, fused=True)
    seconds: list[float] = []
    while len(seconds) < count:
        for rows in shuffled_batches(images):
            if len(rows) < BATCH or len(seconds) == count:
                break
            started = time.perf_counter()
            step(network, optimizer, images, rows)
            seconds.append(time.perf_counter() - started)
    return {"seconds": seconds}


def seed_recipe(network: Network, images: Images, test: Images, epochs: int) -> dict[str, Any]:
    optimizer = torch.optim.Adadelta(network.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)
    done: list[dict[str, Any]] = []
    for epoch in range(1, epochs + 1):
        network.train()
        started = time.perf_counter()
        for rows in shuffled_batches(images):
            step(network, optimizer, images, rows)
        schedule.step()
        seconds = time.perf_counter() - started
        correct = count_correct(network, test)
        done.append({"seconds": seconds, "correct": correct, "images": len(test.labels)})
        print(f"epoch {epoch}/{epochs}: {seconds:.1f} s, {correct} of {len(test.labels)}", file=sys.stderr, flush=True)
    return {"seconds": sum(epoch["seconds"] for epoch in done), "epochs": done}


def count_correct(network: Network, test: Images) -> int:
    network.eval()
    correct = 0
    with torch.no_grad():
        for rows in torch.arange(len(test.labels)).split(TEST_BATCH):
            pixels, labels = test.batch(rows)
            correct += int((network(pixels).argmax(dim=1) == labels).sum())
    return correct


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    torch.set_num_threads(arguments.threads)
    # Ours are float32 as well: products of fewer bits would not be the same work.
    if torch.get_float32_matmul_precision() != "highest":
        raise Unusable(f"expected float32 products, found {torch.get_float32_matmul_precision()!r}; unset what changes it")
    torch.manual_seed(arguments.seed)
    layout = torch.channels_last if arguments.channels_last else torch.contiguous_format
    network = Network().to(memory_format=layout)
    images = Images(arguments.data_dir, "train", layout)
    if arguments.seed_recipe:
        measured = seed_recipe(network, images, Images(arguments.data_dir, "t10k", layout), arguments.epochs)
    else:
        measured = time_steps(network, images, arguments.time_steps)
    return {
        "pytorch": torch.__version__,
        "channels_last": arguments.channels_last,
        "batch_size": BATCH,
        "threads": torch.get_num_threads(),
        **measured,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=pathlib.Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--channels-last", action="store_true", help="the memory format NHWC in place of NCHW")
    parser.add_argument("--seed", type=int, default=1)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--time-steps", type=int, metavar="N", help="make N steps and print the seconds of each")
    mode.add_argument("--seed-recipe", action="store_true", help="train by the recipe of PyTorch's MNIST example")
    parser.add_argument("--epochs", type=int, default=5, help="of --seed-recipe")
    arguments = parser.parse_args()
    if min(arguments.threads, arguments.epochs) < 1 or (arguments.time_steps is not None and arguments.time_steps < 1):
        parser.error("--threads, --epochs and --time-steps take numbers from 1 on")
    try:
        print(json.dumps(measure(arguments)))
    except Unusable as error:
        print(f"train_pytorch.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
