"""Makes the files of data/networks: small networks of all kinds, as others would bring them.

    python make_networks.py --data-dir data/mnist --output data/networks [--only NAME ...] [--threads N]

Runs on what ``scripts/setup_venv.sh --networks`` installs. For each row of networks.py:

- trains it with PyTorch on the first 55 000 training images, by a fixed seed;
- exports ``NAME.onnx`` with the exporter of the row: a batch called N, no external data, and the preprocessing
  as metadata (``onnx2int.mean``, ``onnx2int.std``), as our own training writes it;
- makes its twins ``NAME.SUFFIX.onnx`` with ONNX Runtime's static quantizer, calibrated on the images that
  ``onnx2int quantize`` takes: of 55 000 every 55th;
- checks every file with the ONNX checker and in ONNX Runtime, against PyTorch's own logits.

Then it writes ``README.md``, of all networks whether trained now or before: each number in it is measured
on the files as they are. Test images are scored, and never trained on or calibrated with.

With the same threads on the same processor a second run writes the same bytes. Exit status: 0 done, 1 failed,
2 bad usage.
"""

from __future__ import annotations

import argparse
import copy
import logging
import math
import pathlib
import random
import sys
import tempfile
import warnings

import numpy as np
import onnx
import onnxruntime
import onnxscript
import torch
from onnxruntime.quantization import CalibrationDataReader, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn
from torch.nn import functional

from mnist_images import TestImages, Unusable, model_input, read_idx, read_test_images
from networks import NETWORKS, Network, Twin
from score_onnx import classes, raw_outputs, score
from trace_onnx import write_whole

SEED = 1
BATCH = 128
# As crates/training: these leave no pixel between two steps of the input's quantizer.
MEAN, STD = np.float32(33 / 255), np.float32(0.3081)
# The training part and the calibration images of crates/dataset.
TRAINING_IMAGES, CALIBRATION_IMAGES = 55_000, 1_000
INPUT, OUTPUT, BATCH_AXIS = "image", "logits", "N"
OLDER_OPSET = 17
LARGEST = 150_000
# ONNX Runtime against PyTorch, in parts of the largest logit.
LOGITS_AGREE = 1e-4
# Does not depend on whether the processor saturates 8-bit products.
QDQ_RUNTIME = "onnxruntime-precise"


class Training:
    """The training part in memory, normalized."""

    def __init__(self, folder: pathlib.Path) -> None:
        pixels = read_idx(folder, "train-images-idx3-ubyte", 3)[:TRAINING_IMAGES, None]
        labels = read_idx(folder, "train-labels-idx1-ubyte", 1)[:TRAINING_IMAGES]
        if len(pixels) != TRAINING_IMAGES or len(labels) != TRAINING_IMAGES:
            raise Unusable(f"{folder} has {len(pixels)} training images and {len(labels)} labels; "
                           f"expected at least {TRAINING_IMAGES}")
        self.pixels = pixels
        self.images = torch.from_numpy(normalized(pixels))
        self.labels = torch.from_numpy(labels.astype(np.int64))

    def calibration(self) -> np.ndarray:
        rows = np.arange(CALIBRATION_IMAGES) * TRAINING_IMAGES // CALIBRATION_IMAGES
        return normalized(self.pixels[rows])


def normalized(pixels: np.ndarray) -> np.ndarray:
    return (pixels.astype(np.float32) / np.float32(255) - MEAN) / STD


def train(network: Network, data: Training) -> nn.Module:
    random.seed(SEED)
    np.random.seed(SEED)
    torch.manual_seed(SEED)
    net = network.make()
    steps = -(-TRAINING_IMAGES // BATCH)
    optimizer = torch.optim.AdamW(net.parameters(), lr=network.rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, network.rate, epochs=network.epochs, steps_per_epoch=steps
    )
    for epoch in range(1, network.epochs + 1):
        net.train()
        total = 0.0
        for rows in torch.randperm(TRAINING_IMAGES).split(BATCH):
            optimizer.zero_grad()
            loss = functional.cross_entropy(net(data.images[rows]), data.labels[rows])
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) * len(rows)
        say(f"{network.name}: epoch {epoch}/{network.epochs}, loss {total / TRAINING_IMAGES:.4f}")
    return net.eval()


