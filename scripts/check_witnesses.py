"""Runs witness inputs in ONNX Runtime, and demands the sums that the certificate's proof promises.

    python check_witnesses.py DIR

DIR is what ``onnx2int verify --model M --witnesses DIR`` wrote: for each integer layer an ONNX file, an
input for each extreme of each channel, and the sums expected. ONNX Runtime runs them with all optimizations
and with none. Each witness must give the sum expected, which is the bound where the bound is attained;
no sum anywhere may be outside of its channel's bounds; and all sums together must be those of
our interpreter, bit for bit.

Prints a line for each layer; exits with 1 if anything differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnxruntime

SCHEMA = "onnx2int-witnesses/1"
BATCH = 32
LEVELS = {
    "all optimizations": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
    "no optimization": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
}


def run(model: pathlib.Path, level: Any, images: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    parts = [session.run(None, {name: images[start : start + BATCH]})[0] for start in range(0, len(images), BATCH)]
    return np.concatenate(parts)


def failures(folder: pathlib.Path, layer: dict[str, Any]) -> Iterator[str]:
    images = np.load(folder / layer["input"])
    expected = np.load(folder / layer["expected"])
    witnesses = layer["witnesses"]
    if len(images) != len(witnesses) or expected.tolist() != [witness["expected"] for witness in witnesses]:
        yield "witnesses.json and the .npy files do not belong together"
        return
    for name, level in LEVELS.items():
        sums = run(folder / layer["model"], level, images)
        if sums.dtype != np.int32 or list(sums.shape) != layer["sums_shape"]:
            yield f"{name}: expected sums i32{layer['sums_shape']}, found {sums.dtype}{list(sums.shape)}"
            continue
        for index, witness in enumerate(witnesses):
            found = int(sums[tuple(witness["position"])])
            if found != witness["expected"]:
                yield (
                    f"{name}: channel {witness['channel']}, {witness['side']}: witness {index}: "
                    f"expected {witness['expected']}, found {found}"
                )
            if witness["is_attained"] and found != witness["bound"]:
                yield f"{name}: channel {witness['channel']}: the bound {witness['bound']} is called attained"
        shape = [1, -1] + [1] * (sums.ndim - 2) if len(layer["lows"]) > 1 else [1] * sums.ndim
        lows, highs = (np.array(layer[side]).reshape(shape) for side in ("lows", "highs"))
        outside = np.argwhere((sums < lows) | (sums > highs))
        if len(outside):
            index = outside[0].tolist()
            yield f"{name}: {len(outside)} sums are out of bounds, the first at {index}: {int(sums[tuple(index)])}"
        digest = hashlib.sha256(np.ascontiguousarray(sums, "<i4").tobytes()).hexdigest()
        if digest != layer["sums_sha256"]:
            yield f"{name}: the sums are not those of the interpreter"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    folder = parser.parse_args().folder
    try:
        index = json.loads((folder / "witnesses.json").read_bytes())
    except (OSError, ValueError) as error:
        print(f"check_witnesses.py: {error}", file=sys.stderr)
        return 1
    if index.get("schema") != SCHEMA or not index.get("layers"):
        print(f"check_witnesses.py: expected layers of schema {SCHEMA!r}", file=sys.stderr)
        return 1
    failed = False
    for layer in index["layers"]:
        found = list(failures(folder, layer))
        failed |= bool(found)
        for failure in found[:20]:
            print(f"check_witnesses.py: {layer['node']}: {failure}", file=sys.stderr)
        attained = sum(witness["is_attained"] for witness in layer["witnesses"])
        verdict = f"{len(found)} FAILURES" if found else "all met, none out of bounds"
        print(f"{layer['node']} ({layer['scope']}): {len(layer['witnesses'])} witnesses, {attained} at their bound: {verdict}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
