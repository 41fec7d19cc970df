"""The paper's networks by name, with weights from a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .._loaded import LoadedModel, ModelError, Preprocessing
from ._googlenet import GOOGLENET_ATTENTION, GoogLeNet
from ._straight import CNN_S_ATTENTION, CNNS, VGG16, VGG16_ATTENTION
from ._weights import put_weights

FORM = "paper:NAME@WEIGHTS"
SIZE = (224, 224)
VGG_MEAN = (103.939, 116.779, 123.68)
"""Mean of blue, green and red over the ImageNet training images, as published by the authors of VGG16."""


@dataclass(frozen=True)
class _Entry:
    """One of the paper's networks.

    Attributes:
        make: its class; called with the number of classes.
        attention: the layer of the paper's maps.
        classifier: its last layer.
        mean: mean of blue, green and red, which is subtracted.
        ignored: name prefixes of layers that weights files contain and the TEST network does not.
    """

    make: Any
    attention: str
    classifier: str
    mean: tuple[float, float, float]
    ignored: tuple[str, ...] = ()


NETWORKS = {
    "cnn-s": _Entry(CNNS, CNN_S_ATTENTION, "fc8", VGG_MEAN),
    "vgg16": _Entry(VGG16, VGG16_ATTENTION, "fc8", VGG_MEAN),
    "googlenet": _Entry(
        GoogLeNet, GOOGLENET_ATTENTION, "loss3/classifier", (104.0, 117.0, 123.0), ("loss1/", "loss2/")
    ),
}


def load_paper_network(
    name: str,
    weights: str | os.PathLike[str],
    *,
    classes: int | None = None,
    rename: Mapping[str, str] | None = None,
    mean_file: str | os.PathLike[str] | None = None,
    dtype: torch.dtype = torch.float32,
) -> LoadedModel:
    """Load one of the networks of the paper's experiments as a PyTorch module with Caffe's layer names.

    Args:
        name: `"cnn-s"`, `"vgg16"` or `"googlenet"`.
        weights: a `.caffemodel` file (requires the extra `caffe`), or a `.safetensors` file of the module's
            `state_dict`. Layers are matched by name; GoogLeNet's auxiliary heads are ignored.
        classes: required number of classes: 1000 for ImageNet, 20 for VOC07, 80 for COCO; `None` accepts any number.
        rename: map from layer names in the file to those of the network, for fine-tuned weights with a renamed last
            layer: `{"fc8_voc": "fc8"}`.
        mean_file: a `.binaryproto` file whose mean per channel replaces the published mean.
        dtype: type of the parameters.

    Returns:
        The model in evaluation mode. Its default layer is that of the paper's maps. It returns scores before the
        softmax. Pictures are converted to BGR values in [0, 255] minus the mean, and squashed to 224 x 224 pixels.
        `to_fully_convolutional` adapts the model to other sizes.

    Raises:
        ModelError: an unknown network, or a file that is missing, damaged or of another network; the message lists
            missing layers, unexpected layers, and layers of another shape.

    Source: Zhang et al., "Top-down Neural Attention by Excitation Backprop", ECCV 2016, Sec. 4.1.
    """
    entry = _entry(name)
    if classes is not None and classes < 1:
        raise ModelError(f"classes is {classes}; at least one is needed.")
    with torch.device("meta"):
        model = entry.make(1000 if classes is None else classes)
    path = Path(weights)
    put_weights(
        model, path, classifier=entry.classifier, classes=classes, rename=rename or {}, ignored=entry.ignored,
        dtype=dtype,
    )  # fmt: skip
    mean: tuple[float, ...] = entry.mean
    if mean_file is not None:
        from ..caffe import read_mean  # protobuf is optional

        mean = read_mean(Path(mean_file), channels=3)
    preprocessing = Preprocessing(size=SIZE, resize="squash", scale=1.0, channels="BGR", mean=mean)
    return LoadedModel(model.eval(), f"paper:{name}@{path}", preprocessing, default_layer=entry.attention)


def load_spec(rest: str) -> LoadedModel:
    """Load the model for the text after `paper:` in a spec, `NAME@WEIGHTS`.

    Raises:
        ModelError: the text does not contain a network and a file; or an error of `load_paper_network`.
    """
    name, _, weights = rest.partition("@")
    if not weights:
        _entry(name)
        # Random weights would give plausible but meaningless maps.
        raise ModelError(
            f"model 'paper:{rest}' names no weights, and none are bundled; expected {FORM}, with a .caffemodel or"
            " .safetensors file."
        )
    return load_paper_network(name, weights)


def _entry(name: str) -> _Entry:
    if name not in NETWORKS:
        raise ModelError(f"the paper has no network {name!r}; there are {', '.join(NETWORKS)} ({FORM}).")
    return NETWORKS[name]
