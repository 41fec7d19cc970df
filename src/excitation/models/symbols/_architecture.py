"""The classifiers of the symbol world: a small GoogLeNet and a small residual network."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import nn

from ..._errors import ExcitationError


class Rectified(nn.Module):
    """A convolution and a ReLU. In training, a batch normalisation lies between them, which is folded away later."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, *, batch_norm: bool = False
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=not batch_norm)
        self.norm: nn.Module = nn.BatchNorm2d(outputs) if batch_norm else nn.Identity()

    def forward(self, x: Float[torch.Tensor, "image _ _ _"]) -> Float[torch.Tensor, "image _ _ _"]:
        """`max(norm(conv(x)), 0)`."""
        return F.relu(self.norm(self.conv(x)))


class Inception(nn.Module):
    """Four parallel branches (Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, Fig. 2b)."""

    def __init__(self, inputs: int, sizes: tuple[int, int, int, int, int, int], *, batch_norm: bool = False) -> None:
        """`sizes`: channels of 1x1; 3x3 reduce and 3x3; 5x5 reduce and 5x5; pool projection."""
        super().__init__()
        one, reduce3, three, reduce5, five, pool = sizes
        self.branch1x1 = Rectified(inputs, one, batch_norm=batch_norm)
        self.reduce3x3 = Rectified(inputs, reduce3, batch_norm=batch_norm)
        self.branch3x3 = Rectified(reduce3, three, 3, batch_norm=batch_norm)
        self.reduce5x5 = Rectified(inputs, reduce5, batch_norm=batch_norm)
        self.branch5x5 = Rectified(reduce5, five, 5, batch_norm=batch_norm)
        self.pool = nn.MaxPool2d(3, 1, padding=1)
        self.pool_proj = Rectified(inputs, pool, batch_norm=batch_norm)
        self.channels = one + three + five + pool

    def forward(self, x: Float[torch.Tensor, "image _ height width"]) -> Float[torch.Tensor, "image _ height width"]:
        """All branches, concatenated along the channel axis."""
        return torch.cat(
            [
                self.branch1x1(x),
                self.branch3x3(self.reduce3x3(x)),
                self.branch5x5(self.reduce5x5(x)),
                self.pool_proj(self.pool(x)),
            ],
            1,
        )


class SymbolNet(nn.Module):
    """A small GoogLeNet for images with a shortest side of at least 160 pixels.

    Convolution, ReLU, local response normalisation, max pooling, inception modules, global average pooling, one linear
    layer. Scores are independent logits of the classes (multi-label).
    """

    def __init__(self, classes: int, *, batch_norm: bool = False) -> None:
        """`batch_norm`: whether to include batch normalisations, as in training; `folded` removes them."""
        super().__init__()
        self.conv1 = Rectified(3, 24, 5, 2, batch_norm=batch_norm)
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.norm1 = nn.LocalResponseNorm(5)
        self.conv2_reduce = Rectified(24, 24, batch_norm=batch_norm)
        self.conv2 = Rectified(24, 64, 3, batch_norm=batch_norm)
        self.pool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.norm2 = nn.LocalResponseNorm(5)
        self.inception_3a = Inception(64, (32, 32, 64, 8, 16, 16), batch_norm=batch_norm)
        self.inception_3b = Inception(128, (48, 48, 80, 12, 24, 24), batch_norm=batch_norm)
        self.pool3 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.inception_4a = Inception(176, (64, 56, 112, 12, 32, 32), batch_norm=batch_norm)
        self.inception_4b = Inception(240, (80, 64, 128, 16, 40, 40), batch_norm=batch_norm)
        self.inception_4c = Inception(288, (96, 72, 144, 16, 48, 48), batch_norm=batch_norm)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(336, classes)

    def forward(
        self, images: Float[torch.Tensor, "image 3 height width"]
    ) -> Float[torch.Tensor, "image classes *positions"]:
        """Logits of RGB images with values in [-1, 1]; with spatial dimensions if the head is fully convolutional."""
        x = self.norm1(self.pool1(self.conv1(images)))
        x = self.norm2(self.pool2(self.conv2(self.conv2_reduce(x))))
        x = self.pool3(self.inception_3b(self.inception_3a(x)))
        x = self.inception_4c(self.inception_4b(self.inception_4a(x)))
        return self.classifier(self.pool(x).flatten(1))  # type: ignore[no-any-return]


class Residual(nn.Module):
    """Two convolutions in parallel to a skip connection (He et al., "Deep Residual Learning", CVPR 2016, Fig. 2)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Float[torch.Tensor, "image _ _ _"]) -> Float[torch.Tensor, "image _ _ _"]:
        """`max(skip + branch, 0)`."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(self.downsample(x) + y)


class SymbolResNet(nn.Module):
    """A small residual network; its batch normalisations are kept."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 24, 5, 2, padding=2, bias=False)
        self.bn1 = nn.BatchNorm2d(24)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        self.layer1 = nn.Sequential(Residual(24, 32, 1))
        self.layer2 = nn.Sequential(Residual(32, 64, 2), Residual(64, 64, 1))
        self.layer3 = nn.Sequential(Residual(64, 144, 2), Residual(144, 144, 1))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(144, classes)

    def forward(
        self, images: Float[torch.Tensor, "image 3 height width"]
    ) -> Float[torch.Tensor, "image classes *positions"]:
        """Logits of RGB images with values in [-1, 1]; with spatial dimensions if the head is fully convolutional."""
        x = self.maxpool(F.relu(self.bn1(self.conv1(images))))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.classifier(self.pool(x).flatten(1))  # type: ignore[no-any-return]


def folded(trained: SymbolNet) -> SymbolNet:
    """Fold the batch normalisations of a network into the convolutions before them.

    Args:
        trained: a network in evaluation mode, created with `batch_norm=True`.

    Returns:
        A new network with the same scores.

    Raises:
        ExcitationError: the network is in training mode.
    """
    if trained.training:
        raise ExcitationError("the network is in training mode; call eval() first, its statistics are not final.")
    plain = SymbolNet(trained.classifier.out_features)
    plain.classifier.load_state_dict(trained.classifier.state_dict())
    with torch.no_grad():
        for name, module in trained.named_modules():
            if isinstance(module, Rectified):
                target = plain.get_submodule(name)
                assert isinstance(target, Rectified)
                fused = module.conv
                if isinstance(module.norm, nn.BatchNorm2d):
                    fused = torch.nn.utils.fuse_conv_bn_eval(module.conv, module.norm)
                target.conv.load_state_dict(fused.state_dict())
    return plain.eval()
