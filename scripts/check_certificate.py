"""Checks an overflow certificate against its ONNX file, from scratch.

    python check_certificate.py --model M.onnx --certificate C.json

Everything in the certificate is computed anew from the bytes of the ONNX file, by interval arithmetic of
its own: nothing here is shared with the program that wrote the certificate. The two must agree in
every entry. A bound that is tighter than what is found here is refused, and so is a looser one: either
way one of the two programs is wrong. ``crates/certificate/SCHEMA.md`` says what the entries mean
and by which rules they follow.

Prints one line and exits with 0 if the certificate is accepted; else prints one line on
stderr for each reason, with the entry, what was expected and what was found, and exits with 1. Bad
usage exits with 2.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import itertools
import json
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

SCHEMA = "onnx2int-certificate/1"
STAGES = ("integer", "scale_out")
DTYPES = {
    TensorProto.FLOAT: "f32",
    TensorProto.UINT8: "u8",
    TensorProto.INT8: "i8",
    TensorProto.INT32: "i32",
    TensorProto.INT64: "i64",
    TensorProto.BOOL: "bool",
}
TYPE_RANGES = {
    "u8": (0, 2**8 - 1),
    "i8": (-(2**7), 2**7 - 1),
    "i32": (-(2**31), 2**31 - 1),
    "i64": (-(2**63), 2**63 - 1),
}
WIDTHS = {
    "int16": (-(2**15), 2**15 - 1),
    "int24": (-(2**23), 2**23 - 1),
    "f32-exact": (-(2**24), 2**24),
    "int32": (-(2**31), 2**31 - 1),
}
LARGEST_SEARCH = 2**28
LARGEST_KERNEL = 2**13
LARGEST_EXTENT = 2**20
MOST_REASONS = 20

# Operators whose result has the elements of their first operand, each once.
MOVES = {"Identity", "Dropout", "Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze"}
ELEMENTWISE = {"Relu", "Clip", "Add", "Sub", "Mul", "Div", "Max", "Min", "Cast"}
LAYERS = {"ConvInteger", "MatMulInteger"}


class Rejected(Exception):
    """Why a model or a certificate is not accepted."""


@dataclasses.dataclass
class Bounds:
    """What the elements of a tensor can be, for each index of axis 1 or for all elements alike."""

    low: np.ndarray
    high: np.ndarray
    per_channel: bool
    # Which of them are met by some input: "network", "layer" or "no: <reason>".
    low_attained: list[str] = dataclasses.field(default_factory=list)
    high_attained: list[str] = dataclasses.field(default_factory=list)
    # The elements are those of one graph input, each once.
    free: bool = False

    @property
    def hull(self) -> tuple[int, int]:
        return int(self.low.min()), int(self.high.max())

    def __len__(self) -> int:
        return len(self.low)

    def claim(self, name: str) -> Bounds:
        self.low_attained = [name] * len(self)
        self.high_attained = [name] * len(self)
        return self

    def any_attained(self, high: bool) -> str:
        """Whether an end of the hull is met in some channel."""
        ends, names = (self.high, self.high_attained) if high else (self.low, self.low_attained)
        end = self.hull[high]
        candidates = [name for value, name in zip(ends, names, strict=True) if value == end]
        return next((name for name in candidates if is_claimed(name)), candidates[0])


def is_claimed(name: str) -> bool:
    return not name.startswith("no: ")


def uniform(low: int, high: int) -> Bounds:
    return Bounds(np.array([low], np.int64), np.array([high], np.int64), per_channel=False)


def channels(low: np.ndarray, high: np.ndarray) -> Bounds:
    return Bounds(low.astype(np.int64), high.astype(np.int64), per_channel=len(low) > 1)


def of_constant(array: np.ndarray, axis: int = 1) -> Bounds:
    """The extremes of a constant along an axis, if it has that axis."""
    array = array.astype(np.int64)
    if axis >= array.ndim:
        return uniform(int(array.min()), int(array.max()))
    others = tuple(other for other in range(array.ndim) if other != axis)
    return channels(array.min(axis=others), array.max(axis=others))


# The metadata that names the nodes behind the integer part, one a line.
FLOAT_TAIL = "onnx2int.float_tail"


class Model:
    """An ONNX file, its nodes in the order in which the outputs ask for them."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        try:
            proto = onnx.ModelProto.FromString(data)
            # Among other things: no cycle, and nothing is there twice.
            onnx.checker.check_model(proto)
            proto = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
        except Exception as error:  # parser, checker and inference have no common type of error
            raise Rejected(f"the model: not a valid ONNX file: {error}") from error
        graph = proto.graph
        self.metadata = {entry.key: entry.value for entry in proto.metadata_props}
        self.outputs = [value.name for value in graph.output]
        self.inputs = [value.name for value in graph.input]
        self.types: dict[str, tuple[str, list[int | str]]] = {}
        for value in itertools.chain(graph.input, graph.value_info, graph.output):
            self.types[value.name] = self._type(value)
        producers = {name: node for node in graph.node for name in node.output if name}
        initializers = {tensor.name: tensor for tensor in graph.initializer}
        self.nodes = self._execution_order(producers)
        if FLOAT_TAIL in self.metadata:
            self.outputs = self._ends_before(set(self.metadata[FLOAT_TAIL].split("\n")), set(initializers))
            self.nodes = self._execution_order(producers)
        used = {name for node in self.nodes for name in node.input if name} | set(self.outputs)
        if clash := set(self.inputs) & set(initializers):
            raise Rejected(f"the model: input {sorted(clash)[0]!r} has a default value")
        self.constants: dict[str, np.ndarray] = {}
        for name in sorted(used & set(initializers), key=str.encode):
            tensor = initializers[name]
            if tensor.data_location == TensorProto.EXTERNAL or tensor.data_type not in DTYPES:
                raise Rejected(f"the model: constant {name!r} is of an unexpected kind")
            self.constants[name] = numpy_helper.to_array(tensor)
            self.types[name] = (DTYPES[tensor.data_type], list(tensor.dims))

    def dtype(self, name: str) -> str:
        return self.types[name][0]

    def shape(self, name: str) -> list[int | str]:
        return self.types[name][1]

    @staticmethod
    def _type(value: onnx.ValueInfoProto) -> tuple[str, list[int | str]]:
        tensor = value.type.tensor_type
        if tensor.elem_type not in DTYPES or not tensor.HasField("shape"):
            raise Rejected(f"the model: tensor {value.name!r} is of an unexpected type")
        extents = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in tensor.shape.dim]
        return DTYPES[tensor.elem_type], extents

    def _ends_before(self, names: set[str], constants: set[str]) -> list[str]:
        """What the integer part ends in: the outputs that it makes, and then what the float tail reads of it."""
        tail = [node for node in self.nodes if node.name in names]
        if missing := names - {node.name for node in tail}:
            raise Rejected(f"the model: float tail: no node is called {sorted(missing)[0]!r}")
        made = {name for node in tail for name in node.output}
        for node in self.nodes:
            if node.name not in names and made & set(node.input):
                raise Rejected(f"the model: node {node.name!r} reads a result of the float tail")
        read = [name for node in tail for name in node.input if name and name not in constants]
        if from_input := set(read) & set(self.inputs):
            raise Rejected(f"the model: the float tail reads input {sorted(from_input)[0]!r}")
        ends = [name for name in [*self.outputs, *read] if name not in made]
        return list(dict.fromkeys(ends))

    def _execution_order(self, producers: dict[str, onnx.NodeProto]) -> list[onnx.NodeProto]:
        """Depth first from the outputs, operands from left to right."""
        order: list[onnx.NodeProto] = []
        seen: set[str] = set()
        for output in self.outputs:
            stack = [(output, False)]
            while stack:
                name, operands_done = stack.pop()
                node = producers.get(name)
                if node is None:
                    continue
                if len(node.output) != 1:
                    raise Rejected(f"the model: node {node.name!r} has {len(node.output)} outputs")
                if operands_done:
                    order.append(node)
                elif name not in seen:
                    seen.add(name)
                    stack.append((name, True))
                    stack.extend((operand, False) for operand in reversed(node.input))
        return order


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}


