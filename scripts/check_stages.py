# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy==2.4.6", "onnx==1.23.2", "onnxruntime==1.32.0"]
# ///
"""Checks every stage file with the onnx checker and stock ONNX Runtime, against our own results.

    python check_stages.py --models-dir DIR --data-dir DIR --stem mnist_cnn --ours DIR
                           [--stages float,quantized,...] [--threads N]

Input
-----
``--models-dir``  the stage files: ``<stem>.onnx``, ``<stem>_quantized.onnx``, ...
``--data-dir``    ``t10k-images-idx3-ubyte`` and ``t10k-labels-idx1-ubyte``, plain or ``.gz``.
``--ours``        a folder with ``ours.json`` and the logits files that it names.
``--stages``      the stages to check, separated by commas; all ten by default. Each must have its
                  file and its entry in ``ours.json``.

``ours.json``::

    { "format": 1, "stem": "mnist_cnn", "images": 10000,
      "stages": {
        "float":     { "runtime": "tract", "correct": 9912, "logits": [] },
        "scale_out": { "runtime": "tract", "correct": 9911, "logits": [
            { "runtime": "interpreter", "file": "scale_out.interpreter.logits.bin",
              "dtype": "i32", "shape": [10000, 10] },
            { "runtime": "tract", "file": "scale_out.tract.logits.bin",
              "dtype": "i32", "shape": [10000, 10] } ] } } }

``images``   how many of the test images everything is about: the first ones, in file order.
``correct``  of how many of them the argmax of the raw output (the first greatest) is the label,
             and ``runtime``, who counted.
``logits``   raw outputs, ``[images, classes]``, row-major, little-endian; ``dtype`` is "f32" or
             "i32", as the model's output is; ``file`` is relative to ``--ours``.

Checks
------
every stage      ``onnx.checker`` with ``full_check``; one input and one output, a symbolic batch;
                 ONNX Runtime on the CPU runs it, and image 0 alone gives what it gives in a batch.
float            ``correct`` differs from ours by at most 1 in 10 000.
quantized, sanitized, rescaled, activations, pruned, folded, split
                 ``correct`` differs from ours by at most 5 in 10 000. These are compared with
                 ONNX Runtime's option ``session.x64quantprecision``: on a CPU without VNNI its
                 default kernels for QDQ layers saturate sums of two products, whatever the
                 file. What the default gives is reported as ``correct_default``.
integer          equal to our interpreter bit for bit; tract's differing logits are counted, and
                 none may change the argmax; ``correct`` is ours.
scale_out        equal to our interpreter and to tract bit for bit; ``correct`` is ours; no float
                 tensor anywhere in the file; the onnx reference evaluator gives the same bits for
                 the first 16 images.

Other logits that ``ours.json`` names are compared and reported, not judged.

Output
------
One JSON document on stdout::

    { "format": 1, "ok": true, "onnx": "1.23.2", "onnxruntime": "1.32.0", "images": 10000,
      "stages": { "scale_out": {
          "file": "mnist_cnn_scale_out.onnx", "ok": true, "nodes": 27, "input": "u8", "output": "i32",
          "correct": 9911, "correct_default": 9911, "correct_ours": 9911, "seconds": 4.1,
          "comparisons": [ { "runtime": "tract", "required": "equal", "logits": 100000,
                             "differing": 0, "largest": 0.0, "flips": 0 } ],
          "failures": [] } },
      "failures": [] }

``required`` is "equal", "same argmax" or "nothing". Exit status: 0 if all holds; 1 if not, with
each failure on a line of stderr; 2 for bad usage.
"""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import json
import math
import os
import pathlib
import sys
import time
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator

FORMAT = 1
BATCH = 100
# The reference evaluator is plain numpy: some images are enough to see that it agrees.
REFERENCE_IMAGES = 16
# Makes the kernels of QDQ layers exact on x86 without VNNI.
PRECISE = {"session.x64quantprecision": "1"}

