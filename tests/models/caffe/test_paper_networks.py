"""The paper's networks as PyTorch classes against prototxts written from the papers, read by the Caffe importer."""

from __future__ import annotations

import dataclasses
import math
from functools import partial

import caffe_wire as wire
import numpy as np
import paper_texts
import pytest
import safetensors.torch
import torch

import excitation as eb
from excitation.models import _catalogue, paper
from excitation.models.caffe import load_caffe
from excitation.models.paper._load import NETWORKS

NARROW = {"cnn-s": 16, "vgg16": 16, "googlenet": 8}
CLASSES = 20
ATTENTION = {
    "cnn-s": (paper.CNN_S_ATTENTION,),
    "vgg16": (paper.VGG16_ATTENTION,),
    "googlenet": paper.GOOGLENET_LAYERS,
}
# Simonyan and Zisserman give 138 million, Szegedy et al. about 7 million without the auxiliary heads; added up by hand
# from the tables: convolutions k^2 c_in c_out + c_out, fully connected layers n_in n_out + n_out.
PUBLISHED = {"cnn-s": 102_908_520, "vgg16": 138_357_544, "googlenet": 6_998_552}


def random_blobs(shapes, seed=0):
    """He-normal weights, and biases of both signs, in single precision."""
    generator = np.random.default_rng(seed)
    return {
        name: [
            np.float32(generator.normal(size=weight) * math.sqrt(2 / math.prod(weight[1:]))),
            np.float32(generator.normal(size=bias) / 8),
        ]
        for name, (weight, bias) in shapes.items()
    }


def written(blobs, **options):
    return b"".join(wire.layer(name, *(wire.blob(item, **options) for item in both)) for name, both in blobs.items())


@pytest.fixture
def narrow(monkeypatch):
    """The networks with fewer channels under their own names."""
    for name, factor in NARROW.items():
        make = partial(NETWORKS[name].make, narrow=factor)
        monkeypatch.setitem(NETWORKS, name, dataclasses.replace(NETWORKS[name], make=make))


def files(tmp_path, name, classes=CLASSES):
    text, shapes = paper_texts.TEXTS[name](classes, NARROW[name])
    blobs = random_blobs(shapes)
    (tmp_path / "deploy.prototxt").write_text(text)
    (tmp_path / "net.caffemodel").write_bytes(written(blobs))
    return tmp_path / "deploy.prototxt", tmp_path / "net.caffemodel", blobs


