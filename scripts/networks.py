"""The small networks of data/networks: what they are made of, and how each is trained, exported and quantized.

One row of ``NETWORKS`` a network; make_networks.py does the work. Every network takes ``[N,1,28,28]``, normalized,
and gives ``[N,10]`` logits. Together they have what CNNs of others have and our own do not: average pooling, batch
normalization, residual sums, strides, depthwise and grouped convolutions, dilations, branches, MatMul, and
activations other than ReLU.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType
from torch import nn


def lenet5() -> nn.Module:
    """LeCun's LeNet-5 with ReLU, and with linear layers of 64 and 32 in place of 120 and 84."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(16 * 5 * 5, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10),
    )  # fmt: skip


class Residual(nn.Module):
    """Two convolutions with batch normalization beside a shortcut, which is a convolution where the extents change."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


def resnet8() -> nn.Module:
    """The residual network of MLPerf Tiny at half its width: 8, 16 and 32 channels."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        Residual(8, 8, 1), Residual(8, 16, 2), Residual(16, 32, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip


def normalized(convolution: nn.Conv2d) -> list[nn.Module]:
    return [convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU6()]


def separable(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    depthwise = nn.Conv2d(inputs, inputs, 3, stride, padding=1, groups=inputs, bias=False)
    return [*normalized(depthwise), *normalized(nn.Conv2d(inputs, outputs, 1, bias=False))]


def dwsep() -> nn.Module:
    """MobileNet in small: depthwise-separable convolutions with batch normalization and ReLU6."""
    return nn.Sequential(
        *normalized(nn.Conv2d(1, 16, 3, 2, padding=1, bias=False)),
        *separable(16, 32, 1), *separable(32, 64, 2), *separable(64, 64, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


class Branches(nn.Module):
    """Four ways from 8 channels to 32: 1x1, grouped 3x3, dilated 3x3, and pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.point = nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU())
        self.grouped = nn.Sequential(
            nn.Conv2d(8, 8, 1), nn.ReLU(), nn.Conv2d(8, 12, 3, padding=1, groups=4), nn.ReLU()
        )
        self.dilated = nn.Sequential(
            nn.Conv2d(8, 4, 1), nn.ReLU(), nn.Conv2d(4, 8, 3, padding=2, dilation=2), nn.ReLU()
        )
        self.pooled = nn.Sequential(nn.MaxPool2d(3, 1, padding=1), nn.Conv2d(8, 4, 1), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.point(x), self.grouped(x), self.dilated(x), self.pooled(x)], dim=1)


def inception() -> nn.Module:
    """A block of branches as GoogLeNet has them, between plain convolutions."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        Branches(), nn.MaxPool2d(2),
        nn.Conv2d(32, 32, 3, padding=1, groups=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 3 * 3, 10),
    )  # fmt: skip


class Product(nn.Module):
    """A linear layer written as a product and a sum, which is exported as MatMul and Add, not as Gemm."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        linear = nn.Linear(inputs, outputs)
        self.weight = nn.Parameter(linear.weight.detach().t().contiguous())
        self.bias = nn.Parameter(linear.bias.detach())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.matmul(x, self.weight) + self.bias


def mlp() -> nn.Module:
    """No convolution at all; the layer in the middle is a MatMul and an Add."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(28 * 28, 40), nn.ReLU(), Product(40, 32), nn.ReLU(), nn.Linear(32, 10)
    )


def mixed() -> nn.Module:
    """Another activation in each layer: Hardswish, LeakyReLU, PReLU with a slope a channel, and Sigmoid."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, 2, padding=1), nn.Hardswish(),
        nn.Conv2d(8, 16, 3, padding=1), nn.LeakyReLU(0.1), nn.MaxPool2d(2),
        nn.Conv2d(16, 24, 3, 2, padding=1), nn.PReLU(24),
        nn.Flatten(), nn.Linear(24 * 4 * 4, 32), nn.Sigmoid(), nn.Linear(32, 10),
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Twin:
    """How ONNX Runtime's static quantizer makes a file of a network. The first twin of each has the settings that
    ours has with ``--per-axis``, so that the two can be compared."""

    # The file is NETWORK.SUFFIX.onnx.
    suffix: str
    activations: QuantType = QuantType.QUInt8
    weights: QuantType = QuantType.QInt8
    per_channel: bool = True
    symmetric: bool = False
    method: CalibrationMethod = CalibrationMethod.MinMax
    format: QuantFormat = QuantFormat.QDQ
    # Whether its own preparation runs first, as its manual asks: shapes inferred, constants and batch
    # normalization folded. Without it a QDQ file has normalizations of their own.
    prepared: bool = True

    def settings(self) -> str:
        """For the table."""
        words = {QuantType.QUInt8: "u8", QuantType.QInt8: "i8"}
        methods = {CalibrationMethod.MinMax: "min-max", CalibrationMethod.Percentile: "percentile"}
        return ", ".join([
            self.format.name,
            f"activations {words[self.activations]}{' symmetric' if self.symmetric else ''}",
            f"weights {words[self.weights]} {'per channel' if self.per_channel else 'per tensor'}",
            methods[self.method],
            *([] if self.prepared else ["not prepared"]),
        ])  # fmt: skip


COMPARABLE = Twin("ort")


@dataclasses.dataclass(frozen=True)
class Network:
    name: str
    make: Callable[[], nn.Module]
    epochs: int
    # The peak of the learning rate.
    rate: float
    # The part of the test images that it must get right.
    wanted: float
    # PyTorch's newer exporter with its default operator set, or the older one with set 17.
    dynamo: bool
    # Arguments of the exporter besides those that every network has.
    export: dict[str, Any] = dataclasses.field(default_factory=dict)
    twins: tuple[Twin, ...] = (COMPARABLE,)


# Leaves batch normalization in the graph, which the older exporter folds into convolutions by default.
UNFOLDED = {"do_constant_folding": False, "training": torch.onnx.TrainingMode.PRESERVE}

NETWORKS = (
    Network("lenet5", lenet5, epochs=5, rate=4e-3, wanted=0.98, dynamo=False,
            twins=(COMPARABLE, Twin("ort-i8", activations=QuantType.QInt8, symmetric=True))),
    Network("resnet8", resnet8, epochs=4, rate=8e-3, wanted=0.98, dynamo=False, export=UNFOLDED,
            twins=(COMPARABLE, Twin("ort-percentile", per_channel=False, method=CalibrationMethod.Percentile,
                                    prepared=False))),
    Network("dwsep", dwsep, epochs=5, rate=8e-3, wanted=0.98, dynamo=True),
    Network("inception", inception, epochs=4, rate=5e-3, wanted=0.98, dynamo=True,
            twins=(COMPARABLE, Twin("ort-u8", weights=QuantType.QUInt8, per_channel=False))),
    Network("mlp", mlp, epochs=12, rate=3e-3, wanted=0.97, dynamo=False,
            # Prepared, MatMul and Add would be one Gemm.
            twins=(COMPARABLE, Twin("ort-qoperator", per_channel=False, format=QuantFormat.QOperator, prepared=False))),
    Network("mixed", mixed, epochs=5, rate=5e-3, wanted=0.98, dynamo=True,
            twins=(COMPARABLE, Twin("ort-qoperator", format=QuantFormat.QOperator))),
)  # fmt: skip
