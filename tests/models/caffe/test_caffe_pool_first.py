"""SqueezeNet v1.0's own head, re-ordered, against the original program on the prototxt that has it re-ordered."""

from __future__ import annotations

import numpy as np
import torch

import excitation as eb
from excitation.models.caffe import load_caffe

JOB = "catdog__sq227"


def test_the_reordered_head_is_the_prototxts(shared):
    folder, reference = shared("models/squeezenet_v1.0"), shared("reference/caffe_squeezenet")
    weights = folder / "squeezenet_v1.0.caffemodel"
    made = eb.pool_first(load_caffe(folder / "deploy.prototxt", weights, dtype=torch.float64))
    image = torch.from_numpy(np.load(reference / "inputs" / f"{JOB}.npy")).double()
    stored = np.load(reference / "maps_f64" / f"{JOB}_gapfirst.npz")
    keys = [key.split("/", 3) for key in stored.files if "/gap/cmwp/" in key]
    classes, blobs = sorted({int(key[0]) for key in keys}), sorted({key[3] for key in keys})
    assert len(blobs) >= 11
    layers = {blob: "input" if blob == "data" else f"model.{blob}" for blob in blobs}
    result = eb.explain(
        made, image, classes, layer=list(layers.values()), method="c-mwp", signed=True,
        policies=eb.Policies.original(),
    )  # fmt: skip
    with torch.no_grad():
        scores = made.model(image).flatten().numpy()
    assert np.abs(scores - stored["scores"]).max() <= 1e-9 * np.abs(stored["scores"]).max()
    for blob, layer in layers.items():
        for k, label in enumerate(classes):
            wanted = stored[f"{label}/gap/cmwp/{blob}"]
            found = result[layer][0, k].numpy()
            limit = 1e-9 if wanted.dtype == np.float64 else 1e-6  # large arrays are stored in single precision
            assert np.abs(found - wanted).max() <= limit * np.abs(wanted).max(), (blob, label)