def picture(*size, seed=1):
    """Values as of pictures: smooth, of the size of BGR less the mean."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 3, 9, 9, generator=generator, dtype=torch.float64)
    return 60 * torch.nn.functional.interpolate(coarse, size, mode="bicubic")


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_those_of_the_papers(name):
    with torch.device("meta"):
        model = NETWORKS[name].make()
    assert sum(item.numel() for item in model.parameters()) == PUBLISHED[name]
    _, shapes = paper_texts.TEXTS[name]()
    assert sum(math.prod(item) for both in shapes.values() for item in both) == PUBLISHED[name]
    found = {key: tuple(value.shape) for key, value in model.named_parameters()}
    assert found == {
        f"{layer}.{part}": shape
        for layer, both in shapes.items()
        for part, shape in zip(("weight", "bias"), both, strict=True)
    }


@pytest.mark.parametrize("name", PUBLISHED)
def test_scores_and_maps_are_those_of_the_caffe_network(name, tmp_path, narrow):
    prototxt, caffemodel, _ = files(tmp_path, name)
    caffe = load_caffe(prototxt, caffemodel, dtype=torch.float64)
    ours = paper.load_paper_network(name, caffemodel, dtype=torch.float64)
    layers = {layer for layer, _ in caffe.model.named_children()}
    assert {layer for layer, _ in ours.model.named_children()} - {"flatten"} == layers
    assert not ours.model.training
    image = picture(224, 224)
    with torch.no_grad():
        expected, scores = caffe.model(image), ours.model(image)
    assert scores.shape == (1, CLASSES)
    assert float(expected.std()) > 0
    assert float((scores - expected).abs().max()) <= 1e-9 * float(expected.abs().max())
    best = int(expected.argmax())
    for contrast in ({}, {"method": "c-mwp"}):
        wanted, found = (
            eb.explain(model, image, [best, 3], layer=list(ATTENTION[name]), **contrast, signed=True)
            for model in (caffe.model, ours)
        )
        for layer in ATTENTION[name]:
            assert wanted[layer].shape[-1] > 1
            limit = 1e-9 * float(wanted[layer].abs().max())
            assert limit > 0
            assert float((found[layer] - wanted[layer]).abs().max()) <= limit, (layer, contrast)


def test_attention_layers_are_the_papers(narrow, tmp_path):
    sizes = {"cnn-s": (17, 17), "vgg16": (14, 14), "googlenet": (28, 28)}
    for name, size in sizes.items():
        _, caffemodel, _ = files(tmp_path, name)
        loaded = paper.load_paper_network(name, caffemodel)
        assert loaded.default_layer == ATTENTION[name][-2 if name == "googlenet" else 0]
        maps = eb.explain(loaded, picture(224, 224).float(), [0]).maps
        assert maps.shape == (1, 1, *size)
        assert (loaded.preprocessing.size, loaded.preprocessing.resize) == ((224, 224), "squash")
        assert (loaded.preprocessing.channels, loaded.preprocessing.scale) == ("BGR", 1)
        assert all(100 < value < 125 for value in loaded.preprocessing.mean)


def test_spec(tmp_path, narrow):
    _, caffemodel, blobs = files(tmp_path, "googlenet", classes=80)
    spec = f"paper:googlenet@{caffemodel}"
    loaded = eb.load_model(spec)
    assert loaded.spec == spec
    assert _catalogue.model_files(spec) == [caffemodel]
    classifier = loaded.model.get_submodule("loss3/classifier")
    assert classifier.out_features == 80  # as many as the file has
    np.testing.assert_array_equal(classifier.weight.detach().numpy(), blobs["loss3/classifier"][0])
    sliding = eb.load_model(f"convolutional:{spec}")
    assert (sliding.spec, sliding.default_layer) == (f"convolutional:{spec}", "model.pool2/3x3_s2")
    assert _catalogue.model_files(sliding.spec) == [caffemodel]
    assert sliding.model(picture(260, 300).float()).shape == (1, 80, 2, 3)  # 8 x 9 positions, windows of 7 x 7
    with pytest.raises(
        eb.ExcitationError, match=r"names no weights, and none are bundled; expected" " paper:NAME@WEIGHTS"
    ):
        eb.load_model("paper:googlenet")
    for wrong in ("paper:", "paper:alexnet", f"paper:alexnet@{caffemodel}"):
        with pytest.raises(eb.ExcitationError, match="there are cnn-s, vgg16, googlenet"):
            eb.load_model(wrong)


def test_safetensors(tmp_path, narrow):
    _, caffemodel, _ = files(tmp_path, "cnn-s")
    first = paper.load_paper_network("cnn-s", caffemodel)
    safetensors.torch.save_model(first.model, tmp_path / "w.safetensors")
    again = eb.load_model(f"paper:cnn-s@{tmp_path / 'w.safetensors'}")
    for (name, value), (other, stored) in zip(
        first.model.named_parameters(), again.model.named_parameters(), strict=True
    ):
        assert name == other
        assert torch.equal(value, stored)
    state = safetensors.torch.load_file(tmp_path / "w.safetensors")
    for change, words in (
        ({"conv2.weight": state["conv2.weight"][1:].clone()}, r"weight of layer 'conv2' has shape .* expected"),
        ({"conv2.bias": None}, "layer 'conv2' has 'weight', weight and bias needed"),
        ({"conv2.bias": None, "conv2.weight": None}, "lacks 'conv2'"),
        ({"conv9.bias": torch.zeros(2)}, "also has 'conv9'"),
        ({"fc6.bias": torch.full_like(state["fc6.bias"], torch.nan)}, "NaN"),
        ({"fc6.bias": torch.zeros(256, dtype=torch.int64)}, "int64"),
    ):
        changed = {key: value for key, value in {**state, **change}.items() if value is not None}
        safetensors.torch.save_file(changed, tmp_path / "w.safetensors")
        with pytest.raises(eb.ExcitationError, match=words):
            paper.load_paper_network("cnn-s", tmp_path / "w.safetensors")
    (tmp_path / "w.safetensors").write_bytes(b"pickle?")
    with pytest.raises(eb.ExcitationError, match="not a whole safetensors file"):
        paper.load_paper_network("cnn-s", tmp_path / "w.safetensors")


def test_files_that_do_not_fit(tmp_path, narrow):
    _, file, blobs = files(tmp_path, "googlenet")

    def load(stored, **options):
        file.write_bytes(written(stored))
        return paper.load_paper_network("googlenet", file, **options)

    tiny = [np.zeros((4, 3), np.float32), np.zeros(4, np.float32)]
    # The auxiliary heads of the training network stay behind.
    heads = {"loss1/fc": tiny, "loss1/classifier": tiny, "loss2/conv": tiny}
    assert load({**blobs, **heads}, classes=CLASSES).model is not None
    with pytest.raises(eb.ExcitationError, match="belong to another network: the file also has 'loss4/fc'; "):
        load({**blobs, "loss4/fc": tiny})
    renamed = {name.replace("loss3/classifier", "fc_voc"): both for name, both in blobs.items()}
    with pytest.raises(eb.ExcitationError, match=r"lacks 'loss3/classifier' and also has 'fc_voc'; if .* give rename"):
        load(renamed)
    found = load(renamed, rename={"fc_voc": "loss3/classifier"}).model.get_submodule("loss3/classifier")
    np.testing.assert_array_equal(found.bias.detach().numpy(), blobs["loss3/classifier"][1])
    with pytest.raises(eb.ExcitationError, match="no layer 'loss9' with weights"):
        load(renamed, rename={"fc_voc": "loss9"})
    with pytest.raises(eb.ExcitationError, match=r"'loss3/classifier'.* has shape .*20.* expected"):
        load(blobs, classes=1000)
    with pytest.raises(eb.ExcitationError, match=r"'conv2/3x3'.* has shape"):
        load({**blobs, "conv2/3x3": tiny})
    with pytest.raises(eb.ExcitationError, match="1 blobs for it, 2 expected"):
        load({**blobs, "conv2/3x3": blobs["conv2/3x3"][:1]})
    twice = written(blobs) + written({"conv2/3x3": blobs["conv2/3x3"]})
    file.write_bytes(twice)
    with pytest.raises(eb.ExcitationError, match="holds layer 'conv2/3x3' more than once"):
        paper.load_paper_network("googlenet", file)
    with pytest.raises(eb.ExcitationError, match="classes is 0"):
        load(blobs, classes=0)
    with pytest.raises(eb.ExcitationError, match="no such file"):
        paper.load_paper_network("vgg16", tmp_path / "none.caffemodel")
    with pytest.raises(eb.ExcitationError, match=r"\.caffemodel or \.safetensors is expected"):
        paper.load_paper_network("vgg16", tmp_path / "deploy.prototxt")


def test_old_files_have_four_dimensions(tmp_path, narrow):
    _, file, blobs = files(tmp_path, "cnn-s")
    file.write_bytes(written(blobs, legacy=True))
    model = paper.load_paper_network("cnn-s", file).model
    assert model.fc8.out_features == CLASSES
    np.testing.assert_array_equal(model.fc8.weight.detach().numpy(), blobs["fc8"][0])


def test_a_mean_file_replaces_the_authors_mean(tmp_path, narrow):
    _, file, _ = files(tmp_path, "cnn-s")
    mean = np.stack([np.full((4, 4), value) for value in (10, 20, 30)])
    (tmp_path / "mean.binaryproto").write_bytes(wire.blob(mean[None], legacy=True))
    found = paper.load_paper_network("cnn-s", file, mean_file=tmp_path / "mean.binaryproto")
    assert found.preprocessing.mean == (10, 20, 30)


@pytest.mark.parametrize("name", ["cnn-s", "vgg16"])
def test_score_map_over_a_larger_picture(name, tmp_path, narrow):
    """Sec. 4.1: the classifier at every window of the last feature map, and a signal spread over all of them."""
    _, caffemodel, _ = files(tmp_path, name)
    loaded = paper.load_paper_network(name, caffemodel, dtype=torch.float64)
    sliding = eb.to_fully_convolutional(loaded)
    assert sliding.default_layer == f"model.{loaded.default_layer}"
    assert sliding.preprocessing.resize == "shortest"
    image = picture(256, 300)
    with torch.no_grad():
        score_map = sliding.model(image)
        parts = dict(loaded.model.named_children())
        cut = list(parts).index("flatten")
        layers = torch.nn.Sequential(*parts.values()).eval()
        features, classifier = layers[:cut](image), layers[cut:]
        side = 6 if name == "cnn-s" else 7
        rows, columns = features.shape[2] - side + 1, features.shape[3] - side + 1
        assert score_map.shape == (1, CLASSES, rows, columns)
        assert columns > 1
        for row in range(rows):
            for column in range(columns):
                window = features[:, :, row : row + side, column : column + side]
                assert torch.allclose(score_map[:, :, row, column], classifier(window), rtol=0, atol=1e-9)
    best = int(score_map.amax((0, 2, 3)).argmax())
    places = [(row, column) for row in range(rows) for column in range(columns)]
    signals = []
    for row, column in places:
        signal = torch.zeros(CLASSES, rows, columns, dtype=torch.float64)
        signal[best, row, column] = 1
        signals.append(signal)
    places_of_maps = ["model.pool5", sliding.default_layer]
    single = eb.explain(sliding, image, signals, layer=places_of_maps)
    # One window's walk is the classifier's own on that window.
    row, column = places[-1]
    window = features[:, :, row : row + side, column : column + side]
    alone = torch.zeros_like(single["model.pool5"][0, -1])
    alone[row : row + side, column : column + side] = eb.explain(classifier, window, [best], layer="input").maps[0, 0]
    assert torch.allclose(single["model.pool5"][0, -1], alone, rtol=0, atol=1e-12)
    flat = score_map[0, best]
    weights = {
        "response": flat.clamp(min=0) / flat.clamp(min=0).sum(),
        "softmax": (flat - flat.max()).exp() / (flat - flat.max()).exp().sum(),
        "posterior": score_map[0].softmax(0)[best] / score_map[0].softmax(0)[best].sum(),
    }
    for reading, weight in weights.items():
        found = eb.explain(sliding, image, [best], layer=places_of_maps, spatial=reading)
        for layer in places_of_maps:
            wanted = (weight.flatten()[:, None, None] * single[layer][0]).sum(0)
            assert torch.allclose(found[layer][0, 0], wanted, rtol=0, atol=1e-12), (reading, layer)
        assert float(found["model.pool5"].sum()) == pytest.approx(1, abs=1e-9)
        contrasted = eb.explain(sliding, image, [best], spatial=reading, method="c-mwp").maps
        assert float(contrasted.sum()) > 0