def export(network: Network, net: nn.Module, images: torch.Tensor, file: pathlib.Path) -> None:
    names = {"input_names": [INPUT], "output_names": [OUTPUT]}
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        # That one exporter is older than the other is known.
        warnings.simplefilter("ignore")
        exported = str(pathlib.Path(folder) / "exported.onnx")
        if network.dynamo:
            shapes = ({0: torch.export.Dim(BATCH_AXIS)},)
            program = torch.onnx.export(net, (images,), dynamo=True, dynamic_shapes=shapes, verbose=False, **names)
            program.save(exported, external_data=False)
        else:
            axes = {INPUT: {0: BATCH_AXIS}, OUTPUT: {0: BATCH_AXIS}}
            torch.onnx.export(net, (images,), exported, dynamo=False, opset_version=OLDER_OPSET, dynamic_axes=axes,
                              **names, **network.export)
        model = onnx.load(exported)
    for node in model.graph.node:
        # The newer exporter notes for each node where in the source it comes from, with the paths of this machine.
        kept = [entry for entry in node.metadata_props if not entry.key.endswith("stack_trace")]
        kept = [copy.deepcopy(entry) for entry in kept]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    save(model, file)


def save(model: onnx.ModelProto, file: pathlib.Path) -> None:
    """With the preprocessing among the metadata, in decimals that give the same float32 again."""
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, metadata | {"onnx2int.mean": str(MEAN), "onnx2int.std": str(STD)})
    write_whole(file, model.SerializeToString(deterministic=True))


class Reader(CalibrationDataReader):
    """The calibration images, a hundred at a time."""

    def __init__(self, images: np.ndarray) -> None:
        self.batches = iter(np.split(images, len(images) // 100))

    def get_next(self) -> dict[str, np.ndarray] | None:
        images = next(self.batches, None)
        return None if images is None else {INPUT: images}


def make_twin(float_file: pathlib.Path, twin: Twin, images: np.ndarray, file: pathlib.Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, quantized = float_file, pathlib.Path(folder) / "quantized.onnx"
        if twin.prepared:
            source = pathlib.Path(folder) / "prepared.onnx"
            quant_pre_process(str(float_file), str(source))
        quantize_static(
            str(source),
            str(quantized),
            Reader(images),
            quant_format=twin.format,
            per_channel=twin.per_channel,
            activation_type=twin.activations,
            weight_type=twin.weights,
            calibrate_method=twin.method,
            extra_options={"ActivationSymmetric": twin.symmetric},
        )
        # Neither the preparation nor the quantizer promises to keep metadata.
        save(onnx.load(quantized), file)


def check(file: pathlib.Path) -> onnx.ModelProto:
    """What must hold for every file."""
    model = onnx.load(file, load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    for value in (*model.graph.input, *model.graph.output):
        batch = value.type.tensor_type.shape.dim[0]
        if batch.dim_param != BATCH_AXIS:
            found = batch.dim_param or batch.dim_value
            raise Unusable(f"{file}: the first axis of {value.name!r} is {found!r}, expected {BATCH_AXIS!r}")
    found = [value.name for value in (*model.graph.input, *model.graph.output)]
    if found != [INPUT, OUTPUT]:
        raise Unusable(f"{file}: inputs and outputs are {found}, expected {[INPUT, OUTPUT]}")
    external = [tensor.name for tensor in model.graph.initializer if tensor.data_location == onnx.TensorProto.EXTERNAL]
    if external:
        raise Unusable(f"{file}: {external} are in other files")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if (metadata.get("onnx2int.mean"), metadata.get("onnx2int.std")) != (str(MEAN), str(STD)):
        raise Unusable(f"{file}: its metadata lacks the preprocessing; found {metadata}")
    return model


def check_float(file: pathlib.Path, net: nn.Module, pixels: np.ndarray, threads: int) -> None:
    model = check(file)
    outputs = raw_outputs(model, "onnxruntime", pixels, threads)
    with torch.no_grad():
        expected = net(torch.from_numpy(model_input(model, pixels))).numpy()
    difference = float(np.abs(outputs - expected).max() / np.abs(expected).max())
    if difference > LOGITS_AGREE or (classes(outputs) != classes(expected)).any():
        raise Unusable(f"{file}: ONNX Runtime and PyTorch differ by {difference:.1e} of the largest logit")
    if file.stat().st_size > LARGEST:
        raise Unusable(f"{file} has {file.stat().st_size} bytes; expected at most {LARGEST}")


def make(network: Network, folder: pathlib.Path, data: Training, test: TestImages, threads: int) -> None:
    net = train(network, data)
    file = folder / f"{network.name}.onnx"
    # Two images: of one alone the newer exporter would conclude that there is always one.
    export(network, net, data.images[:2], file)
    check_float(file, net, test.pixels[:1000], threads)
    for twin in network.twins:
        made = folder / f"{network.name}.{twin.suffix}.onnx"
        make_twin(file, twin, data.calibration(), made)
        check(made)
        say(f"{made.name}: {twin.settings()}")


def readme(folder: pathlib.Path, test: TestImages, threads: int) -> tuple[str, list[str]]:
    """The text, and what is worse than wanted."""
    networks, twins, failures = [], [], []
    for network in NETWORKS:
        file = folder / f"{network.name}.onnx"
        model = check(file)
        floats = [tensor for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT]
        constants = sum(math.prod(tensor.dims) for tensor in floats)
        found = score(file, "onnxruntime", test, threads)
        if found["correct"] < network.wanted * found["images"]:
            failures.append(f"{file.name} gets {found['correct']} of {found['images']} images right; "
                            f"wanted are {network.wanted:.0%}")
        operators = sorted({node.op_type for node in model.graph.node})
        exporter = "dynamo" if network.dynamo else "TorchScript"
        networks.append([f"`{file.name}`", first_sentence(network.make), exporter, opset(model), constants,
                         size(file), accuracy(found), ", ".join(operators)])
        for twin in network.twins:
            file = folder / f"{network.name}.{twin.suffix}.onnx"
            found = score(file, QDQ_RUNTIME, test, threads)
            twins.append([f"`{file.name}`", twin.settings(), opset(check(file)), size(file), accuracy(found)])
    text = README.format(
        seed=SEED,
        training=f"{TRAINING_IMAGES:,}".replace(",", " "),
        mean=str(MEAN),
        std=str(STD),
        networks=table(NETWORK_COLUMNS, networks),
        twins=table(TWIN_COLUMNS, twins),
        pytorch=torch.__version__.split("+")[0],
        onnxscript=onnxscript.__version__,
        onnx=onnx.__version__,
        onnxruntime=onnxruntime.__version__,
    )
    return text, failures


NETWORK_COLUMNS = ["file", "network", "exporter", "opset", "float constants", "bytes", "accuracy", "operators"]
TWIN_COLUMNS = ["file", "settings", "opset", "bytes", "accuracy"]
README = """\
# Networks as others bring them

Small networks for MNIST with what our own do not have, trained and exported by PyTorch {pytorch}, and what ONNX Runtime {onnxruntime} makes of them with its static quantizer.
`cargo xtask networks` takes every one of them to integers and compares.

All files are made by `scripts/make_networks.py` from the rows of `scripts/networks.py`, with seed {seed}, on the first {training} training images; so is this text.
They take `[N,1,28,28]`, normalized by `(x / 255 - {mean}) / {std}`, and say so in their metadata (`onnx2int.mean`, `onnx2int.std`).
Versions: PyTorch {pytorch}, onnxscript {onnxscript}, onnx {onnx}, ONNX Runtime {onnxruntime}.

## Float

The accuracy is that of the 10 000 test images in ONNX Runtime.

{networks}

## Twins

Each float file, quantized by ONNX Runtime's `quantize_static`, calibrated on 1000 training images, the ones that `onnx2int quantize` takes.
`.ort.onnx` has the settings of `onnx2int quantize --per-axis --logits per-channel --placement onnxruntime`.
"not prepared" leaves out `quant_pre_process`, which folds batch normalization.
The accuracy is that in ONNX Runtime with exact 8-bit products (`session.x64quantprecision`).

{twins}
"""


def first_sentence(function: object) -> str:
    return (function.__doc__ or "").split(".\n")[0].strip().rstrip(".")


def opset(model: onnx.ModelProto) -> str:
    """The operator sets that nodes are of; the quantizer imports some more."""
    used = {node.domain for node in model.graph.node}
    sets = sorted((entry.domain, entry.version) for entry in model.opset_import if entry.domain in used)
    return ", ".join(f"{domain} {version}".strip() for domain, version in sets)


def size(file: pathlib.Path) -> int:
    return file.stat().st_size


def accuracy(found: dict[str, object]) -> str:
    return f"{100 * found['correct'] / found['images']:.2f} %"


def table(head: list[str], rows: list[list[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def run(arguments: argparse.Namespace) -> list[str]:
    torch.set_num_threads(arguments.threads)
    torch.use_deterministic_algorithms(True)
    # The quantizer recommends its preparation to whoever leaves it out.
    logging.getLogger().setLevel(logging.ERROR)
    # And the newer exporter tells of operators of torchvision, which is not there.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    arguments.output.mkdir(parents=True, exist_ok=True)
    test = read_test_images(arguments.data_dir)
    data = Training(arguments.data_dir)
    for network in NETWORKS:
        if arguments.only is None or network.name in arguments.only:
            make(network, arguments.output, data, test, arguments.threads)
    text, failures = readme(arguments.output, test, arguments.threads)
    write_whole(arguments.output / "README.md", text.encode())
    return failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=pathlib.Path, required=True)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--only", nargs="*", choices=[network.name for network in NETWORKS], default=None,
                        help="train these only; without names none, which writes README.md anew")
    parser.add_argument("--threads", type=int, default=2, help="decides the order of sums, and so the weights")
    arguments = parser.parse_args()
    try:
        failures = run(arguments)
    except (Unusable, OSError) as error:
        failures = [str(error)]
    for failure in failures:
        say(f"make_networks.py: {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
