"""SqueezeNet's score map as an output of its own, for signals that are read off positions."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from excitation import load_caffe
from excitation.models import LoadedModel
from excitation.models.caffe import CaffeNet

SQUEEZENET = Path("../shared/models/squeezenet_v1.0")


def score_map() -> LoadedModel:
    """The network without its last average pooling: `(image, class, height, width)`, rectified."""
    loaded = load_caffe(SQUEEZENET / "deploy.prototxt", SQUEEZENET / "squeezenet_v1.0.caffemodel")
    model = loaded.model
    assert isinstance(model, CaffeNet)
    assert model.steps[-1].name == "pool_final"
    before = model.steps[-2]
    model.steps = (*model.steps[:-2], dataclasses.replace(before, done=()))
    model.outputs = {"conv_final": before.outputs[0]}
    return loaded