class Analysis:
    """The bounds of every integer tensor of a model."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.bounds: dict[str, Bounds] = {}
        self.layers: dict[str, Bounds] = {}
        for name in model.inputs:
            if model.dtype(name) in TYPE_RANGES:
                bounds = uniform(*TYPE_RANGES[model.dtype(name)]).claim("network")
                bounds.free = True
                self.bounds[name] = bounds
        for name, array in model.constants.items():
            if 0 in array.shape:
                raise Rejected(f"the model: constant {name!r} has no elements")
            if model.dtype(name) in TYPE_RANGES:
                self.bounds[name] = of_constant(array).claim("network")
        for node in model.nodes:
            self._visit(node)

    def _visit(self, node: onnx.NodeProto) -> None:
        output = node.output[0]
        if 0 in self.model.shape(output):
            raise Rejected(f"the model: tensor {output!r} has no elements")
        dtype = self.model.dtype(output)
        if dtype not in TYPE_RANGES:
            return
        bounds = self._result(node)
        low, high = bounds.hull
        least, greatest = TYPE_RANGES[dtype]
        if low < least or high > greatest:
            channel = int(np.argmax((bounds.low < least) | (bounds.high > greatest)))
            found = (int(bounds.low[channel]), int(bounds.high[channel]))
            raise Rejected(f"the model: {output!r}, channel {channel}: expected results within {dtype}, found {found}")
        for channel in np.flatnonzero(bounds.low == bounds.high):
            bounds.low_attained[channel] = bounds.high_attained[channel] = "network"
        self.bounds[output] = bounds

    def _result(self, node: onnx.NodeProto) -> Bounds:
        operands = [self.bounds.get(name) if name else None for name in node.input]
        type_range = uniform(*TYPE_RANGES[self.model.dtype(node.output[0])])
        if node.op_type in LAYERS:
            return self._layer(node)
        if node.op_type in ELEMENTWISE:
            bounds = self._elementwise(node, operands)
            return self._attained_elementwise(node, bounds if bounds is not None else type_range, operands)
        if node.op_type == "MaxPool":
            return self._max_pool(node, self._first(node, operands))
        if node.op_type in MOVES:
            return self._moved(node, self._first(node, operands))
        if node.op_type in ("Slice", "Gather"):
            operand = self._first(node, operands)
            by_constants = node.op_type == "Slice" or node.input[1] in self.model.constants
            name = operand.low_attained[0] if operand.free and by_constants else "no: not-all-elements-kept"
            return uniform(*operand.hull).claim(name)
        if node.op_type == "Pad":
            return self._pad(node, operands)
        if node.op_type == "Concat":
            return self._concat(node, operands)
        if node.op_type == "ArgMax":
            shape = self.model.shape(node.input[0])
            extent = shape[attributes(node).get("axis", 0)]
            return (uniform(0, extent - 1) if isinstance(extent, int) else type_range).claim("no: not-followed")
        if node.op_type == "QuantizeLinear":
            return type_range.claim("no: type-range")
        raise Rejected(f"the model: node {node.name!r}: operator {node.op_type!r} is not known to this checker")

    @staticmethod
    def _first(node: onnx.NodeProto, operands: list[Bounds | None]) -> Bounds:
        if not operands or operands[0] is None:
            raise Rejected(f"the model: node {node.name!r}: expected an integer operand")
        return operands[0]

    # Layers.

    def _scalar(self, node: onnx.NodeProto, slot: int) -> int:
        name = node.input[slot] if slot < len(node.input) else ""
        array = self.model.constants.get(name)
        if array is None or array.shape != ():
            raise Rejected(f"the model: node {node.name!r}: expected a constant scalar zero point at operand {slot}")
        return int(array)

    def _layer(self, node: onnx.NodeProto) -> Bounds:
        operand = self._first(node, [self.bounds.get(node.input[0])])
        weights = self.model.constants.get(node.input[1])
        if weights is None:
            raise Rejected(f"the model: node {node.name!r}: computed weights are not known to this checker")
        zero_point, weight_zero_point = self._scalar(node, 2), self._scalar(node, 3)
        weights = weights.astype(np.int64) - weight_zero_point
        shape = self.model.shape(node.input[0])
        if node.op_type == "ConvInteger":
            group = attributes(node).get("group", 1)
            if group < 1 or weights.shape[0] % group or weights.shape[1] * group != shape[1]:
                raise Rejected(
                    f"the model: node {node.name!r}: expected {shape[1]} input channels in groups, "
                    f"found {group} groups of weights {list(weights.shape)}"
                )
            # [group, filters of the group, channels of the group, cells]
            taps = weights.reshape(group, weights.shape[0] // group, weights.shape[1], -1)
            low, high = (spread(end, shape[1]).reshape(group, 1, -1, 1) for end in (operand.low, operand.high))
        else:
            if weights.ndim != 2:
                raise Rejected(f"the model: node {node.name!r}: weights that are no matrix are not known to this checker")
            taps = weights.T[np.newaxis, :, :, np.newaxis]
            if len(shape) == 2:
                low, high = (spread(end, weights.shape[0]) for end in (operand.low, operand.high))
            else:
                low, high = (spread(np.array([end]), weights.shape[0]) for end in operand.hull)
            low, high = low.reshape(1, 1, -1, 1), high.reshape(1, 1, -1, 1)
        at_low, at_high = taps * (low - zero_point), taps * (high - zero_point)
        least, greatest = np.minimum(at_low, at_high), np.maximum(at_low, at_high)
        bounds = channels(
            np.minimum(least, 0).sum(axis=(2, 3)).reshape(-1), np.maximum(greatest, 0).sum(axis=(2, 3)).reshape(-1)
        )
        scope = "network" if operand.free else "layer"
        bounds.low_attained = self._layer_attained(node, weights, least, bounds.low, min, scope)
        bounds.high_attained = self._layer_attained(node, weights, greatest, bounds.high, max, scope)
        self.layers[node.output[0]] = bounds
        if node.op_type == "MatMulInteger" and len(shape) != 2:
            merged = uniform(*bounds.hull)
            merged.low_attained = [bounds.any_attained(high=False)]
            merged.high_attained = [bounds.any_attained(high=True)]
            self.layers[node.output[0]] = merged
        return self.layers[node.output[0]]

    def _layer_attained(
        self,
        node: onnx.NodeProto,
        weights: np.ndarray,
        terms: np.ndarray,
        bound: np.ndarray,
        further: Callable[[int, int], int],
        scope: str,
    ) -> list[str]:
        """Whether the sums of one window reach the bound. ``terms`` are the furthest products, [group, filter, channel, cell]."""
        filters = terms.shape[0] * terms.shape[1]
        whole = terms.sum(axis=(2, 3)).reshape(filters)
        reached = np.zeros(filters, bool)
        if node.op_type == "ConvInteger":
            kernel = weights.shape[2:]
            if max(kernel) > LARGEST_KERNEL:
                return ["no: search-too-large"] * filters
            kinds = list(window_kinds(self.model.shape(node.input[0])[2:], kernel, attributes(node), node.name))
            count = int(np.prod([len(kind) for kind in kinds], dtype=object))
            if count * weights.size > LARGEST_SEARCH:
                return ["no: search-too-large"] * filters
            boxed = terms.reshape(*terms.shape[:3], *kernel)
            # The whole window first: it mostly settles all.
            for box in sorted(itertools.product(*kinds), key=lambda box: -sum(part.stop - part.start for part in box)):
                inside = boxed[(slice(None), slice(None), slice(None), *box)]
                reached |= inside.reshape(filters, -1).sum(axis=1) == bound
                if reached.all():
                    break
        else:
            reached = whole == bound
        obstacles = np.where(whole == bound, "no: no-such-window", "no: partial-sums-only")
        return [scope if met else str(obstacle) for met, obstacle in zip(reached, obstacles, strict=True)]

    # Element by element.

    def _aligned(self, name: str, bounds: Bounds, rank: int) -> Bounds:
        """An operand's bounds along axis 1 of a result of that rank."""
        own_rank = len(self.model.shape(name))
        if own_rank == rank:
            return bounds
        if name in self.model.constants and own_rank + 1 == rank:
            return of_constant(self.model.constants[name], axis=0)
        return uniform(*bounds.hull)

    def _elementwise(self, node: onnx.NodeProto, operands: list[Bounds | None]) -> Bounds | None:
        """None if any value of the type can come out."""
        first = operands[0]
        if first is None:
            return None
        if node.op_type == "Cast":
            least, greatest = TYPE_RANGES[self.model.dtype(node.output[0])]
            low, high = first.hull
            return dataclasses.replace(first, free=False) if least <= low and high <= greatest else None
        if node.op_type == "Relu":
            return Bounds(np.maximum(first.low, 0), np.maximum(first.high, 0), first.per_channel)
        if node.op_type == "Clip":
            low, high = first.low, first.high
            for bound, clip in zip(operands[1:], (np.maximum, np.minimum), strict=False):
                if bound is not None:
                    low, high = clip(low, bound.hull[0]), clip(high, bound.hull[1])
            return Bounds(low, high, first.per_channel)
        rank = len(self.model.shape(node.output[0]))
        if node.op_type == "Div" and (operands[1] is None or operands[1].hull[0] <= 0):
            return None
        result = self._aligned(node.input[0], first, rank)
        for name, operand in zip(node.input[1:], operands[1:], strict=True):
            if operand is None:
                return None
            other = self._aligned(name, operand, rank)
            corners = np.stack([
                self._apply(node.op_type, a, b) for a in (result.low, result.high) for b in (other.low, other.high)
            ])
            result = Bounds(corners.min(axis=0), corners.max(axis=0), result.per_channel or other.per_channel)
        return result

    @staticmethod
    def _apply(op: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        if op == "Add":
            return a + b
        if op == "Sub":
            return a - b
        if op == "Mul":
            return a * b
        if op == "Max":
            return np.maximum(a, b)
        if op == "Min":
            return np.minimum(a, b)
        # Integer division truncates towards zero.
        return np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))

    def _attained_elementwise(self, node: onnx.NodeProto, bounds: Bounds, operands: list[Bounds | None]) -> Bounds:
        names = list(node.input)
        computed = [slot for slot, name in enumerate(names) if name and name not in self.model.constants]
        if len(computed) != 1:
            return bounds.claim("no: several-operands")
        slot = computed[0]
        operand = operands[slot]
        if operand is None:
            return bounds.claim("no: type-range")
        shape = self.model.shape(names[slot])
        rank = len(self.model.shape(node.output[0]))
        same_rank = len(shape) == rank
        one_channel = len(shape) > 1 and shape[1] == 1
        if bounds.per_channel and not (same_rank and (operand.per_channel or one_channel or operand.free)):
            return bounds.claim("no: positions-merged")
        constants = {
            other: self._aligned(name, self.bounds[name], rank)
            for other, name in enumerate(names)
            if name and other != slot
        }
        count = len(bounds)
        varies = np.zeros(count, bool)
        for constant in constants.values():
            if bounds.per_channel:
                varies |= constant.low != constant.high
            else:
                varies |= constant.hull[0] != constant.hull[1]
        fixed = {other: constant.low if bounds.per_channel else constant.low[:1] for other, constant in constants.items()}
        if operand.per_channel and not bounds.per_channel:
            ends = [np.array([end]) for end in operand.hull]
            claims = [[operand.any_attained(high=False)], [operand.any_attained(high=True)]]
        else:
            ends = [spread(end, count) for end in (operand.low, operand.high)]
            claims = [
                names * (count if len(names) == 1 else 1) for names in (operand.low_attained, operand.high_attained)
            ]
        images = [spread(self._on_points(node, slot, end, fixed), count) for end in ends]
        for target, result in ((bounds.low, "low_attained"), (bounds.high, "high_attained")):
            found = []
            for channel in range(count):
                met = [
                    claim[channel]
                    for image, claim in zip(images, claims, strict=True)
                    if image[channel] == target[channel] and is_claimed(claim[channel])
                ]
                if varies[channel]:
                    found.append("no: constant-varies")
                else:
                    found.append(met[0] if met else "no: operand-not-attained")
            setattr(bounds, result, found)
        return bounds

    def _on_points(self, node: onnx.NodeProto, slot: int, points: np.ndarray, fixed: dict[int, np.ndarray]) -> np.ndarray:
        """The operator on single values of its computed operand."""
        if node.op_type == "Relu":
            return np.maximum(points, 0)
        if node.op_type == "Cast":
            return points
        if node.op_type == "Clip":
            low, high = fixed.get(1), fixed.get(2)
            points = points if low is None else np.maximum(points, low)
            return points if high is None else np.minimum(points, high)
        values = [points if other == slot else fixed[other] for other in range(len(node.input))]
        result = values[0]
        for value in values[1:]:
            result = self._apply(node.op_type, result, value)
        return result

    # Data movement.

    def _max_pool(self, node: onnx.NodeProto, operand: Bounds) -> Bounds:
        bounds = dataclasses.replace(
            operand,
            low_attained=list(operand.low_attained),
            high_attained=list(operand.high_attained),
            free=False,
        )
        given = attributes(node)
        kernel = given["kernel_shape"]
        rank = len(kernel)
        dilations = given.get("dilations", [1] * rank)
        if operand.free and all(dilation == 1 for dilation in dilations):
            return bounds
        strides, pads = given.get("strides", [1] * rank), given.get("pads", [0] * 2 * rank)
        inputs, outputs = self.model.shape(node.input[0])[2:], self.model.shape(node.output[0])[2:]
        covers = all(
            dilations[axis] == 1
            and strides[axis] <= kernel[axis]
            and (outputs[axis] - 1) * strides[axis] + kernel[axis] >= inputs[axis] + pads[axis]
            for axis in range(rank)
        )
        single = all(extent == 1 for extent in kernel)

        def kept(names: list[str], keeps: bool, obstacle: str) -> list[str]:
            return [name if keeps or not is_claimed(name) else obstacle for name in names]

        bounds.low_attained = kept(operand.low_attained, single and covers, "no: window-of-several")
        bounds.high_attained = kept(operand.high_attained, covers, "no: not-all-elements-kept")
        return bounds

    def _moved(self, node: onnx.NodeProto, operand: Bounds) -> Bounds:
        given = attributes(node)
        before, after = self.model.shape(node.input[0]), self.model.shape(node.output[0])
        flattens = (node.op_type == "Flatten" and given.get("axis", 1) == 1) or (
            node.op_type == "Reshape" and len(after) == 2 and len(before) >= 2 and before[0] == after[0]
        )
        keeps = node.op_type in ("Identity", "Dropout") or (
            node.op_type == "Transpose" and len(before) > 1 and list(given.get("perm", [])[1:2]) == [1]
        )
        rest = before[2:]
        if keeps:
            bounds = dataclasses.replace(operand)
        elif flattens and operand.per_channel and all(isinstance(extent, int) for extent in rest):
            repeats = int(np.prod(rest, dtype=np.int64)) if rest else 1
            bounds = channels(np.repeat(operand.low, repeats), np.repeat(operand.high, repeats))
        else:
            bounds = uniform(*operand.hull)
        bounds.free = operand.free
        if not bounds.per_channel:
            bounds.low_attained = [operand.any_attained(high=False)]
            bounds.high_attained = [operand.any_attained(high=True)]
        elif len(bounds) == len(operand):
            bounds.low_attained, bounds.high_attained = list(operand.low_attained), list(operand.high_attained)
        else:
            bounds.claim("no: positions-merged")
        return bounds

    def _pad(self, node: onnx.NodeProto, operands: list[Bounds | None]) -> Bounds:
        operand = self._first(node, operands)
        low, high = 0, 0
        if len(node.input) > 2 and node.input[2]:
            value = operands[2]
            if value is None:
                raise Rejected(f"the model: node {node.name!r}: expected an integer to pad with")
            low, high = value.hull
        before, after = self.model.shape(node.input[0]), self.model.shape(node.output[0])
        if operand.per_channel and before[1] == after[1]:
            bounds = channels(np.minimum(operand.low, low), np.maximum(operand.high, high))
        else:
            least, greatest = operand.hull
            bounds = uniform(min(least, low), max(greatest, high))
        return bounds.claim("no: not-followed")

    def _concat(self, node: onnx.NodeProto, operands: list[Bounds | None]) -> Bounds:
        rank = len(self.model.shape(node.output[0]))
        extent = self.model.shape(node.output[0])[1] if rank > 1 else None
        along_channels = attributes(node)["axis"] % rank == 1 and isinstance(extent, int)
        parts = []
        for name, operand in zip(node.input, operands, strict=True):
            if operand is None:
                raise Rejected(f"the model: node {node.name!r}: expected integer operands")
            part = dataclasses.replace(operand, free=False)
            if along_channels and not operand.per_channel:
                count = self.model.shape(name)[1]
                if count > 1 and not operand.free:
                    part.claim("no: positions-merged")
                part = Bounds(
                    np.repeat(part.low, count),
                    np.repeat(part.high, count),
                    count > 1,
                    part.low_attained * count,
                    part.high_attained * count,
                )
            parts.append(part)
        joined = Bounds(
            np.concatenate([part.low for part in parts]),
            np.concatenate([part.high for part in parts]),
            per_channel=True,
            low_attained=[name for part in parts for name in part.low_attained],
            high_attained=[name for part in parts for name in part.high_attained],
        )
        if along_channels and len(joined) > 1:
            return joined
        merged = uniform(*joined.hull)
        merged.low_attained = [joined.any_attained(high=False)]
        merged.high_attained = [joined.any_attained(high=True)]
        return merged