DTYPES = {"f32": np.dtype("<f4"), "i32": np.dtype("<i4")}
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
    # Compare with precise QDQ kernels.
    precise: bool = False
    # What the logits of a runtime must be; the runtimes named must be there.
    logits: dict[str, str] = dataclasses.field(default_factory=dict)
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
    "integer": Rule(tolerance=0, logits={"interpreter": "equal", "tract": "same argmax"}),
    "scale_out": Rule(
        tolerance=0, logits={"interpreter": "equal", "tract": "equal"}, integers_only=True
    ),
}


class Unusable(Exception):
    """Input that nothing can be checked against; the message says what, where and what to do."""


@dataclasses.dataclass
class TestImages:
    pixels: np.ndarray  # u8 [images, 1, rows, columns]
    labels: np.ndarray  # u8 [images]


def read_idx(folder: pathlib.Path, name: str, rank: int) -> np.ndarray:
    """An IDX file of unsigned bytes, plain or gzip."""
    plain, packed = folder / name, folder / f"{name}.gz"
    try:
        data = plain.read_bytes() if plain.exists() else gzip.decompress(packed.read_bytes())
    except (OSError, EOFError) as error:
        raise Unusable(f"cannot read {plain} or {packed}: {error}") from error
    header = 4 + 4 * rank
    if data[:4] != bytes([0, 0, 8, rank]) or len(data) < header:
        raise Unusable(f"{folder / name} is not an IDX file of {rank} axes of unsigned bytes")
    shape = tuple(int(extent) for extent in np.frombuffer(data[4:header], ">u4"))
    if len(data) != header + math.prod(shape):
        raise Unusable(f"{folder / name} has {len(data)} bytes, its header says {header + math.prod(shape)}")
    return np.frombuffer(data[header:], np.uint8).reshape(shape)


def read_test_images(folder: pathlib.Path, count: int) -> TestImages:
    pixels = read_idx(folder, "t10k-images-idx3-ubyte", 3)
    labels = read_idx(folder, "t10k-labels-idx1-ubyte", 1)
    if not 0 < count <= len(pixels) or len(pixels) != len(labels):
        raise Unusable(f"{folder} has {len(pixels)} images and {len(labels)} labels, ours.json is about {count}")
    return TestImages(pixels[:count, None], labels[:count])


def read_ours(folder: pathlib.Path, stem: str) -> dict[str, Any]:
    file = folder / "ours.json"
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


def read_logits(folder: pathlib.Path, entry: dict[str, Any], like: np.ndarray) -> np.ndarray:
    """Logits of ours, which must have the type and shape of ONNX Runtime's."""
    file = folder / entry["file"]
    dtype, shape = DTYPES.get(entry["dtype"]), tuple(entry["shape"])
    if dtype != like.dtype or shape != like.shape:
        raise Unusable(f"{file} holds {entry['dtype']} {shape}, ONNX Runtime gives {like.dtype} {like.shape}")
    size = file.stat().st_size
    if size != dtype.itemsize * math.prod(shape):
        raise Unusable(f"{file} has {size} bytes, {shape} of {entry['dtype']} takes {dtype.itemsize * math.prod(shape)}")
    return np.fromfile(file, dtype).reshape(shape)


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


