# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy==2.4.6", "onnx==1.23.2", "onnxruntime==1.32.0"]
# ///
"""What flows through a model in ONNX Runtime or in the onnx reference evaluator, image by image.

    python trace_onnx.py --model FILE --runtime RUNTIME --data-dir DIR --output T.json
                         [--images N | --image I ... [--dump TENSOR ...]] [--batch N] [--threads N]

Does what ``onnx2int trace`` does, and writes the same files, in these runtimes:

onnxruntime          ONNX Runtime on the CPU as it comes: every optimization, default options
onnxruntime-precise  the same with the option ``session.x64quantprecision``: exact 8-bit products where a
                     processor without VNNI saturates sums of two
onnxruntime-plain    ONNX Runtime with no optimization at all
reference            the onnx package's reference evaluator: plain numpy, and slow

Observed is every integer tensor that a node computes for every image, that is, whose first extent is that
of the model's input. Integer tensors that are not are listed in the header with the reason.

An optimizer may fuse less where inner tensors are outputs. So the two optimizing runtimes run twice: the
file as it is for the raw outputs, and with every observed tensor made an output for the digests
(``observed_apart`` in the header).

Output
------
``T.json``         the header, schema "onnx2int-trace/1": model, runtime, images, tensors
``T.outputs.bin``  raw outputs, ``[images, classes]``
``T.digests.bin``  ``[images, tensors, 8]``: for each image and tensor the first eight bytes of SHA-256
                   over the image's elements, row-major, little-endian

With ``--dump``: ``T.json`` of schema "onnx2int-values/1" and ``T.values.bin``, for each image one tensor
after the other, row-major, little-endian; floats can be asked for too.

Exit status: 0 done; 1 failed, with the reason on stderr; 2 for bad usage.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import pathlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator

from mnist_images import Unusable, model_input, read_test_images

TRACE_SCHEMA = "onnx2int-trace/1"
VALUES_SCHEMA = "onnx2int-values/1"
DIGEST_BYTES = 8
DTYPE_NAMES = {
    TensorProto.FLOAT: "f32",
    TensorProto.UINT8: "u8",
    TensorProto.INT8: "i8",
    TensorProto.INT32: "i32",
    TensorProto.INT64: "i64",
    TensorProto.BOOL: "bool",
}
INTEGER_TYPES = (
    TensorProto.UINT8,
    TensorProto.INT8,
    TensorProto.UINT16,
    TensorProto.INT16,
    TensorProto.UINT32,
    TensorProto.INT32,
    TensorProto.UINT64,
    TensorProto.INT64,
)
# Seconds between two lines of progress.
PROGRESS_INTERVAL = 10


@dataclasses.dataclass(frozen=True)
class Runtime:
    # Runs a model of which these outputs are wanted.
    prepare: Callable[[onnx.ModelProto, int], Callable[[list[str], np.ndarray], list[np.ndarray]]]
    version: str
    optimizes: bool


def onnx_runtime(level: onnxruntime.GraphOptimizationLevel, options: dict[str, str]) -> Any:
    def prepare(model: onnx.ModelProto, threads: int) -> Callable[[list[str], np.ndarray], list[np.ndarray]]:
        session_options = onnxruntime.SessionOptions()
        session_options.graph_optimization_level = level
        session_options.intra_op_num_threads = threads
        session_options.log_severity_level = 3
        for key, value in options.items():
            session_options.add_session_config_entry(key, value)
        data = model.SerializeToString()
        session = onnxruntime.InferenceSession(data, session_options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda names, images: session.run(names, {name: images})

    return prepare


def reference(model: onnx.ModelProto, _threads: int) -> Callable[[list[str], np.ndarray], list[np.ndarray]]:
    evaluator = ReferenceEvaluator(model)
    name = model.graph.input[0].name
    return lambda names, images: [np.asarray(tensor) for tensor in evaluator.run(names, {name: images})]


LEVEL = onnxruntime.GraphOptimizationLevel
RUNTIMES = {
    "onnxruntime": Runtime(onnx_runtime(LEVEL.ORT_ENABLE_ALL, {}), onnxruntime.__version__, True),
    "onnxruntime-precise": Runtime(
        onnx_runtime(LEVEL.ORT_ENABLE_ALL, {"session.x64quantprecision": "1"}), onnxruntime.__version__, True
    ),
    "onnxruntime-plain": Runtime(onnx_runtime(LEVEL.ORT_DISABLE_ALL, {}), onnxruntime.__version__, False),
    "reference": Runtime(reference, onnx.__version__, False),
}


def digest(elements: np.ndarray) -> bytes:
    """The digest of a tensor's elements for one image."""
    little_endian = np.ascontiguousarray(elements, elements.dtype.newbyteorder("<"))
    return hashlib.sha256(little_endian.data.cast("B") if little_endian.size else b"").digest()[:DIGEST_BYTES]


