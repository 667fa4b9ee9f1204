# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy==2.4.6", "onnx==1.23.2", "onnxruntime==1.32.0"]
# ///
"""Checks every stage file with the onnx checker and scores it in stock ONNX Runtime.

    python check_stages.py --models-dir DIR --data-dir DIR --stem mnist_cnn --ours FILE
                           [--stages float,quantized,...] [--threads N]

Input
-----
``--models-dir``  the stage files: ``<stem>.onnx``, ``<stem>_quantized.onnx``, ...
``--data-dir``    ``t10k-images-idx3-ubyte`` and ``t10k-labels-idx1-ubyte``, plain or ``.gz``.
``--ours``        what we scored, as below.
``--stages``      the stages to check, separated by commas; all ten by default. Each must have its
                  file and its entry in the file of ours.

The file of ours::

    { "format": 2, "stem": "mnist_cnn", "images": 10000,
      "stages": { "float": { "runtime": "tract", "correct": 9912 }, ... } }

``images``   how many of the test images everything is about: the first ones, in file order.
``correct``  of how many of them the argmax of the raw output (the first greatest) is the label,
             and ``runtime``, who counted.

Checks
------
every stage         ``onnx.checker`` with ``full_check``; one input and one output, a symbolic batch;
                    ONNX Runtime on the CPU runs it, and image 0 alone gives what it gives in a batch.
float               ``correct`` differs from ours by at most 1 in 10 000.
quantized, sanitized, rescaled, activations, pruned, folded, split
                    ``correct`` differs from ours by at most 5 in 10 000. These are scored with ONNX
                    Runtime's option ``session.x64quantprecision``: on a CPU without VNNI its default
                    kernels for QDQ layers saturate sums of two products, whatever the file. What the
                    default gives is reported as ``correct_default``.
integer, scale_out  ``correct`` is ours; no float tensor anywhere in scale_out.

Bits are not compared here: trace_onnx.py and ``cargo xtask conform`` do that.

Output
------
One JSON document on stdout::

    { "format": 2, "ok": true, "onnx": "1.23.2", "onnxruntime": "1.32.0", "images": 10000,
      "stages": { "scale_out": {
          "file": "mnist_cnn_scale_out.onnx", "ok": true, "nodes": 27, "input": "u8", "output": "i32",
          "correct": 9911, "correct_default": 9911, "correct_ours": 9911, "failures": [] } },
      "failures": [] }

Exit status: 0 if all holds; 1 if not, with each failure on a line of stderr; 2 for bad usage.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import pathlib
import sys
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto

from mnist_images import TestImages, Unusable, model_input, read_test_images

FORMAT = 2
BATCH = 100
# Makes the kernels of QDQ layers exact on x86 without VNNI.
PRECISE = {"session.x64quantprecision": "1"}

DTYPE_NAMES = {"tensor(float)": "f32", "tensor(int32)": "i32", "tensor(uint8)": "u8"}
INTEGER_TYPES = {
    getattr(TensorProto, name)
    for name in ("UINT8", "INT8", "UINT16", "INT16", "INT32", "UINT32", "INT64", "UINT64", "BOOL")
}


@dataclasses.dataclass(frozen=True)
class Rule:
    """What must hold for a stage beyond what must hold for every one."""

    # By how many of 10 000 images `correct` may differ from ours.
    tolerance: int
    # Score with precise QDQ kernels.
    precise: bool = False
    integers_only: bool = False


QDQ = Rule(tolerance=5, precise=True)
STAGES = {
    "float": Rule(tolerance=1),
    "quantized": QDQ,
    "sanitized": QDQ,
    "rescaled": QDQ,
    "activations": QDQ,
    "pruned": QDQ,
    "folded": QDQ,
    "split": QDQ,
    "integer": Rule(tolerance=0),
    "scale_out": Rule(tolerance=0, integers_only=True),
}


def read_ours(file: pathlib.Path, stem: str) -> dict[str, Any]:
    try:
        ours = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise Unusable(f"cannot read {file}: {error}") from error
    if not isinstance(ours, dict) or ours.get("format") != FORMAT or ours.get("stem") != stem:
        raise Unusable(f"{file} is not of format {FORMAT} and of stem {stem!r}")
    if not isinstance(ours.get("images"), int) or not isinstance(ours.get("stages"), dict):
        raise Unusable(f'{file} lacks "images" or "stages"')
    unknown = sorted(set(ours["stages"]) - set(STAGES))
    if unknown:
        raise Unusable(f"{file} speaks of unknown stages {unknown}")
    return ours


def first_images(folder: pathlib.Path, count: int) -> TestImages:
    images = read_test_images(folder)
    if not 0 < count <= len(images.pixels):
        raise Unusable(f"{folder} has {len(images.pixels)} images; ours are {count}")
    return TestImages(images.pixels[:count], images.labels[:count])


def make_session(model: bytes, threads: int, options: dict[str, str]) -> onnxruntime.InferenceSession:
    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads = threads
    session_options.log_severity_level = 3
    for key, value in options.items():
        session_options.add_session_config_entry(key, value)
    return onnxruntime.InferenceSession(model, session_options, providers=["CPUExecutionProvider"])


def run(session: onnxruntime.InferenceSession, images: np.ndarray) -> np.ndarray:
    name = session.get_inputs()[0].name
    batches = [session.run(None, {name: images[i : i + BATCH]})[0] for i in range(0, len(images), BATCH)]
    return np.concatenate(batches)


def float_tensors(model: onnx.ModelProto) -> list[str]:
    """The names of all tensors that do not hold integers, once every type is inferred."""
    graph = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True).graph
    types = {info.name: info.type.tensor_type.elem_type for info in (*graph.input, *graph.output, *graph.value_info)}
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                types[f"{node.name}.{attribute.name}"] = attribute.t.data_type
        for output in filter(None, node.output):
            types.setdefault(output, TensorProto.UNDEFINED)
    return sorted(name for name, elem_type in types.items() if elem_type not in INTEGER_TYPES)


class StageCheck:
    """The check of one stage file; `report` is what is printed of it."""

    def __init__(self, name: str, arguments: argparse.Namespace, ours: dict[str, Any], images: TestImages) -> None:
        self.rule = STAGES[name]
        self.arguments = arguments
        self.ours = ours
        self.images = images
        suffix = "" if name == "float" else f"_{name}"
        self.file = arguments.models_dir / f"{arguments.stem}{suffix}.onnx"
        self.failures: list[str] = []
        self.report: dict[str, Any] = {"file": self.file.name, "ok": False, "failures": self.failures}

    def run(self) -> None:
        try:
            self.check()
        except Unusable as error:
            self.failures.append(str(error))
        except Exception as error:  # whatever onnx and ONNX Runtime raise: it is this stage's failure
            self.failures.append(f"{type(error).__name__}: {error}")
        self.report["ok"] = not self.failures

    def check(self) -> None:
        data = self.file.read_bytes()
        model = onnx.load_from_string(data)
        onnx.checker.check_model(model, full_check=True)
        session = make_session(data, self.arguments.threads, {})
        self.describe(model, session)
        images = model_input(model, self.images.pixels)

        logits = run(session, images)
        correct = self.count_correct(logits)
        self.report["correct_default"] = correct
        if self.rule.precise:
            logits = run(make_session(data, self.arguments.threads, PRECISE), images)
            correct = self.count_correct(logits)
        self.report["correct"] = correct
        self.compare_accuracy(correct)

        alone = session.run(None, {session.get_inputs()[0].name: images[:1]})[0]
        if alone.argmax() != logits[0].argmax():
            self.failures.append("image 0 alone has another argmax than in a batch")
        floats = float_tensors(model) if self.rule.integers_only else []
        if floats:
            self.failures.append(f"tensors that do not hold integers: {floats}")

    def describe(self, model: onnx.ModelProto, session: onnxruntime.InferenceSession) -> None:
        inputs, outputs = session.get_inputs(), session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1:
            raise Unusable(f"expected one input and one output, found {len(inputs)} and {len(outputs)}")
        if isinstance(inputs[0].shape[0], int):
            self.failures.append(f"the batch is fixed to {inputs[0].shape[0]}; expected a symbolic one")
        self.report |= {
            "nodes": len(model.graph.node),
            "input": DTYPE_NAMES.get(inputs[0].type, inputs[0].type),
            "output": DTYPE_NAMES.get(outputs[0].type, outputs[0].type),
        }

    def count_correct(self, logits: np.ndarray) -> int:
        if logits.ndim != 2 or len(logits) != len(self.images.labels) or logits.dtype not in (np.float32, np.int32):
            raise Unusable(f"the output is {logits.dtype} {logits.shape}; expected one row of f32 or i32 per image")
        return int((logits.argmax(axis=1) == self.images.labels).sum())

    def compare_accuracy(self, correct: int) -> None:
        expected = self.ours["correct"]
        self.report["correct_ours"] = expected
        allowed = math.ceil(self.rule.tolerance * len(self.images.labels) / 10_000)
        if abs(correct - expected) > allowed:
            self.failures.append(
                f"ONNX Runtime gets {correct} of {len(self.images.labels)} images right, "
                f"{self.ours['runtime']} {expected}; expected a difference of at most {allowed}"
            )


def check_all(arguments: argparse.Namespace) -> dict[str, Any]:
    document: dict[str, Any] = {
        "format": FORMAT,
        "ok": False,
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
    }
    failures: list[str] = []
    try:
        ours = read_ours(arguments.ours, arguments.stem)
        images = first_images(arguments.data_dir, ours["images"])
        document["images"] = ours["images"]
        document["stages"] = {}
        for name in arguments.stages:
            if name not in ours["stages"]:
                failures.append(f"{name}: ours.json has no entry for this stage")
                continue
            stage = StageCheck(name, arguments, ours["stages"][name], images)
            stage.run()
            document["stages"][name] = stage.report
            failures += [f"{name}: {stage.file.name}: {failure}" for failure in stage.failures]
            print(f"{name}: {'ok' if stage.report['ok'] else 'FAILED'}", file=sys.stderr, flush=True)
    except Unusable as error:
        failures.append(str(error))
    document["failures"] = failures
    document["ok"] = not failures
    return document


def stage_list(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in STAGES]
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown stages {unknown}; expected some of {', '.join(STAGES)}")
    return names


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models-dir", type=pathlib.Path, required=True)
    parser.add_argument("--data-dir", type=pathlib.Path, required=True)
    parser.add_argument("--stem", required=True)
    parser.add_argument("--ours", type=pathlib.Path, required=True)
    parser.add_argument("--stages", type=stage_list, default=list(STAGES))
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    document = check_all(parser.parse_args())
    json.dump(document, sys.stdout, indent=2)
    print()
    for failure in document["failures"]:
        print(f"check_stages.py: {failure}", file=sys.stderr)
    return 0 if document["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