def compare(runtime: str, required: str, ours: np.ndarray, theirs: np.ndarray) -> dict[str, Any]:
    """Counts what differs. Floats are compared by their bits, so that a NaN is not overlooked."""
    differs = ours.view(np.uint32) != theirs.view(np.uint32)
    gaps = np.abs(ours.astype(np.float64) - theirs.astype(np.float64))[differs]
    return {
        "runtime": runtime,
        "required": required,
        "logits": int(differs.size),
        "differing": int(differs.sum()),
        "largest": float(gaps.max()) if gaps.size else 0.0,
        "flips": int((ours.argmax(axis=1) != theirs.argmax(axis=1)).sum()),
    }


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
        started = time.monotonic()
        try:
            self.check()
        except Unusable as error:
            self.failures.append(str(error))
        except Exception as error:  # whatever onnx and ONNX Runtime raise: it is this stage's failure
            self.failures.append(f"{type(error).__name__}: {error}")
        self.report["seconds"] = round(time.monotonic() - started, 3)
        self.report["ok"] = not self.failures

    def check(self) -> None:
        data = self.file.read_bytes()
        model = onnx.load_from_string(data)
        onnx.checker.check_model(model, full_check=True)
        session = make_session(data, self.arguments.threads, {})
        self.describe(model, session)
        images = self.model_input(model, session)

        logits = run(session, images)
        correct = self.count_correct(logits)
        self.report["correct_default"] = correct
        if self.rule.precise:
            logits = run(make_session(data, self.arguments.threads, PRECISE), images)
            correct = self.count_correct(logits)
        self.report["correct"] = correct
        self.compare_accuracy(correct)
        self.compare_logits(logits)

        alone = session.run(None, {session.get_inputs()[0].name: images[:1]})[0]
        if alone.argmax() != logits[0].argmax():
            self.failures.append("image 0 alone has another argmax than in a batch")
        if self.rule.integers_only:
            self.check_integers(model, images[:REFERENCE_IMAGES], logits[:REFERENCE_IMAGES])

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

    def model_input(self, model: onnx.ModelProto, session: onnxruntime.InferenceSession) -> np.ndarray:
        """Raw pixels, or normalized as the model's metadata says."""
        kind = session.get_inputs()[0].type
        if kind == "tensor(uint8)":
            return self.images.pixels
        if kind != "tensor(float)":
            raise Unusable(f"the input is {kind}; expected uint8 or float")
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        try:
            mean, std = np.float32(metadata["onnx2int.mean"]), np.float32(metadata["onnx2int.std"])
        except (KeyError, ValueError) as error:
            raise Unusable(f"the model's metadata lacks onnx2int.mean and onnx2int.std ({error})") from error
        return (self.images.pixels.astype(np.float32) / np.float32(255) - mean) / std

    def count_correct(self, logits: np.ndarray) -> int:
        if logits.ndim != 2 or len(logits) != len(self.images.labels) or logits.dtype not in DTYPES.values():
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

    def compare_logits(self, theirs: np.ndarray) -> None:
        comparisons = self.report["comparisons"] = []
        given = {entry["runtime"]: entry for entry in self.ours["logits"]}
        for runtime in self.rule.logits.keys() - given.keys():
            self.failures.append(f"ours.json names no logits of {runtime}")
        for runtime, entry in given.items():
            required = self.rule.logits.get(runtime, "nothing")
            comparison = compare(runtime, required, read_logits(self.arguments.ours, entry, theirs), theirs)
            comparisons.append(comparison)
            broken = {"equal": comparison["differing"], "same argmax": comparison["flips"], "nothing": 0}
            if broken[required]:
                self.failures.append(
                    f"{comparison['differing']} of {comparison['logits']} logits of {runtime} differ from ONNX "
                    f"Runtime's by up to {comparison['largest']:g}, and {comparison['flips']} argmaxes; "
                    f"expected: {required}"
                )

    def check_integers(self, model: onnx.ModelProto, images: np.ndarray, logits: np.ndarray) -> None:
        floats = float_tensors(model)
        if floats:
            self.failures.append(f"tensors that do not hold integers: {floats}")
        outputs = ReferenceEvaluator(model).run(None, {model.graph.input[0].name: images})
        differing = int((np.asarray(outputs[0]) != logits).sum())
        if differing:
            self.failures.append(f"{differing} of {logits.size} logits of the onnx reference evaluator differ")


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
        images = read_test_images(arguments.data_dir, ours["images"])
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
