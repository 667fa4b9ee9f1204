"""Changes a certificate or its model in one place, many times, and demands that each change is refused.

    python mutate_certificate.py --model M.onnx --certificate C.json [--mutations 1000] [--seed 1]

The original must be accepted by ``check_certificate.py``, and every mutation refused: of the certificate
(a bound tighter or looser by a little or a lot, a claim, a width, a digest, an entry dropped, doubled, renamed or
moved, ...), and of the model (one weight, one bias, one multiplier, one divisor, one clip bound, one zero
point, one attribute, ...).

A changed model is refused for its digests alone. Whether the bounds notice as well is asked by a second,
stronger test: the certificate's digests are forged, so that they are those of the changed model. Its
column ``forged`` counts how many of these are refused too; what is accepted there is a change on which no
bound depends. For weights, biases, offsets and multipliers every one must be refused, as each
product or sum has its own part in some bound, unless the operand it multiplies is constantly 0.

Prints a table of counts by kind; exits with 1 if a mutation that must be refused is accepted.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import pathlib
import random
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

import check_certificate as checker

Certificate = dict[str, Any]

# What the bounds themselves must notice.
NOTICED = {"weight", "added constant", "multiplier"}


class NotApplicable(Exception):
    """There is nothing of this kind to change here."""


def choose(random_: random.Random, entries: list[Any]) -> Any:
    if not entries:
        raise NotApplicable
    return random_.choice(entries)


def little_or_lot(random_: random.Random) -> int:
    return random_.choice([1, 1, 2, random_.randrange(1, 1000), random_.randrange(1, 1 << 24)])


# Mutations of the certificate.


def tighten(certificate: Certificate, random_: random.Random) -> None:
    tensor = choose(random_, certificate["tensors"])
    channel = random_.randrange(len(tensor["lows"]))
    side, sign = random_.choice([("lows", 1), ("highs", -1)])
    tensor[side][channel] += sign * little_or_lot(random_)


def loosen(certificate: Certificate, random_: random.Random) -> None:
    tensor = choose(random_, certificate["tensors"])
    channel = random_.randrange(len(tensor["lows"]))
    side, sign = random_.choice([("lows", -1), ("highs", 1)])
    tensor[side][channel] += sign * little_or_lot(random_)


def tighten_layer(certificate: Certificate, random_: random.Random) -> None:
    layer = choose(random_, certificate["layers"])
    entry = random_.choice([layer, random_.choice(layer["channels"])])
    side, sign = random_.choice([("low", 1), ("high", -1)])
    entry[side] += sign * little_or_lot(random_)


def change_width(certificate: Certificate, random_: random.Random) -> None:
    layer = choose(random_, certificate["layers"])
    entry = random_.choice([layer, random_.choice(layer["channels"])])
    what = random_.choice(["bits", "headroom", "fits"])
    if what == "fits":
        entry["fits"] = entry["fits"][1:] if random_.random() < 0.5 and entry["fits"] else ["int16", *entry["fits"]]
    else:
        entry[what] += random_.choice([-1, 1])


def false_claim(certificate: Certificate, random_: random.Random) -> None:
    if random_.random() < 0.5:
        entry = random_.choice(choose(random_, certificate["layers"])["channels"])
        key = random_.choice(["low_attained", "high_attained"])
        entry[key] = other_claim(random_, entry[key])
        return
    tensor = choose(random_, certificate["tensors"])
    side = random_.choice(["lows", "highs"])
    names = [name for count, name in tensor["attained"][side] for _ in range(count)]
    channel = random_.randrange(len(names))
    names[channel] = other_claim(random_, names[channel])
    tensor["attained"][side] = checker.runs(names)


def other_claim(random_: random.Random, claim: str) -> str:
    claims = ["network", "layer", "no: no-such-window", "no: operand-not-attained"]
    return random_.choice([other for other in claims if other != claim])


def change_digest(certificate: Certificate, random_: random.Random) -> None:
    entry = random_.choice([certificate["model"], *certificate["constants"]])
    position = random_.randrange(64)
    digit = random_.choice([digit for digit in "0123456789abcdef" if digit != entry["sha256"][position]])
    entry["sha256"] = entry["sha256"][:position] + digit + entry["sha256"][position + 1 :]


def change_obligation(certificate: Certificate, random_: random.Random) -> None:
    obligation = choose(random_, certificate["obligations"])
    what = random_.choice(["low", "high", "least", "greatest"])
    obligation[what] += random_.choice([-1, 1]) * little_or_lot(random_)


def change_input(certificate: Certificate, random_: random.Random) -> None:
    entry = choose(random_, certificate["inputs"])
    what = random_.choice(["low", "high", "dtype", "shape"])
    if what == "dtype":
        entry["dtype"] = "i8"
    elif what == "shape":
        axis = random_.randrange(len(entry["shape"]))
        entry["shape"][axis] = 1 if isinstance(entry["shape"][axis], str) else entry["shape"][axis] + 1
    else:
        entry[what] += 1 if what == "low" else -1


def change_type(certificate: Certificate, random_: random.Random) -> None:
    """A number by one that JSON writes in another way: ``1`` by ``1.0`` or ``true``."""
    tensor = choose(random_, certificate["tensors"])
    channel = random_.randrange(len(tensor["lows"]))
    side = random_.choice(["lows", "highs"])
    tensor[side][channel] = random_.choice([float, str])(tensor[side][channel])


def lists(certificate: Certificate) -> list[list[Any]]:
    return [certificate[name] for name in ("inputs", "constants", "tensors", "layers", "obligations")]


def drop_entry(certificate: Certificate, random_: random.Random) -> None:
    entries = choose(random_, [entries for entries in lists(certificate) if entries])
    entries.pop(random_.randrange(len(entries)))


def double_entry(certificate: Certificate, random_: random.Random) -> None:
    entries = choose(random_, [entries for entries in lists(certificate) if entries])
    entries.append(copy.deepcopy(random_.choice(entries)))


def reorder_entries(certificate: Certificate, random_: random.Random) -> None:
    entries = choose(random_, [entries for entries in lists(certificate) if len(entries) > 1])
    first, second = random_.sample(range(len(entries)), 2)
    entries[first], entries[second] = entries[second], entries[first]


def swap_channels(certificate: Certificate, random_: random.Random) -> None:
    candidates = [
        values
        for tensor in certificate["tensors"]
        for values in (tensor["lows"], tensor["highs"])
        if len(set(values)) > 1
    ]
    values = choose(random_, candidates)
    first = random_.randrange(len(values))
    second = random_.choice([index for index, value in enumerate(values) if value != values[first]])
    values[first], values[second] = values[second], values[first]


def rename(certificate: Certificate, random_: random.Random) -> None:
    entries = choose(random_, [entries for entries in lists(certificate) if entries])
    entry = random_.choice(entries)
    key = random_.choice([key for key in entry if isinstance(entry[key], str)])
    entry[key] += "_"


def drop_key(certificate: Certificate, random_: random.Random) -> None:
    entries = choose(random_, [entries for entries in lists(certificate) if entries])
    entry = random_.choice([certificate, certificate["model"], random_.choice(entries)])
    entry.pop(random_.choice(list(entry)))


def change_head(certificate: Certificate, random_: random.Random) -> None:
    what = random_.choice(["schema", "stage", "bytes", "extra"])
    if what == "schema":
        certificate["schema"] = "onnx2int-certificate/2"
    elif what == "stage":
        certificate["stage"] = next(stage for stage in checker.STAGES if stage != certificate["stage"])
    elif what == "bytes":
        certificate["model"]["bytes"] += random_.choice([-1, 1])
    else:
        certificate["trusted"] = True


CERTIFICATE_KINDS: dict[str, Callable[[Certificate, random.Random], None]] = {
    "bound tighter": tighten,
    "bound looser": loosen,
    "layer's bound tighter": tighten_layer,
    "width": change_width,
    "claim of attainment": false_claim,
    "digest": change_digest,
    "obligation": change_obligation,
    "input": change_input,
    "type of a number": change_type,
    "entry dropped": drop_entry,
    "entry doubled": double_entry,
    "entries reordered": reorder_entries,
    "channels swapped": swap_channels,
    "entry renamed": rename,
    "key dropped": drop_key,
    "schema, stage, size, new key": change_head,
}

# Mutations of the model.

# Which operands of which operators make a kind.
CONSTANT_KINDS: dict[str, set[tuple[str, int]]] = {
    "weight": {("ConvInteger", 1), ("MatMulInteger", 1)},
    "zero point": {("ConvInteger", 2), ("ConvInteger", 3), ("MatMulInteger", 2), ("MatMulInteger", 3)},
    "added constant": {("Add", 0), ("Add", 1), ("Sub", 0), ("Sub", 1)},
    "multiplier": {("Mul", 0), ("Mul", 1)},
    "divisor": {("Div", 1)},
    "clip bound": {("Min", 0), ("Min", 1), ("Max", 0), ("Max", 1), ("Clip", 1), ("Clip", 2)},
    "quantizer": {("QuantizeLinear", 1), ("QuantizeLinear", 2)},
}


def change_constant(model: onnx.ModelProto, random_: random.Random, kind: str) -> None:
    """One element of one constant."""
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    names = sorted({
        name
        for node in model.graph.node
        for slot, name in enumerate(node.input)
        if (node.op_type, slot) in CONSTANT_KINDS[kind] and name in initializers
    })
    tensor = initializers[choose(random_, names)]
    array = numpy_helper.to_array(tensor).copy()
    element = random_.randrange(array.size)
    old = array.reshape(-1)[element]
    if array.dtype.kind == "f":
        new = np.nextafter(old, np.float32(np.inf))
    else:
        limits = np.iinfo(array.dtype)
        new = old
        while new == old:
            step = random_.choice([-1, 1]) * little_or_lot(random_)
            new = min(max(int(old) + step, limits.min), limits.max)
    array.reshape(-1)[element] = new
    changed = numpy_helper.from_array(array, tensor.name)
    tensor.CopyFrom(changed)


def change_attribute(model: onnx.ModelProto, random_: random.Random, _kind: str) -> None:
    """Padding moved from one side to the other, or a stride, a dilation, an extent, an axis."""
    candidates = [
        attribute
        for node in model.graph.node
        for attribute in node.attribute
        if attribute.name in ("pads", "strides", "dilations", "kernel_shape", "axis", "group")
    ]
    attribute = choose(random_, candidates)
    if attribute.type == onnx.AttributeProto.INT:
        attribute.i += 1
    elif attribute.name == "pads" and any(attribute.ints):
        padded = [index for index, pad in enumerate(attribute.ints) if pad > 0]
        index = random_.choice(padded)
        attribute.ints[index] -= 1
        attribute.ints[(index + len(attribute.ints) // 2) % len(attribute.ints)] += 1
    else:
        attribute.ints[random_.randrange(len(attribute.ints))] += 1


def swap_operands(model: onnx.ModelProto, random_: random.Random, _kind: str) -> None:
    """Two constants of one type and shape change places."""
    groups: dict[tuple[Any, ...], list[onnx.TensorProto]] = {}
    for tensor in model.graph.initializer:
        groups.setdefault((tensor.data_type, *tensor.dims), []).append(tensor)
    pairs = [
        (first, second)
        for group in groups.values()
        for index, first in enumerate(group)
        for second in group[index + 1 :]
        if not np.array_equal(numpy_helper.to_array(first), numpy_helper.to_array(second))
    ]
    first, second = choose(random_, pairs)
    first.name, second.name = second.name, first.name


def change_operator(model: onnx.ModelProto, random_: random.Random, _kind: str) -> None:
    """Min becomes Max, Add becomes Sub, Mul becomes Add, Div becomes Mul."""
    others = {"Min": "Max", "Max": "Min", "Add": "Sub", "Sub": "Add", "Mul": "Add", "Div": "Mul", "Relu": "Identity"}
    node = choose(random_, [node for node in model.graph.node if node.op_type in others])
    node.op_type = others[node.op_type]


MODEL_KINDS: dict[str, Callable[[onnx.ModelProto, random.Random, str], None]] = {
    **dict.fromkeys(CONSTANT_KINDS, change_constant),
    "attribute": change_attribute,
    "constants swapped": swap_operands,
    "operator": change_operator,
}


class Trial:
    """A model, its certificate, and what was found of their mutations."""

    def __init__(self, model: bytes, certificate: bytes) -> None:
        self.model = model
        self.proto = onnx.ModelProto.FromString(model)
        self.certificate = checker.load_certificate(certificate)
        # Computed from the bytes of the file alone; nothing that a mutation of the certificate changes.
        self.expected = checker.expected_certificate(model, checker.stage_of(self.certificate))
        # For each kind: tried, refused, refused in spite of forged digests (models only).
        self.counts: dict[str, list[int]] = {}
        self.failures: list[str] = []

    def mutate_certificate(self, kind: str, random_: random.Random) -> None:
        mutated = copy.deepcopy(self.certificate)
        CERTIFICATE_KINDS[kind](mutated, random_)
        read = checker.load_certificate(json.dumps(mutated).encode())
        refused = next(checker.differences(self.expected, read), None) is not None
        self._count(f"certificate: {kind}", refused)

    def mutate_model(self, kind: str, random_: random.Random) -> None:
        proto = onnx.ModelProto()
        proto.CopyFrom(self.proto)
        MODEL_KINDS[kind](proto, random_, kind)
        data = proto.SerializeToString()
        try:
            expected = checker.expected_certificate(data, checker.stage_of(self.certificate))
        except checker.Rejected:
            self._count(f"model: {kind}", refused=True, refused_forged=True)
            return
        refused = next(checker.differences(expected, self.certificate), None) is not None
        forged = dict(self.certificate)
        forged["model"] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        forged["constants"] = expected["constants"]
        refused_forged = next(checker.differences(expected, forged), None) is not None
        self._count(f"model: {kind}", refused, refused_forged)
        if kind in NOTICED and not refused_forged:
            self.failures.append(f"model: {kind}: accepted with forged digests; no bound noticed")

    def _count(self, kind: str, refused: bool, refused_forged: bool | None = None) -> None:
        counts = self.counts.setdefault(kind, [0, 0, 0])
        counts[0] += 1
        counts[1] += refused
        counts[2] += bool(refused_forged)
        if not refused:
            self.failures.append(f"{kind}: mutation {counts[0]} of this kind was accepted")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True, type=pathlib.Path)
    parser.add_argument("--certificate", required=True, type=pathlib.Path)
    parser.add_argument("--mutations", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    try:
        model, certificate = arguments.model.read_bytes(), arguments.certificate.read_bytes()
    except OSError as error:
        print(f"mutate_certificate.py: {error}", file=sys.stderr)
        return 1
    for reason in checker.check(model, certificate):
        print(f"mutate_certificate.py: the original is rejected: {reason}", file=sys.stderr)
        return 1

    trial = Trial(model, certificate)
    random_ = random.Random(arguments.seed)
    kinds = [(trial.mutate_certificate, kind) for kind in CERTIFICATE_KINDS]
    kinds += [(trial.mutate_model, kind) for kind in MODEL_KINDS]
    done = 0
    while done < arguments.mutations:
        if not kinds:
            print("mutate_certificate.py: there is nothing to mutate", file=sys.stderr)
            return 1
        for mutate, kind in list(kinds):
            try:
                mutate(kind, random_)
            except NotApplicable:
                kinds.remove((mutate, kind))
                continue
            done += 1
            if done == arguments.mutations:
                break

    print(f"{'mutation':<44} {'tried':>6} {'refused':>8} {'forged':>7}")
    for kind, (tried, refused, forged) in sorted(trial.counts.items()):
        print(f"{kind:<44} {tried:>6} {refused:>8} {forged if kind.startswith('model') else '-':>7}")
    refused = sum(counts[1] for counts in trial.counts.values())
    print(f"the original is accepted; {refused} of {done} mutations are refused")
    for failure in trial.failures:
        print(f"mutate_certificate.py: {failure}", file=sys.stderr)
    return 1 if trial.failures else 0


if __name__ == "__main__":
    sys.exit(main())
