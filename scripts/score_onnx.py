# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy==2.4.6", "onnx==1.23.2", "onnxruntime==1.32.0"]
# ///
"""The classes that a model gives to the MNIST test images in ONNX Runtime, and how many are right.

    python score_onnx.py --model FILE --runtime RUNTIME --data-dir DIR --output S.json [--images N]

Does what ``onnx2int evaluate --output`` does, for any file that ONNX Runtime runs: one of ours or of another
quantizer, with one input ``[N,1,28,28]``, u8 pixels or f32 normalized as the model's metadata says, and one
output ``[N,classes]``. RUNTIME is one of those of trace_onnx.py.

Output
------
``S.json``, schema "onnx2int-onnx-score/1"; ``outputs_sha256`` is SHA-256 of the raw outputs, row by row and
little-endian, which is the digest of the file of raw outputs that ``onnx2int evaluate`` writes::

    { "schema": "onnx2int-onnx-score/1", "file": "lenet5.onnx", "digest": "...", "runtime": "onnxruntime",
      "runtime_version": "1.32.0", "images": 10000, "correct": 9901, "outputs_sha256": "...",
      "labels": [7, ...], "predictions": [7, ...] }

Exit status: 0 done; 1 failed, with the reason on stderr; 2 for bad usage.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pathlib
import sys

import numpy as np
import onnx

from mnist_images import TestImages, Unusable, model_input, read_test_images
from trace_onnx import RUNTIMES, little_endian, write_whole

SCHEMA = "onnx2int-onnx-score/1"
BATCH = 100


def raw_outputs(model: onnx.ModelProto, runtime: str, pixels: np.ndarray, threads: int) -> np.ndarray:
    """The output for each image, ``[images, classes]``."""
    inputs, outputs = len(model.graph.input), len(model.graph.output)
    if inputs != 1 or outputs != 1:
        raise Unusable(f"expected one input and one output, found {inputs} and {outputs}")
    name = model.graph.output[0].name
    run = RUNTIMES[runtime].prepare(model, threads)
    images = model_input(model, pixels)
    rows = np.concatenate([run([name], images[i : i + BATCH])[0] for i in range(0, len(images), BATCH)])
    if rows.ndim != 2 or len(rows) != len(images):
        raise Unusable(f"the output is {rows.dtype} {rows.shape}; expected one row for each of {len(images)} images")
    if not np.isfinite(rows).all():
        raise Unusable("an output is not a finite number")
    return rows


def classes(outputs: np.ndarray) -> np.ndarray:
    """The class of each image: the first greatest output, as ours."""
    return outputs.argmax(axis=1)


def score(file: pathlib.Path, runtime: str, images: TestImages, threads: int) -> dict[str, object]:
    data = file.read_bytes()
    outputs = raw_outputs(onnx.load_from_string(data), runtime, images.pixels, threads)
    predictions = classes(outputs)
    return {
        "schema": SCHEMA,
        "file": file.name,
        "digest": hashlib.sha256(data).hexdigest(),
        "runtime": runtime,
        "runtime_version": RUNTIMES[runtime].version,
        "images": len(images.labels),
        "correct": int((predictions == images.labels).sum()),
        "outputs_sha256": hashlib.sha256(little_endian(outputs)).hexdigest(),
        "labels": images.labels.tolist(),
        "predictions": predictions.tolist(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--runtime", choices=list(RUNTIMES), required=True)
    parser.add_argument("--data-dir", type=pathlib.Path, required=True)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--images", type=int, help="only the first so many")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    if arguments.images is not None and arguments.images < 1:
        parser.error("--images takes numbers from 1 on")
    try:
        images = read_test_images(arguments.data_dir)
        if arguments.images is not None and arguments.images > len(images.labels):
            raise Unusable(f"there are {len(images.labels)} test images, asked for {arguments.images}")
        first = slice(arguments.images)
        images = TestImages(images.pixels[first], images.labels[first])
        found = score(arguments.model, arguments.runtime, images, arguments.threads)
        write_whole(arguments.output, (json.dumps(found) + "\n").encode())
    except (Unusable, OSError) as error:
        print(f"score_onnx.py: {arguments.model}: {error}", file=sys.stderr)
        return 1
    except Exception as error:  # whatever onnx and ONNX Runtime raise: the runtime cannot run the model
        where = f"{arguments.model} in {arguments.runtime}"
        print(f"score_onnx.py: {where}: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(f"{found['file']} in {found['runtime']}: {found['correct']} of {found['images']} right")
    return 0


if __name__ == "__main__":
    sys.exit(main())
