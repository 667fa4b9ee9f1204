"""The MNIST test images, and what a model makes of them: shared by check_stages.py and trace_onnx.py."""

from __future__ import annotations

import dataclasses
import gzip
import math
import pathlib

import numpy as np
import onnx


class Unusable(Exception):
    """Input that nothing can be checked against; the message says what, where and what to do."""


@dataclasses.dataclass
class TestImages:
    pixels: np.ndarray  # u8 [images, 1, rows, columns]
    labels: np.ndarray  # u8 [images]


def read_test_images(folder: pathlib.Path) -> TestImages:
    """All test images of ``t10k-images-idx3-ubyte`` and ``t10k-labels-idx1-ubyte``, plain or ``.gz``."""
    pixels = read_idx(folder, "t10k-images-idx3-ubyte", 3)
    labels = read_idx(folder, "t10k-labels-idx1-ubyte", 1)
    if len(pixels) != len(labels):
        raise Unusable(f"{folder} has {len(pixels)} images and {len(labels)} labels")
    return TestImages(pixels[:, None], labels)


def model_input(model: onnx.ModelProto, pixels: np.ndarray) -> np.ndarray:
    """Raw pixels, or normalized as the model's metadata says."""
    kind = model.graph.input[0].type.tensor_type.elem_type
    if kind == onnx.TensorProto.UINT8:
        return pixels
    if kind != onnx.TensorProto.FLOAT:
        raise Unusable(f"the input is {onnx.TensorProto.DataType.Name(kind)}; expected UINT8 or FLOAT")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    try:
        mean, std = np.float32(metadata["onnx2int.mean"]), np.float32(metadata["onnx2int.std"])
    except (KeyError, ValueError) as error:
        raise Unusable(f"the model's metadata lacks onnx2int.mean and onnx2int.std ({error})") from error
    return (pixels.astype(np.float32) / np.float32(255) - mean) / std


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