def spread(ends: np.ndarray, count: Any) -> np.ndarray:
    """One value for each channel."""
    return np.broadcast_to(ends, (count,)) if len(ends) == 1 else ends


def window_kinds(
    extents: list[int | str], kernel: tuple[int, ...], given: dict[str, Any], node: str
) -> Iterator[list[slice]]:
    """For each spatial axis the different sets of kernel cells that lie inside the operand, as slices."""
    rank = len(kernel)
    if given.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise Rejected(f"the model: node {node!r}: auto_pad is not known to this checker")
    strides, dilations = given.get("strides", [1] * rank), given.get("dilations", [1] * rank)
    pads = given.get("pads", [0] * 2 * rank)
    for axis in range(rank):
        extent, cells, stride, dilation = extents[axis], kernel[axis], strides[axis], dilations[axis]
        begin, end = pads[axis], pads[axis + rank]
        if not isinstance(extent, int) or extent + begin + end > LARGEST_EXTENT:
            raise Rejected(f"the model: node {node!r}: extent {extent} is too large for this checker")
        positions = (extent + begin + end - (cells - 1) * dilation - 1) // stride + 1
        found = []
        for position in range(positions):
            # The first cell at or after the operand's begin, and the first at or after its end.
            start = position * stride - begin
            first = min(max(-(start // dilation), 0), cells)
            last = min(max(-((start - extent) // dilation), first), cells)
            kind = slice(first, last) if last > first else slice(0, 0)
            if kind not in found:
                found.append(kind)
        yield found


def expected_certificate(data: bytes, stage: str | None = None) -> dict[str, Any]:
    """The certificate of an ONNX file. ``stage`` is used if the model's metadata names none.

    Raises Rejected for a model that must have no certificate.
    """
    model = Model(data)
    try:
        analysis = Analysis(model)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        # What the ONNX checker lets pass, and nothing here was made for.
        raise Rejected(f"the model: not understood: {type(error).__name__}: {error}") from error
    stage = model.metadata.get("onnx2int.stage", stage)
    if stage not in STAGES:
        raise Rejected(f"stage: expected one of {STAGES}, found {stage!r}")
    if stage == "scale_out":
        for name in [*model.inputs, *model.constants, *(node.output[0] for node in model.nodes)]:
            if model.dtype(name) not in TYPE_RANGES:
                raise Rejected(f"the model: {name!r}: expected integers only, found {model.dtype(name)}")
    if not analysis.layers:
        raise Rejected("the model: expected at least one ConvInteger or MatMulInteger, found none")
    inputs = []
    for name in model.inputs:
        if model.dtype(name) != "u8":
            raise Rejected(f"the model: input {name!r}: expected u8, found {model.dtype(name)}")
        low, high = TYPE_RANGES["u8"]
        inputs.append({"name": name, "dtype": "u8", "shape": model.shape(name), "low": low, "high": high})
    obligations = [entry for node in model.nodes for entry in node_obligations(model, analysis, node)]
    for entry in obligations:
        if not entry["least"] <= entry["low"] <= entry["high"] <= entry["greatest"]:
            allowed = f"{entry['tensor']!r} within [{entry['least']}, {entry['greatest']}]"
            raise Rejected(
                f"the model: node {entry['node']!r}: {entry['rule']}: expected {allowed}, "
                f"found [{entry['low']}, {entry['high']}]"
            )
    return {
        "schema": SCHEMA,
        "model": {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)},
        "stage": stage,
        "inputs": inputs,
        "constants": [
            {
                "name": name,
                "dtype": model.dtype(name),
                "shape": list(array.shape),
                "sha256": hashlib.sha256(little_endian(array)).hexdigest(),
            }
            for name, array in model.constants.items()
        ],
        "tensors": [
            tensor_entry(model, node, analysis.bounds[node.output[0]])
            for node in model.nodes
            if node.output[0] in analysis.bounds
        ],
        "layers": [layer_entry(model, node, analysis) for node in model.nodes if node.op_type in LAYERS],
        "obligations": obligations,
    }


def little_endian(array: np.ndarray) -> bytes:
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()


def tensor_entry(model: Model, node: onnx.NodeProto, bounds: Bounds) -> dict[str, Any]:
    name = node.output[0]
    return {
        "name": name,
        "node": node.name,
        "op": node.op_type,
        "dtype": model.dtype(name),
        "shape": model.shape(name),
        "axis": 1 if bounds.per_channel else None,
        "lows": bounds.low.tolist(),
        "highs": bounds.high.tolist(),
        "attained": {"lows": runs(bounds.low_attained), "highs": runs(bounds.high_attained)},
    }


def runs(names: list[str]) -> list[list[int | str]]:
    return [[len(list(group)), name] for name, group in itertools.groupby(names)]


def widths(low: int, high: int) -> dict[str, Any]:
    # (~x).bit_length() for negative x: two's complement without the sign.
    bits = 1 + max((end if end >= 0 else ~end).bit_length() for end in (low, high))
    fits = [name for name, (least, greatest) in WIDTHS.items() if least <= low and high <= greatest]
    return {"low": low, "high": high, "bits": bits, "headroom": max(0, 32 - bits), "fits": fits}


def layer_entry(model: Model, node: onnx.NodeProto, analysis: Analysis) -> dict[str, Any]:
    bounds = analysis.layers[node.output[0]]
    weights = model.shape(node.input[1])
    products = weights[1:] if node.op_type == "ConvInteger" else weights[:1]
    return {
        "node": node.name,
        "op": node.op_type,
        "operand": node.input[0],
        "output": node.output[0],
        "products": int(np.prod(products, dtype=np.int64)),
        **widths(*bounds.hull),
        "channels": [
            {**widths(int(low), int(high)), "low_attained": low_attained, "high_attained": high_attained}
            for low, high, low_attained, high_attained in zip(
                bounds.low, bounds.high, bounds.low_attained, bounds.high_attained, strict=True
            )
        ],
    }


def node_obligations(model: Model, analysis: Analysis, node: onnx.NodeProto) -> Iterator[dict[str, Any]]:
    output = node.output[0]
    if model.dtype(output) not in TYPE_RANGES:
        return
    least, greatest = TYPE_RANGES[model.dtype(output)]

    def entry(rule: str, tensor: str, least: int, greatest: int = greatest) -> Iterator[dict[str, Any]]:
        if tensor in analysis.bounds:
            low, high = analysis.bounds[tensor].hull
            yield {
                "rule": rule,
                "node": node.name,
                "tensor": tensor,
                "low": low,
                "high": high,
                "least": least,
                "greatest": greatest,
            }

    if node.op_type == "Gather" and node.input[1] not in model.constants:
        extent = model.shape(node.input[0])[attributes(node).get("axis", 0)]
        if isinstance(extent, int):
            yield from entry("gather-index-in-range", node.input[1], 0, extent - 1)
    if node.op_type == "Cast":
        yield from entry("narrowing-cast-is-clipped", node.input[0], least)
    if node.op_type == "Div":
        yield from entry("dividend-is-non-negative", node.input[0], 0)
        yield from entry("divisor-is-positive", node.input[1], 1)
    yield from entry("accumulator-fits-i32" if node.op_type in LAYERS else "integer-op-fits-i32", output, least)


def differences(expected: Any, found: Any, path: str = "") -> Iterator[str]:
    """Where a certificate says something else than the one expected; types count: ``1`` is not ``true``."""
    if type(expected) is not type(found):
        yield f"{path}: expected {short(expected)}, found {short(found)}"
    elif isinstance(expected, dict):
        for key in sorted(expected.keys() | found.keys()):
            inner = f"{path}.{key}" if path else key
            if key not in found:
                yield f"{inner}: expected an entry, found none"
            elif key not in expected:
                yield f"{inner}: expected no such entry, found {short(found[key])}"
            else:
                yield from differences(expected[key], found[key], inner)
    elif isinstance(expected, list):
        if len(expected) != len(found):
            yield f"{path}: expected {len(expected)} entries, found {len(found)}"
        if expected != found or not same_types(expected, found):
            for index, (a, b) in enumerate(zip(expected, found, strict=False)):
                name = (a.get("name") or a.get("node")) if isinstance(a, dict) else None
                yield from differences(a, b, f"{path}[{index if name is None else repr(name)}]")
    elif expected != found:
        yield f"{path}: expected {short(expected)}, found {short(found)}"


def same_types(expected: list[Any], found: list[Any]) -> bool:
    """For lists that are equal: whether that is so of their types as well (``1 == True == 1.0``)."""
    plain = {int, str}
    return {type(entry) for entry in found} <= plain and {type(entry) for entry in expected} <= plain


def short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def load_certificate(data: bytes) -> Any:
    """Strict JSON: no key twice, no NaN, UTF-8."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        entries = dict(pairs)
        if len(entries) != len(pairs):
            raise Rejected("the certificate: a key is there twice")
        return entries

    def no_constant(text: str) -> Any:
        raise Rejected(f"the certificate: {text} is no number of JSON")

    try:
        return json.loads(data.decode(), object_pairs_hook=unique, parse_constant=no_constant)
    except (ValueError, RecursionError) as error:
        raise Rejected(f"the certificate: not JSON: {error}") from error


def stage_of(certificate: Any) -> str | None:
    return certificate.get("stage") if isinstance(certificate, dict) else None


def check(model: bytes, certificate: bytes) -> list[str]:
    """Why the certificate is not that of the model; empty if it is."""
    try:
        found = load_certificate(certificate)
        expected = expected_certificate(model, stage_of(found))
    except Rejected as rejected:
        return [str(rejected)]
    return list(itertools.islice(differences(expected, found), MOST_REASONS))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True, type=pathlib.Path)
    parser.add_argument("--certificate", required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    try:
        model, certificate = arguments.model.read_bytes(), arguments.certificate.read_bytes()
    except OSError as error:
        print(f"check_certificate.py: {error}", file=sys.stderr)
        return 1
    reasons = check(model, certificate)
    for reason in reasons:
        print(f"rejected: {reason}", file=sys.stderr)
    if reasons:
        return 1
    entries = load_certificate(certificate)
    bounds = sum(len(tensor["lows"]) for tensor in entries["tensors"])
    print(
        f"accepted: {arguments.certificate.name} is the certificate of {arguments.model.name}: "
        f"{len(entries['tensors'])} tensors, {2 * bounds} bounds, {len(entries['obligations'])} obligations"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
