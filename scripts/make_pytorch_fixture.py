# /// script
# requires-python = ">=3.10"
# dependencies = ["torch==2.15.0", "onnx==1.23.2", "numpy>=2"]
# ///
"""Makes the PyTorch-exported fixture of the crates onnx-format and transforms.

A small CNN with seeded random weights, exported by PyTorch's TorchScript exporter the way people
export: a symbolic batch, ``x.view(x.size(0), -1)`` (which becomes Shape, Constant, Gather,
Unsqueeze, Concat and Reshape), a cast that does nothing, and a log_softmax at the end.

Writes, to the folder given:

- ``pytorch_small.onnx``           the model, opset 17;
- ``pytorch_small.expected.json``  inputs, as integers k that stand for k / 64, and the outputs
                                   that PyTorch itself computes for them.

The files are committed: nothing but this script needs PyTorch.
"""

import argparse
import json
import pathlib
import warnings

import torch
from torch import nn
from torch.nn import functional

IMAGES = 4
EXTENT = 8
# Inputs are multiples of this, so that they are exact in JSON and in float32.
INPUT_UNIT = 1 / 64


class SmallNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 6, 3, stride=2)
        self.dropout = nn.Dropout(0.25)
        self.fc1 = nn.Linear(6, 16)
        self.fc2 = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.conv1(x))
        x = functional.max_pool2d(x, 2)
        x = functional.relu(self.conv2(x))
        x = self.dropout(x)
        x = x.view(x.size(0), -1)
        x = x.to(torch.float32)  # what mixed precision code leaves behind: a Cast from float to float
        x = functional.relu(self.fc1(x))
        return functional.log_softmax(self.fc2(x), dim=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, help="where the two files go")
    folder = parser.parse_args().folder

    torch.manual_seed(2026)
    net = SmallNet().eval()
    units = torch.randint(-64, 256, (IMAGES, 1, EXTENT, EXTENT))
    images = units.to(torch.float32) * INPUT_UNIT
    with torch.no_grad():
        outputs = net(images)

    model_file = folder / "pytorch_small.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            net,
            (images,),
            str(model_file),
            dynamo=False,
            opset_version=17,
            do_constant_folding=False,
            input_names=["image"],
            output_names=["log_probabilities"],
            dynamic_axes={"image": {0: "batch"}, "log_probabilities": {0: "batch"}},
        )
    expected = {
        "made_by": f"PyTorch {torch.__version__.split('+')[0]}",
        "input_unit": INPUT_UNIT,
        "input_shape": list(units.shape),
        "input": units.flatten().tolist(),
        "output_shape": list(outputs.shape),
        "output": outputs.flatten().tolist(),
    }
    (folder / "pytorch_small.expected.json").write_text(json.dumps(expected) + "\n")


if __name__ == "__main__":
    main()
