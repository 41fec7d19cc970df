"""Networks of the support table that are no classifiers of pictures: what they take in, and which output is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

OWN = {
    "audio": ("m5_waveform", "vgg_spectrogram"),
    "several inputs": ("two_stream", "siamese"),
    "detection": ("retinanet_resnet50_fpn", "retinanet_backbone_classifier"),
}
"""By kind: networks that are built here, or out of parts of torchvision's detectors."""

CLIP = (8, 64, 64)
"""Frames, height and width."""

LEFT_OUT = ("mvit_v1_b", "mvit_v2_s")
"""Video networks for clips of 16 frames and 224 pixels alone, whose record takes more than 13 GB."""

CLIPS = {"s3d": (16, 224, 224)}
"""Where `CLIP` is too small for a network."""

Draw = Callable[[int], Any]
"""From a number of images to random ones, as the network takes them."""


class Waveform(nn.Module):
    """M5 of Dai et al. (Very deep convolutional neural networks for raw waveforms, ICASSP 2017), on 8000 samples."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        sizes = ((1, 64, 80, 4), (64, 64, 3, 1), (64, 128, 3, 1), (128, 256, 3, 1))
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(nn.Conv1d(into, out, kernel, stride), nn.BatchNorm1d(out), nn.ReLU(), nn.MaxPool1d(4))
                for into, out, kernel, stride in sizes
            )
        )
        self.head = nn.Linear(256, classes)

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Scores `(clip, class)` of samples `(clip, 1, time)`."""
        return self.head(self.blocks(samples).mean(2))


class TwoStream(nn.Module):
    """A picture and its optical flow, each through a network of its own (Simonyan and Zisserman, NeurIPS 2014)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.picture, self.flow, self.head = _trunk(3), _trunk(2), nn.Linear(64, classes)

    def forward(self, picture: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
        """Scores `(image, class)`."""
        return self.head(torch.cat([self.picture(picture).mean((2, 3)), self.flow(flow).mean((2, 3))], 1))


class Siamese(nn.Module):
    """Two pictures through one network; the classes are how they relate."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.trunk, self.head = _trunk(3), nn.Linear(64, classes)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """Scores `(pair, class)`."""
        return self.head(torch.cat([self.trunk(left).mean((2, 3)), self.trunk(right).mean((2, 3))], 1))


class BackboneClassifier(nn.Module):
    """A detector's backbone with its pyramid, and a classifier on top: what to explain in a detector."""

    def __init__(self, backbone: nn.Module, classes: int) -> None:
        super().__init__()
        self.backbone, self.head = backbone, nn.Linear(256, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Scores `(image, class)`."""
        pyramid = self.backbone(images)
        return self.head(sum(F.relu(level).mean((2, 3)) for level in pyramid.values()))


def _trunk(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, 16, 5, 2, 2), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, 1, 1), nn.BatchNorm2d(32), nn.ReLU(),
    )  # fmt: skip


def spectrogram_network(classes: int) -> nn.Module:
    """A VGG of three blocks on log-mel spectrograms `(clip, 1, band, frame)`."""
    layers: list[nn.Module] = []
    for into, out in ((1, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(into, out, 3, 1, 1), nn.BatchNorm2d(out), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, classes))


def mean_score(found: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """A segmentation's scores `(image, class)`: the mean over the pixels of its main output."""
    return found["out"].mean((2, 3))


def other_kinds() -> list[tuple[str, str, str]]:
    """Source, kind and name of all networks here."""
    from torchvision import models

    parts = {"segmentation": models.segmentation, "video": models.video}
    names = [(kind, name) for kind, part in parts.items() for name in models.list_models(module=part)]
    found = [("torchvision", kind, name) for kind, name in names if name not in LEFT_OUT]
    return found + [("excitation", kind, name) for kind, names in OWN.items() for name in names]


def build_other(kind: str, name: str, classes: int) -> tuple[nn.Module, Draw, Any]:
    """A network, what draws inputs for it, and the output that is asked for."""
    from torchvision import models

    if kind == "segmentation":
        options = {"weights": None, "weights_backbone": None, "num_classes": classes}
        return models.get_model(name, **options), _pictures(96), mean_score
    if kind == "video":
        frames, height, width = CLIPS.get(name, CLIP)
        model = models.get_model(name, weights=None, num_classes=classes)
        return model, lambda count: torch.randn(count, 3, frames, height, width), None
    if kind == "detection":
        detector = models.get_model("retinanet_resnet50_fpn", weights=None, weights_backbone=None, num_classes=classes)
        whole = name == "retinanet_resnet50_fpn"
        return detector if whole else BackboneClassifier(detector.backbone, classes), _pictures(96), None
    if name == "m5_waveform":
        return Waveform(classes), lambda count: torch.randn(count, 1, 8000), None
    if name == "vgg_spectrogram":
        return spectrogram_network(classes), lambda count: torch.randn(count, 1, 64, 96), None
    if name == "two_stream":
        return TwoStream(classes), lambda count: (torch.randn(count, 3, 64, 64), torch.randn(count, 2, 64, 64)), None
    return Siamese(classes), lambda count: (torch.randn(count, 3, 64, 64), torch.randn(count, 3, 64, 64)), None


def _pictures(side: int) -> Draw:
    return lambda count: torch.randn(count, 3, side, side)
