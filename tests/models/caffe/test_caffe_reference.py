"""Imported networks against the original program: every small net, and SqueezeNet v1.0 with both heads."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import excitation as eb
from excitation.core._forward import forward
from excitation.engine import ExcitationRules, sweep
from excitation.models import _catalogue
from excitation.models.caffe import load_caffe

TINY = Path(__file__).parents[3] / ".." / "shared" / "reference" / "caffe_tiny"
NETS = sorted(path.name for path in TINY.glob("*") if path.is_dir()) or ["absent"]
JOBS = ("catdog__sq227", "325_sulphur_butterfly__short227", "879_umbrella__sq227")
HEADS = {"deploy": "", "deploy_gapfirst": "_gapfirst"}
EXACT = 1e-9
# The original has no rule for what these end in (tests/engine/test_caffe_tiny.py).
WITHOUT_RULES = {"sigmoid_tanh_elu", "softmax_top"}


@pytest.fixture(scope="module")
def golden(shared):
    with np.load(shared("reference/caffe_tiny/golden_f64.npz")) as arrays:
        return {key: arrays[key] for key in arrays.files}


@pytest.fixture(scope="module")
def index(golden):
    return json.loads(bytes(golden["__index__"]).decode())


def tiny(shared, net):
    folder = shared(f"reference/caffe_tiny/{net}")
    return load_caffe(folder / "deploy.prototxt", folder / "net.caffemodel").model.double()


def layers_of(index, net):
    """For each blob, the layer that makes it and the one that changes it last."""
    first, last = {"data": "input"}, {}
    for spec in index[net]["net"]["layer"]:
        if spec["type"] not in {"Input", "EuclideanLoss"}:
            for top in spec["top"]:
                first.setdefault(top, spec["name"])
                last[top] = spec["name"]
    return first, last


def stored(golden, net, tag):
    lead = f"{net}|{tag}|"
    return {key[len(lead) :]: golden[key] for key in golden if key.startswith(lead) and "__" not in key}


@pytest.mark.parametrize("net", NETS)
def test_every_blob_of_the_small_nets(net, shared, golden, index):
    model = tiny(shared, net)
    found = {}
    for name, layer in model.named_children():
        layer.register_forward_hook(lambda _, __, out, name=name: found.__setitem__(name, out))
    with torch.no_grad():
        top = model(torch.from_numpy(golden[f"{net}|input"]).double())
    assert torch.equal(top, list(found.values())[-1])
    blobs = stored(golden, net, "act")
    _, last = layers_of(index, net)
    assert set(last) <= set(blobs)
    for blob, layer in last.items():
        wanted = blobs[blob]
        assert found[layer].shape == wanted.shape, blob
        assert np.abs(found[layer].numpy() - wanted).max() <= EXACT * np.abs(wanted).max(), blob


@pytest.mark.parametrize("net", sorted(set(NETS) - WITHOUT_RULES))
def test_every_signal_of_the_small_nets(net, shared, golden, index):
    model = tiny(shared, net).eval()
    record = forward(model, torch.from_numpy(golden[f"{net}|input"]).double(), None)
    first, _ = layers_of(index, net)
    tags = sorted({key.split("|")[1] for key in golden if key.startswith((f"{net}|eb_", f"{net}|ceb_"))})
    assert "eb_onehot" in tags
    compared = 0
    for tag in tags:
        rules = ExcitationRules(eb.Policies.original(residual="branch" if "skip" in tag else "original"))
        signal = torch.from_numpy(golden[f"{net}|signal|{tag.split('_')[-1]}"]).double().reshape(record.scores.shape)
        for blob, wanted in stored(golden, net, tag).items():
            value = record.places[first[blob]].value
            try:
                (found,) = sweep(record, signal[None, None], [value], rules, contrast=tag.startswith("ceb"))
            except eb.LayerError:
                # Above the last weighted layer there is no contrast yet; the file holds the positive pass there.
                (found,) = sweep(record, signal[None, None], [value], rules)
            found = found.sum(0)[0].reshape(wanted.shape).numpy()
            assert np.abs(found - wanted).max() <= EXACT * np.abs(wanted).max(), (tag, blob)
            compared += 1
    assert compared >= 2


@pytest.fixture(scope="module")
def squeezenets(shared):
    folder = shared("models/squeezenet_v1.0")
    weights = folder / "squeezenet_v1.0.caffemodel"
    return {head: _catalogue.load_model(f"caffe:{folder / head}.prototxt,{weights}") for head in HEADS}


@pytest.fixture(scope="module")
def score_map(shared, tmp_path_factory):
    """The network without its last layer, the pooling."""
    folder = shared("models/squeezenet_v1.0")
    text = (folder / "deploy.prototxt").read_text()
    file = tmp_path_factory.mktemp("caffe") / "map.prototxt"
    file.write_text(text[: text.rindex("layer {")])
    return load_caffe(file, folder / "squeezenet_v1.0.caffemodel")


def image_of(shared, job):
    return torch.from_numpy(np.load(shared(f"reference/caffe_squeezenet/inputs/{job}.npy")))


def close(found, wanted, limit):
    return np.abs(found.double().numpy() - wanted).max() <= limit * np.abs(wanted).max()


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("head", HEADS)
def test_squeezenet_scores(job, head, shared, squeezenets, score_map):
    folder = shared("reference/caffe_squeezenet")
    maps = np.load(folder / "maps_f64" / f"{job}{HEADS[head]}.npz")
    classes = json.loads((folder / "meta.json").read_text())[job]["classes"]
    for dtype, limit in ((torch.float32, 1e-5), (torch.float64, EXACT)):
        image = image_of(shared, job).to(dtype)
        with torch.no_grad():
            scores = squeezenets[head].model.to(dtype)(image).flatten()
            positions = score_map.model.to(dtype)(image)[0]
        assert close(scores, maps["scores"], limit)
        if head == "deploy":
            kept = maps["conv_final"]
            assert kept.shape == (len(classes), *positions.shape[1:])
            assert close(positions[classes], kept, limit)


@pytest.mark.parametrize("job", JOBS[:1])
@pytest.mark.parametrize(("head", "view"), [("deploy", "map"), ("deploy", "pooled"), ("deploy_gapfirst", "gap")])
def test_squeezenet_maps(job, head, view, shared, squeezenets, score_map):
    """At every stored layer, MWP and c-MWP."""
    maps = np.load(shared("reference/caffe_squeezenet") / "maps_f64" / f"{job}{HEADS[head]}.npz")
    keys = [key.split("/", 3) for key in maps.files if f"/{view}/mwp/" in key]
    classes, blobs = sorted({int(key[0]) for key in keys}), sorted({key[3] for key in keys})
    assert len(blobs) >= 11
    layers = ["input" if blob == "data" else blob for blob in blobs]
    model = (score_map if view == "map" else squeezenets[head]).model.double()
    for name, contrast in (("mwp", {}), ("cmwp", {"method": "c-mwp"})):
        found = eb.explain(
            model, image_of(shared, job).double(), classes, layer=layers, **contrast, signed=True,
            spatial="softmax", policies=eb.Policies.original(),
        )  # fmt: skip
        for blob, layer in zip(blobs, layers, strict=True):
            for k, label in enumerate(classes):
                wanted, plain = maps[f"{label}/{view}/{name}/{blob}"], maps[f"{label}/{view}/mwp/{blob}"]
                # With the head that classifies positions the contrast cancels at the top: what is left is rounding.
                scale = plain.max() if blob == "fire9/concat" and view != "gap" else np.abs(wanted).max()
                limit = EXACT if wanted.dtype == np.float64 else 1e-6
                assert np.abs(found[layer][0, k].numpy() - wanted).max() <= limit * scale, (blob, label, name)


def test_photos_become_the_original_inputs(shared, squeezenets):
    """Sizes, channel order, mean: up to the filter that resizes, and to the same first class."""
    loaded = squeezenets["deploy"]
    meta = json.loads((shared("reference/caffe_squeezenet") / "meta.json").read_text())
    for job, facts in meta.items():
        resize = "squash" if job.endswith("sq227") else "shortest"
        preprocessing = dataclasses.replace(loaded.preprocessing, resize=resize)
        photo = shared("data/photos") / facts["source"]
        found, wanted = preprocessing(Image.open(photo).convert("RGB"))[None], image_of(shared, job)
        assert found.shape == wanted.shape
        off, swapped = (float((item - wanted).abs().mean()) for item in (found, found.flip(1)))
        assert off < 10, job  # of 255: fur and stripes depend on the filter
        assert swapped > 2 * off, job
        with torch.no_grad():
            scores = loaded.model.float()(found).flatten()
        assert int(scores.argmax()) == facts["classes"][facts["rank"].index(0)]


def test_cat_and_dog_come_apart(shared, squeezenets):
    """With the pooling before the classifier: the cat sits on the left, the dog on the right."""
    loaded = squeezenets["deploy_gapfirst"]
    image = loaded.preprocessing(Image.open(shared("data/photos/catdog.jpg")).convert("RGB"))[None]
    maps = eb.explain(loaded.model.float(), image, [281, 207], layer="pool4", method="c-mwp").maps[0]
    half = maps.shape[-1] // 2
    cat, dog = (float(part[:, :half].sum() / part.sum()) for part in maps)
    assert cat > 0.6
    assert dog < 0.35


def test_squeezenet_is_told_how_its_pictures_are_prepared(squeezenets):
    preprocessing = squeezenets["deploy"].preprocessing
    assert (preprocessing.size, preprocessing.resize) == ((227, 227), "shortest")
    assert (preprocessing.channels, preprocessing.scale, preprocessing.std) == ("BGR", 1, (1, 1, 1))
    assert preprocessing.mean == (104, 117, 123)
    assert squeezenets["deploy"].spec.startswith("caffe:")
    assert {"fire2/concat", "relu_conv_final"} <= set(dict(squeezenets["deploy"].model.named_children()))