def check_digest() -> None:
    """`onnx2int trace` asserts the same constant in a test of its own, so that the two cannot drift."""
    found = digest(np.array([[1, -2], [256, -(2**31)]], np.int32)).hex()
    if found != "96286692f1717cf6":
        raise Unusable(f"the digest of the example is {found}; this script does not fit `onnx2int trace`")


@dataclasses.dataclass
class Selection:
    """Tensors that nodes compute for every image."""

    types: dict[str, onnx.TypeProto.Tensor]
    nodes: dict[str, onnx.NodeProto]
    observed: list[str]
    left_out: list[dict[str, str]]


def select(model: onnx.ModelProto) -> Selection:
    graph = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True).graph
    infos = (*graph.input, *graph.output, *graph.value_info)
    types = {info.name: info.type.tensor_type for info in infos}
    batch = extent(types[graph.input[0].name].shape.dim[0])
    selection = Selection(types, {}, [], [])
    for node in graph.node:
        for name in filter(None, node.output):
            if name not in types:
                raise Unusable(f"the type of tensor {name!r} of node {node.name!r} cannot be inferred")
            selection.nodes[name] = node
            tensor = types[name]
            if tensor.elem_type not in INTEGER_TYPES:
                continue
            extents = [extent(dim) for dim in tensor.shape.dim]
            if extents and extents[0] == batch:
                selection.observed.append(name)
            else:
                shape = ",".join(map(str, extents))
                reason = f"it is {DTYPE_NAMES.get(tensor.elem_type)}[{shape}], whose first axis is not the batch"
                selection.left_out.append({"name": name, "node": node.name, "reason": reason})
    return selection


def extent(dim: onnx.TensorShapeProto.Dimension) -> int | str:
    return dim.dim_value if dim.HasField("dim_value") else dim.dim_param


def with_outputs(model: onnx.ModelProto, names: list[str], selection: Selection) -> onnx.ModelProto:
    """The model with these tensors among its outputs."""
    observed = onnx.ModelProto()
    observed.CopyFrom(model)
    present = {output.name for output in observed.graph.output}
    for name in dict.fromkeys(names):
        if name not in present:
            kind = selection.types[name].elem_type
            observed.graph.output.append(onnx.helper.make_tensor_value_info(name, kind, None))
    return observed


