"""Outside libraries the methods are compared with."""

from __future__ import annotations

import importlib.util
import sys
import types
import warnings

import pytest
import torch


def stand_in_for_opencv():
    """Where OpenCV is not installed, what libraries need of it to be imported: the number of a colour map."""
    if "cv2" not in sys.modules and importlib.util.find_spec("cv2") is None:
        paint = types.ModuleType("cv2")
        paint.COLORMAP_JET = 2
        sys.modules["cv2"] = paint


def load_grad_cam():
    """pytorch-grad-cam, without OpenCV where that is not installed.

    It resizes and paints finished maps with OpenCV; the maps themselves, which are compared, are made without it.
    """
    if importlib.util.find_spec("pytorch_grad_cam") is None:
        pytest.skip("grad-cam is not installed")
    stand_in_for_opencv()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("pytorch_grad_cam")


def raw_map(kind, model, layer, images, target):
    """One of the library's maps before it stretches, resizes and rounds it: `(image, height, width)`.

    Args:
        kind: name of its class, such as `"LayerCAM"`.
        model: a network without operations in place, whose activations would change under its hooks.
        layer: a module of it.
        images: a batch.
        target: a class for all of them.
    """
    library = load_grad_cam()
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    cam = getattr(library, kind)(model, [layer])
    try:
        kept = cam.activations_and_grads
        targets = [ClassifierOutputTarget(target)] * len(images)
        scores = kept(images)
        grads = None
        if cam.uses_gradients:
            sum(pick(row) for pick, row in zip(targets, scores, strict=True)).backward()
            (grads,) = (item.numpy() for item in kept.gradients)
        activations = kept.activations[0].numpy()
        found = cam.get_cam_image(images, layer, targets, activations, grads, False)
    finally:
        kept.release()
        model.zero_grad()
    return torch.as_tensor(found).clamp(min=0)
