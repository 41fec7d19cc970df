"""GoogLeNet as in Caffe, with Caffe's layer names."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import nn

from ._parts import Scores, response_norm

GOOGLENET_ATTENTION = "pool2/3x3_s2"
"""The layer of the paper's GoogLeNet maps."""

GOOGLENET_LAYERS = ("inception_5b/output", "pool3/3x3_s2", "pool2/3x3_s2", "pool1/3x3_s2")
"""The layers that the paper compares in Fig. 6, from the top down."""

INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
"""Channels of each module: 1x1; 3x3 reduce and 3x3; 5x5 reduce and 5x5; pool projection (Table 1)."""

STEM = (
    "conv1/7x7_s2", "conv1/relu_7x7", "pool1/3x3_s2", "pool1/norm1", "conv2/3x3_reduce", "conv2/relu_3x3_reduce",
    "conv2/3x3", "conv2/relu_3x3", "conv2/norm2", "pool2/3x3_s2",
)  # fmt: skip
HEAD = ("pool5/7x7_s1", "pool5/drop_7x7_s1", "flatten", "loss3/classifier")
POOL_BEFORE = {"4a": "pool3/3x3_s2", "5a": "pool4/3x3_s2"}

Maps = Float[torch.Tensor, "image _ _ _"]


class Join(nn.Module):
    """Caffe's Concat: concatenates branches along the channel axis."""

    def forward(self, *branches: Maps) -> Maps:
        """Concatenate the branches."""
        return torch.cat(branches, 1)


class GoogLeNet(nn.Module):
    """GoogLeNet in the TEST phase, for BGR images of 224 x 224 pixels.

    Includes local response normalisation, and rounds sizes up, as in Caffe. The auxiliary heads, which only training
    needs, are omitted.

    All layers are direct children of the module: Caffe's names contain a `/` where PyTorch would nest modules.

    Args:
        classes: number of outputs of `loss3/classifier`.
        narrow: divisor for the channels of every layer except the last, for tests.

    Source: Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, Table 1; names as in Caffe's `bvlc_googlenet`.
    """

    def __init__(self, classes: int = 1000, *, narrow: int = 1) -> None:
        super().__init__()
        first, second = 64 // narrow, 192 // narrow
        self._convolve("conv1/", "7x7_s2", 3, first, 7, stride=2)
        self.add_module("pool1/3x3_s2", nn.MaxPool2d(3, 2, ceil_mode=True))
        self.add_module("pool1/norm1", response_norm(1e-4, 1.0))
        self._convolve("conv2/", "3x3_reduce", first, first, 1)
        self._convolve("conv2/", "3x3", first, second, 3)
        self.add_module("conv2/norm2", response_norm(1e-4, 1.0))
        self.add_module("pool2/3x3_s2", nn.MaxPool2d(3, 2, ceil_mode=True))
        channels = second
        for name, sizes in INCEPTIONS.items():
            if name in POOL_BEFORE:
                self.add_module(POOL_BEFORE[name], nn.MaxPool2d(3, 2, ceil_mode=True))
            channels = self._add_inception(f"inception_{name}/", channels, [size // narrow for size in sizes])
        self.add_module("pool5/7x7_s1", nn.AvgPool2d(7, 1))
        self.add_module("pool5/drop_7x7_s1", nn.Dropout(0.4))
        self.add_module("flatten", nn.Flatten())  # part of Caffe's classifier layer
        self.add_module("loss3/classifier", nn.Linear(channels, classes))

    def forward(self, images: Float[torch.Tensor, "image 3 height width"]) -> Scores:
        """Class scores before the softmax, for BGR values in [0, 255] minus the mean; 224 x 224 pixels."""
        x = self._run(images, STEM)
        for name in INCEPTIONS:
            if name in POOL_BEFORE:
                x = self._run(x, [POOL_BEFORE[name]])
            x = self._inception(f"inception_{name}/", x)
        return self._run(x, HEAD)

    def _convolve(self, block: str, name: str, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        """Add a convolution with odd kernel size and "same" padding, and its ReLU."""
        short = name.removesuffix("_s2")
        self.add_module(f"{block}{name}", nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2))
        self.add_module(f"{block}relu_{short}", nn.ReLU())

    def _add_inception(self, block: str, inputs: int, sizes: list[int]) -> int:
        """Add the layers of one inception module; return the number of output channels."""
        one, reduce3, three, reduce5, five, pool = sizes
        self._convolve(block, "1x1", inputs, one, 1)
        self._convolve(block, "3x3_reduce", inputs, reduce3, 1)
        self._convolve(block, "3x3", reduce3, three, 3)
        self._convolve(block, "5x5_reduce", inputs, reduce5, 1)
        self._convolve(block, "5x5", reduce5, five, 5)
        self.add_module(f"{block}pool", nn.MaxPool2d(3, 1, 1, ceil_mode=True))
        self._convolve(block, "pool_proj", inputs, pool, 1)
        self.add_module(f"{block}output", Join())
        return one + three + five + pool

    def _inception(self, block: str, x: torch.Tensor) -> torch.Tensor:
        def rectified(x: torch.Tensor, *names: str) -> torch.Tensor:
            return self._run(x, [block + part for name in names for part in (name, f"relu_{name}")])

        branches = [
            rectified(x, "1x1"),
            rectified(x, "3x3_reduce", "3x3"),
            rectified(x, "5x5_reduce", "5x5"),
            rectified(self._run(x, [f"{block}pool"]), "pool_proj"),
        ]
        return self._modules[f"{block}output"](*branches)  # type: ignore[misc,no-any-return]

    def _run(self, x: torch.Tensor, names: tuple[str, ...] | list[str]) -> torch.Tensor:
        for name in names:
            x = self.get_submodule(name)(x)
        return x