class Tracer:
    """One model in one runtime."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        data = arguments.model.read_bytes()
        self.digest = hashlib.sha256(data).hexdigest()
        self.model = onnx.load_from_string(data)
        if len(self.model.graph.input) != 1 or len(self.model.graph.output) != 1:
            raise Unusable(f"{arguments.model}: expected one input and one output")
        self.arguments = arguments
        self.runtime = RUNTIMES[arguments.runtime]
        self.selection = select(self.model)
        pixels = read_test_images(arguments.data_dir).pixels
        self.chosen = arguments.image or list(range(arguments.images or len(pixels)))
        if max(self.chosen) >= len(pixels) or min(self.chosen) < 0:
            raise Unusable(f"there is no test image {max(self.chosen)}: expected 0 to {len(pixels) - 1}")
        self.pixels = pixels[self.chosen]

    def batches(self) -> Iterator[np.ndarray]:
        images = model_input(self.model, self.pixels)
        started = told = time.monotonic()
        for start in range(0, len(images), self.arguments.batch):
            yield images[start : start + self.arguments.batch]
            now = time.monotonic()
            if now - told >= PROGRESS_INTERVAL:
                told = now
                done = min(start + self.arguments.batch, len(images))
                label = f"{self.arguments.model.name} in {self.arguments.runtime}"
                rate = done / (now - started)
                print(f"{label}: {done}/{len(images)} images ({rate:.0f}/s)", file=sys.stderr, flush=True)

    def sessions(self, extra: list[str]) -> tuple[Callable[[np.ndarray], list[np.ndarray]], list[str]]:
        """What gives the raw output and then the observed tensors; the names of the latter."""
        output = self.model.graph.output[0].name
        observed = [*extra, *self.selection.observed]
        threads = self.arguments.threads
        inner = self.runtime.prepare(with_outputs(self.model, observed, self.selection), threads)
        if not self.runtime.optimizes:
            return lambda images: inner([output, *observed], images), observed
        untouched = self.runtime.prepare(self.model, threads)

        def run(images: np.ndarray) -> list[np.ndarray]:
            return untouched([output], images) + (inner(observed, images) if observed else [])

        return run, observed

    def trace(self) -> None:
        run, names = self.sessions([])
        digests, outputs = [], []
        shapes: list[list[int]] = []
        for images in self.batches():
            output, *tensors = run(images)
            for name, tensor in zip(names, tensors, strict=True):
                if len(tensor) != len(images):
                    raise Unusable(f"tensor {name!r} has {len(tensor)} rows for {len(images)} images")
            shapes = [list(tensor.shape[1:]) for tensor in tensors]
            digests += [digest(tensor[image]) for image in range(len(images)) for tensor in tensors]
            outputs.append(output)
        logits = np.concatenate(outputs)
        header = self.header(TRACE_SCHEMA) | {
            "stage": {entry.key: entry.value for entry in self.model.metadata_props}.get("onnx2int.stage"),
            "observed_apart": self.runtime.optimizes,
            "images": len(self.chosen),
            "images_digest": hashlib.sha256(np.ascontiguousarray(self.pixels)).hexdigest(),
            "tensors": self.described(names, shapes),
            "left_out": self.selection.left_out,
        }
        output_type = self.selection.types[self.model.graph.output[0].name].elem_type
        shape = [len(self.chosen), len(names), DIGEST_BYTES]
        header["digests"] = self.sidecar("digests.bin", b"".join(digests), "u8", shape)
        header["outputs"] = self.sidecar(
            "outputs.bin", little_endian(logits), DTYPE_NAMES[output_type], list(logits.shape)
        )
        self.write(header)

    def dump(self) -> None:
        wanted = self.arguments.dump
        for name in wanted:
            if name not in self.selection.nodes:
                raise Unusable(f"{self.arguments.model}: no node computes a tensor {name!r}")
        run, _ = self.sessions(wanted)
        records: list[bytes] = []
        shapes: list[list[int]] = []
        for images in self.batches():
            tensors = run(images)[1 : 1 + len(wanted)]
            shapes = [list(tensor.shape[1:]) for tensor in tensors]
            records += [little_endian(tensor[image]) for image in range(len(images)) for tensor in tensors]
        data = b"".join(records)
        header = self.header(VALUES_SCHEMA) | {
            "images": self.chosen,
            "tensors": self.described(wanted, shapes),
            "values": self.sidecar("values.bin", data, "u8", [len(self.chosen), len(data) // len(self.chosen)]),
        }
        self.write(header)

    def header(self, schema: str) -> dict[str, Any]:
        return {
            "schema": schema,
            "file": self.arguments.model.name,
            "digest": self.digest,
            "runtime": self.arguments.runtime,
            "runtime_version": self.runtime.version,
        }

    def described(self, names: list[str], shapes: list[list[int]]) -> list[dict[str, Any]]:
        nodes, types = self.selection.nodes, self.selection.types
        return [
            {
                "name": name,
                "node": nodes[name].name,
                "op": nodes[name].op_type,
                "dtype": DTYPE_NAMES.get(types[name].elem_type, str(types[name].elem_type)),
                "shape": shape,
            }
            for name, shape in zip(names, shapes, strict=True)
        ]

    def sidecar(self, extension: str, data: bytes, dtype: str, shape: list[int]) -> dict[str, Any]:
        path = self.arguments.output.with_suffix(f".{extension}")
        write_whole(path, data)
        return {"file": path.name, "dtype": dtype, "shape": shape, "sha256": hashlib.sha256(data).hexdigest()}

    def write(self, header: dict[str, Any]) -> None:
        write_whole(self.arguments.output, (json.dumps(header, indent=2) + "\n").encode())


def little_endian(array: np.ndarray) -> bytes:
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def write_whole(path: pathlib.Path, data: bytes) -> None:
    """All of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--runtime", choices=list(RUNTIMES), required=True)
    parser.add_argument("--data-dir", type=pathlib.Path, required=True)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--images", type=int, help="only the first so many")
    chosen.add_argument("--image", type=int, nargs="+", default=[], help="only these, counted from 0")
    parser.add_argument("--dump", nargs="+", default=[], help="write the elements of these tensors")
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    if arguments.dump and not arguments.image:
        parser.error("--dump needs --image")
    if arguments.batch < 1 or (arguments.images is not None and arguments.images < 1):
        parser.error("--batch and --images take numbers from 1 on")
    try:
        check_digest()
        tracer = Tracer(arguments)
        if arguments.dump:
            tracer.dump()
        else:
            tracer.trace()
    except (Unusable, OSError) as error:
        print(f"trace_onnx.py: {error}", file=sys.stderr)
        return 1
    except Exception as error:  # whatever onnx and ONNX Runtime raise: the runtime cannot run the model
        print(f"trace_onnx.py: {arguments.runtime}: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
