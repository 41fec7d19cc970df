"""The paper's networks by name, with their weights from a file."""

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
"""Of blue, green and red over ImageNet's training pictures, as VGG16's authors give it."""


@dataclass(frozen=True)
class _Entry:
    """One of the paper's networks.

    Attributes:
        make: its class; called with the number of classes.
        attention: where the paper takes its maps.
        classifier: its last layer.
        mean: of blue, green, red, which is subtracted.
        ignored: what layers begin with that files of the trained network have and the TEST network does not.
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
    """One of the networks of the paper's experiments, as an ordinary PyTorch module with Caffe's names of layers.

    Args:
        name: `"cnn-s"`, `"vgg16"` or `"googlenet"`.
        weights: a `.caffemodel` (needs the extra `caffe`), or a `.safetensors` file of the module's `state_dict`. Every
            layer is found by its name; GoogLeNet's auxiliary heads are left out.
        classes: how many the file must have: 1000 for ImageNet, 20 for VOC07, 80 for COCO; `None` takes what it has.
        rename: from the file's names of layers to the network's, for weights whose last layer was renamed when they
            were fine-tuned: `{"fc8_voc": "fc8"}`.
        mean_file: a `.binaryproto` whose mean per channel is subtracted in place of the authors' own.
        dtype: of the parameters.

    Returns:
        The model in evaluation mode, with the paper's layer for maps as its default. It returns scores before the
        softmax. Pictures are BGR, 0 to 255, less the mean, squashed to 224 x 224; `eb.convolutional` makes it take
        other sizes.

    Raises:
        ModelError: no such network, or a file that is missing, damaged or of another network; says which layers it
            lacks, which are too many, and which have another shape.

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
    """What follows `paper:` in a spec, `NAME@WEIGHTS`.

    Raises:
        ModelError: it does not name a network and a file, or as `load_paper_network`.
    """
    name, _, weights = rest.partition("@")
    if not weights:
        _entry(name)
        # Random weights would make maps that look like maps.
        raise ModelError(
            f"model 'paper:{rest}' names no weights, and none come along; expected {FORM}, with a .caffemodel or"
            " .safetensors file."
        )
    return load_paper_network(name, weights)


def _entry(name: str) -> _Entry:
    if name not in NETWORKS:
        raise ModelError(f"the paper has no network {name!r}; there are {', '.join(NETWORKS)} ({FORM}).")
    return NETWORKS[name]
