"""EfficientNet-Lite (Tan and Le, ICML 2019; the Lite variant of 2020): no squeeze-and-excitation, ReLU6 activations.

Submodules have the names of timm's `tf_efficientnet_lite0`, so that weights and layer names are compatible.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import nn

EPSILON = 1e-3
"""Epsilon of the batch normalisations, as in training."""

STEM, HEAD = 32, 1280
"""Channels of the first and of the last convolution, the same in all Lite variants."""


@dataclass(frozen=True)
class Stage:
    """A sequence of blocks with the same number of output channels.

    Attributes:
        repeats: number of blocks, before the depth factor.
        kernel: kernel size of the depthwise convolutions.
        stride: stride of the first block.
        expansion: ratio of expanded channels to input channels of a block.
        channels: output channels of the blocks, before the width factor.
    """

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
"""Table 1 of the paper."""


class SameConv(nn.Conv2d):
    """A convolution without bias and with TensorFlow's "same" padding: the output has `ceil(size / stride)` positions.

    If the total padding is odd, the larger half is added at the end.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, input: Float[torch.Tensor, "image in h w"]) -> Float[torch.Tensor, "image out h2 w2"]:
        """Pad and convolve."""
        (top, bottom), (left, right) = (
            _padding(size, kernel, stride)
            for size, kernel, stride in zip(input.shape[2:], self.kernel_size, self.stride, strict=True)
        )
        if top or bottom or left or right:
            input = F.pad(input, (left, right, top, bottom))
        return super().forward(input)


def _padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    whole = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return whole // 2, whole - whole // 2


class NormAct(nn.BatchNorm2d):
    """Batch normalisation followed by ReLU6."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=EPSILON)
        self.act = nn.ReLU6()

    def forward(self, input: Float[torch.Tensor, "image c h w"]) -> Float[torch.Tensor, "image c h w"]:
        """Normalise and rectify."""
        activated: torch.Tensor = self.act(super().forward(input))
        return activated


class PlainBlock(nn.Module):
    """A depthwise convolution and a linear projection: the block of the first stage, without expansion."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv_dw = SameConv(inputs, inputs, kernel, stride, groups=inputs)
        self.bn1 = NormAct(inputs)
        self.conv_pw = SameConv(inputs, outputs, 1)
        self.bn2 = nn.BatchNorm2d(outputs, eps=EPSILON)

    def forward(self, x: Float[torch.Tensor, "image in h w"]) -> Float[torch.Tensor, "image out h2 w2"]:
        """Apply the block."""
        out: torch.Tensor = self.bn2(self.conv_pw(self.bn1(self.conv_dw(x))))
        return out


class Bottleneck(nn.Module):
    """Expansion, depthwise convolution, linear projection; a skip connection if input and output shapes match."""

    def __init__(self, inputs: int, outputs: int, stage: Stage, stride: int) -> None:
        super().__init__()
        expanded = inputs * stage.expansion
        self.conv_pw = SameConv(inputs, expanded, 1)
        self.bn1 = NormAct(expanded)
        self.conv_dw = SameConv(expanded, expanded, stage.kernel, stride, groups=expanded)
        self.bn2 = NormAct(expanded)
        self.conv_pwl = SameConv(expanded, outputs, 1)
        self.bn3 = nn.BatchNorm2d(outputs, eps=EPSILON)
        self.has_skip = stride == 1 and inputs == outputs

    def forward(self, x: Float[torch.Tensor, "image in h w"]) -> Float[torch.Tensor, "image out h2 w2"]:
        """Apply the block."""
        out: torch.Tensor = self.bn3(self.conv_pwl(self.bn2(self.conv_dw(self.bn1(self.conv_pw(x))))))
        return out + x if self.has_skip else out


class EfficientNetLite(nn.Module):
    """The network, for images of any size.

    Args:
        width: factor for channels (1.0 for Lite0 and Lite1, 1.1 for Lite2).
        depth: factor for the number of blocks (1.0, 1.1, 1.2). The first and the last stage keep one block.
        classes: number of outputs.
    """

    def __init__(self, width: float = 1.0, depth: float = 1.0, classes: int = 1000) -> None:
        super().__init__()
        self.conv_stem = SameConv(3, STEM, 3, 2)
        self.bn1 = NormAct(STEM)
        channels, stages = STEM, []
        for i, stage in enumerate(STAGES):
            outputs = _rounded(stage.channels * width)
            repeats = stage.repeats if i in (0, len(STAGES) - 1) else math.ceil(stage.repeats * depth)
            blocks: list[nn.Module] = []
            for j in range(repeats):
                stride = stage.stride if j == 0 else 1
                if stage.expansion == 1:
                    blocks.append(PlainBlock(channels, outputs, stage.kernel, stride))
                else:
                    blocks.append(Bottleneck(channels, outputs, stage, stride))
                channels = outputs
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        self.conv_head = SameConv(channels, HEAD, 1)
        self.bn2 = NormAct(HEAD)
        self.global_pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(HEAD, classes)

    def forward(self, images: Float[torch.Tensor, "image 3 h w"]) -> Float[torch.Tensor, "image classes"]:
        """Class scores (logits) of preprocessed images."""
        x = self.bn2(self.conv_head(self.blocks(self.bn1(self.conv_stem(images)))))
        scores: torch.Tensor = self.classifier(self.global_pool(x).flatten(1))
        return scores


def _rounded(channels: float) -> int:
    """The closest multiple of 8 that is at least 90 % of `channels`."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest
