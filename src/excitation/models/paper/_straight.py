"""The paper's networks without branches, CNN-S and VGG16: sequential layers with Caffe's names."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import nn

from ._parts import Scores, response_norm

CNN_S_ATTENTION = "conv5"
"""The layer of the paper's CNN-S maps."""

VGG16_ATTENTION = "pool4"
"""The layer of the paper's VGG16 maps."""

VGG16_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of the convolutions, by stage (Simonyan and Zisserman, Table 1, column D)."""

Layers = dict[str, nn.Module]


class _Straight(nn.Module):
    """A sequence of layers."""

    def __init__(self, layers: Layers) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, images: Float[torch.Tensor, "image 3 height width"]) -> Scores:
        """Class scores before the softmax, for BGR values in [0, 255] minus the mean; 224 x 224 pixels."""
        x = images
        for layer in self.children():
            x = layer(x)
        return x


class CNNS(_Straight):
    """CNN-S: five convolutions and three fully connected layers, for BGR images of 224 x 224 pixels.

    The published network and the table in its paper differ in one number: the table pads the second convolution by one
    pixel, the published network does not. This class follows the published network, so that it matches the weights. The
    parameters and the shape of `pool5` are the same in both cases.

    Args:
        classes: number of outputs of `fc8`.
        narrow: divisor for the channels of every layer except the last, for tests.

    Source: Chatfield et al., "Return of the Devil in the Details", BMVC 2014, Table 1, row CNN-S.
    """

    def __init__(self, classes: int = 1000, *, narrow: int = 1) -> None:
        low, middle, high = 96 // narrow, 256 // narrow, 512 // narrow
        layers: Layers = {}
        _convolve(layers, "1", 3, low, 7, stride=2)
        layers["norm1"] = response_norm(5e-4, 2.0)
        layers["pool1"] = nn.MaxPool2d(3, 3, ceil_mode=True)
        _convolve(layers, "2", low, middle, 5)
        layers["pool2"] = nn.MaxPool2d(2, 2, ceil_mode=True)
        _convolve(layers, "3", middle, high, 3, padding=1)
        _convolve(layers, "4", high, high, 3, padding=1)
        _convolve(layers, "5", high, high, 3, padding=1)
        layers["pool5"] = nn.MaxPool2d(3, 3, ceil_mode=True)
        _classify(layers, high * 6 * 6, 4096 // narrow, classes)
        super().__init__(layers)


class VGG16(_Straight):
    """VGG16: thirteen convolutions and three fully connected layers, for BGR images of 224 x 224 pixels.

    Args:
        classes: number of outputs of `fc8`.
        narrow: divisor for the channels of every layer except the last, for tests.

    Source: Simonyan and Zisserman, "Very Deep Convolutional Networks", ICLR 2015, Table 1, column D.
    """

    def __init__(self, classes: int = 1000, *, narrow: int = 1) -> None:
        layers: Layers = {}
        inputs = 3
        for stage, sizes in enumerate(VGG16_STAGES, 1):
            for place, size in enumerate(sizes, 1):
                _convolve(layers, f"{stage}_{place}", inputs, size // narrow, 3, padding=1)
                inputs = size // narrow
            layers[f"pool{stage}"] = nn.MaxPool2d(2, 2, ceil_mode=True)
        _classify(layers, inputs * 7 * 7, 4096 // narrow, classes)
        super().__init__(layers)


def _convolve(
    layers: Layers, number: str, inputs: int, outputs: int, kernel: int, *, stride: int = 1, padding: int = 0
) -> None:
    layers[f"conv{number}"] = nn.Conv2d(inputs, outputs, kernel, stride, padding)
    layers[f"relu{number}"] = nn.ReLU()


def _classify(layers: Layers, inputs: int, hidden: int, classes: int) -> None:
    layers["flatten"] = nn.Flatten()  # part of Caffe's fc6
    for number, size in (("6", inputs), ("7", hidden)):
        layers[f"fc{number}"] = nn.Linear(size, hidden)
        layers[f"relu{number}"] = nn.ReLU()
        layers[f"drop{number}"] = nn.Dropout(0.5)
    layers["fc8"] = nn.Linear(hidden, classes)
