"""A real network on real photos against the original program: SqueezeNet v1.0, both heads, all stored layers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from squeezenet import load

import excitation as eb

HEADS = {"map": "", "pooled": "", "gap": "_gapfirst"}
JOBS = (
    "325_sulphur_butterfly__short227",
    "325_sulphur_butterfly__sq227",
    "340_zebra__sq227",
    "386_African_elephant__sq227",
    "457_bow_tie__sq227",
    "879_umbrella__sq227",
    "catdog__sq227",
)


def tolerance(array):
    """Arrays of more than 2,000 entries are stored in single precision."""
    return 1e-9 if array.dtype == np.float64 else 1e-6


@pytest.fixture(scope="module")
def networks(shared):
    weights = shared("models/squeezenet_v1.0/weights.npz")
    return {head: load(weights, head) for head in HEADS}


@pytest.mark.parametrize("job", JOBS)
def test_scores(job, shared, networks):
    folder = shared("reference/caffe_squeezenet")
    image = torch.from_numpy(np.load(folder / "inputs" / f"{job}.npy")).double()
    for head in ("pooled", "gap"):
        stored = np.load(folder / "maps_f64" / f"{job}{HEADS[head]}.npz")["scores"]
        with torch.no_grad():
            found = networks[head](image)[0].numpy()
        assert np.abs(found - stored).max() <= 1e-9 * np.abs(stored).max()


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("head", HEADS)
def test_maps(job, head, shared, networks):
    folder = shared("reference/caffe_squeezenet")
    assert job in json.loads((folder / "meta.json").read_text())
    image = torch.from_numpy(np.load(folder / "inputs" / f"{job}.npy")).double()
    stored = np.load(folder / "maps_f64" / f"{job}{HEADS[head]}.npz")
    keys = [key.split("/", 3) for key in stored.files if f"/{head}/mwp/" in key]
    classes = sorted({int(key[0]) for key in keys})
    blobs = sorted({key[3] for key in keys})
    layers = {blob: "input" if blob == "data" else blob.removesuffix("/concat") for blob in blobs}
    assert len(blobs) >= 11
    maps = {
        method: eb.explain(
            networks[head], image, classes, layer=list(layers.values()), method=method, signed=True,
            spatial="softmax", policies=eb.Policies.original(),
        )
        for method in ("mwp", "c-mwp")
    }  # fmt: skip
    for blob, layer in layers.items():
        for k, label in enumerate(classes):
            plain = stored[f"{label}/{head}/mwp/{blob}"]
            found = maps["mwp"][layer][0, k].numpy()
            assert np.abs(found - plain).max() <= tolerance(plain) * plain.max(), (blob, label)
            # With the head that classifies positions a contrast cancels at every position of the top layer: what is
            # left there is rounding, so the plain map's maximum is the scale of both.
            both = stored[f"{label}/{head}/cmwp/{blob}"]
            scale = np.abs(both).max() if blob != "fire9/concat" or head == "gap" else plain.max()
            found = maps["c-mwp"][layer][0, k].numpy()
            assert np.abs(found - both).max() <= tolerance(both) * scale, (blob, label, "contrast")


def test_default_policies_give_the_original_maps_above_the_pixels(shared, networks):
    """SqueezeNet is a plain ReLU network: only its signed pixels tell polarity from the original's raw values."""
    folder = shared("reference/caffe_squeezenet")
    image = torch.from_numpy(np.load(folder / "inputs" / "catdog__sq227.npy")).double()
    ours = eb.explain(networks["gap"], image, [281], layer=["pool1", "input"], method="c-mwp", signed=True)
    theirs = eb.explain(
        networks["gap"], image, [281], layer=["pool1", "input"], method="c-mwp", signed=True,
        policies=eb.Policies.original(),
    )  # fmt: skip
    assert torch.allclose(ours["pool1"], theirs["pool1"], rtol=0, atol=1e-12)
    assert not torch.allclose(ours["input"], theirs["input"], rtol=0, atol=1e-6)
    assert float(eb.explain(networks["gap"], image, [281], layer="input").maps.sum()) == pytest.approx(1, abs=1e-9)


def test_single_precision_agrees(shared, networks):
    folder = shared("reference/caffe_squeezenet")
    image = torch.from_numpy(np.load(folder / "inputs" / "340_zebra__sq227.npy"))
    exact = eb.explain(networks["gap"], image.double(), [340], layer="pool4", method="c-mwp").maps
    single = load(shared("models/squeezenet_v1.0/weights.npz"), "gap").float()
    found = eb.explain(single, image, [340], layer="pool4", method="c-mwp").maps
    assert found.dtype == torch.float32
    assert float((found - exact).abs().max()) < 2e-6 * float(exact.max())
    half = eb.explain(single.bfloat16(), image.bfloat16(), [340], layer="pool4", method="c-mwp").maps
    assert half.dtype == torch.float32
    assert torch.corrcoef(torch.stack([half.flatten(), exact.flatten().float()]))[0, 1] > 0.98
