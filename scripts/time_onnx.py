# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy==2.4.6", "onnx==1.23.2", "onnxruntime==1.32.0"]
# ///
"""How many images a second a model takes in ONNX Runtime.

    python time_onnx.py --model FILE [--batch N] [--threads N] [--seconds S]

Does what ``onnx2int time`` does, and prints the same line of JSON, schema "onnx2int-time/1": noise of the type that
the model takes, two runs that are not measured, then runs for so many seconds, at least three; the median counts.
ONNX Runtime runs on the CPU as it comes, with every optimization, and with so many threads for each operator.

Exit status: 0 done; 1 failed, with the reason on stderr; 2 for bad usage.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import sys
import time

import numpy as np
import onnxruntime

SCHEMA = "onnx2int-time/1"
WARM_UP = 2
LEAST_RUNS = 3
TYPES = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32}


def measure(file: pathlib.Path, batch: int, threads: int, seconds: float) -> dict[str, object]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type not in TYPES:
        raise ValueError(f"expected one input of u8 or f32, found {[(i.name, i.type) for i in inputs]}")
    pixels = np.random.default_rng(1).integers(0, 256, [batch, *inputs[0].shape[1:]])
    dtype = TYPES[inputs[0].type]
    feed = {inputs[0].name: (pixels if dtype == np.uint8 else pixels / 255).astype(dtype)}
    for _ in range(WARM_UP):
        session.run(None, feed)
    runs: list[float] = []
    started = time.perf_counter()
    while len(runs) < LEAST_RUNS or time.perf_counter() - started < seconds:
        run = time.perf_counter()
        session.run(None, feed)
        runs.append(time.perf_counter() - run)
    median = statistics.median(runs)
    return {
        "schema": SCHEMA,
        "file": file.name,
        "runtime": "onnxruntime",
        "runtime_version": onnxruntime.__version__,
        "threads": threads,
        "batch": batch,
        "runs": len(runs),
        "median_seconds": median,
        "images_per_second": batch / median,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seconds", type=float, default=1.0)
    arguments = parser.parse_args()
    if arguments.batch < 1 or arguments.threads < 1:
        parser.error("--batch and --threads take numbers from 1 on")
    try:
        found = measure(arguments.model, arguments.batch, arguments.threads, arguments.seconds)
    except Exception as error:  # whatever ONNX Runtime raises: it cannot run the model
        print(f"time_onnx.py: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
