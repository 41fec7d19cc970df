"""The one way in: settings, images as people have them, targets in every form, and what the result can be asked."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import excitation as eb

NAMES = ("zebra, horse with stripes", "cat", "dog", "hen")


@pytest.fixture
def model():
    torch.manual_seed(3)
    steps = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*steps, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)).eval()


@pytest.fixture
def images():
    return torch.rand(3, 3, 24, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def loaded(model):
    preprocessing = eb.Preprocessing(size=(24, 24), resize="crop", resize_to=24)
    return eb.LoadedModel(model, "test", preprocessing, NAMES, default_layer="2")


def counted(model):
    """How often the network ran on more than nothing."""
    calls: list[int] = []
    model.register_forward_pre_hook(lambda _, inputs: calls.append(len(inputs[0])))
    return calls


# Doors ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["mwp", "c-mwp", "r-mwp", "gradient", "grad-cam", "lrp"])
def test_every_method_gives_an_explanation(model, images, method):
    result = eb.explain(model, images, [1, 2], layer="2", method=method)
    assert isinstance(result, eb.Explanation)
    assert result.maps.shape == (3, 2, 6, 8)
    assert (result.layer, result.layers, result.method) == ("2", ("2",), method)
    assert torch.allclose(result.scores, model(images)[:, [1, 2]], atol=1e-6)
    assert torch.equal(result.maps, eb.find_method(method)(model, images, [1, 2], layer="2"))


def test_explainer_is_explain_with_its_settings_kept(model, images):
    explainer = eb.Explainer(model, layer=["2", "4"], method="c-mwp", signed=True, class_names=NAMES)
    result = explainer(images, ["cat"])
    alone = eb.explain(model, images, ["cat"], layer=["2", "4"], method="c-mwp", signed=True, class_names=NAMES)
    for layer in ("2", "4"):
        assert torch.equal(result[layer], alone[layer])
        assert torch.equal(result.at(layer).maps, alone[layer])
    assert repr(explainer).startswith("Explainer(Sequential, layer=('2', '4'), method='c-mwp', class_names=")
    assert explainer.settings.options == {"signed": True}
    with pytest.raises(AttributeError):
        explainer.settings.layer = "4"


def test_one_forward_pass_for_any_number_of_layers_and_targets(model, images):
    for method in ("mwp", "c-mwp", "r-mwp"):
        calls = counted(model)
        eb.explain(model, images, [0, 1, 2], layer=["2", "4"], method=method)
        assert calls == [3], method


def test_all_doors_agree(model, images):
    for method in ("mwp", "c-mwp", "r-mwp"):
        explainer = eb.Explainer(model, layer="2", method=method)
        maps = explainer(images, [1, 3]).maps
        assert torch.allclose(explainer.all_classes(images).maps([1, 3]), maps, atol=1e-6)
        assert torch.equal(explainer.cuda_graph(images.flip(0), [0, 2])(images, [1, 3]).maps, maps)
    balance = eb.Explainer(model, layer="2").balance(images, [1, 3])
    assert torch.allclose(balance.arrived, eb.explain(model, images, [1, 3], layer="2").maps.double().sum((2, 3)))
    assert torch.allclose(balance.top, balance.arrived + balance.lost + balance.bypassed, atol=1e-6)


def test_a_rival_of_ones_own_choice(model, images):
    mwp = eb.explain(model, images, [0, 1, 2], layer="2").maps
    found = eb.explain(model, images, [0], layer="2", against=[1, 2], signed=True).maps
    assert torch.allclose(found, mwp[:, :1] - mwp[:, 1:].mean(1, keepdim=True), atol=1e-6)
    assert torch.equal(eb.explain(model, images, [0], layer="2", against=[1, 2]).maps, found.clamp(min=0))


@pytest.mark.parametrize(
    ("written", "name"), [("gradcam", "grad-cam"), ("cMWP", "c-mwp"), ("Grad CAM++", "grad-cam++"), ("eb", "mwp")]
)
def test_method_names_without_hyphens(written, name):
    assert eb.find_method(written).name == name


def test_names_that_differ_by_a_hyphen_alone_are_told_apart():
    assert {eb.find_method("clrp").name, eb.find_method("c-lrp").name} == {"clrp", "c-lrp"}
    with pytest.raises(eb.ExcitationError, match="'c_lrp' can be "):
        eb.find_method("c_lrp")


# Targets --------------------------------------------------------------------------------------------------------------


def test_a_list_is_for_every_image_and_a_tensor_for_each(model, images):
    every = eb.explain(model, images, [0, 1, 2], layer="2", class_names=NAMES)
    assert every.maps.shape[:2] == (3, 3)
    assert every.targets == (("zebra", "cat", "dog"),) * 3
    assert "3 images x 3 targets (zebra, cat, dog)" in repr(every)
    for each in (torch.tensor([0, 1, 2]), np.array([0, 1, 2]), [[0], [1], [2]]):
        one = eb.explain(model, images, each, layer="2", class_names=NAMES)
        assert one.targets == (("zebra",), ("cat",), ("dog",))
        assert "3 images x 1 target at 2" in repr(one)
        assert torch.allclose(one.maps[:, 0], every.maps[range(3), range(3)])


@pytest.mark.parametrize("method", ["mwp", "r-mwp", "gradient"])
def test_the_best_classes(model, images, method):
    order = model(images).argsort(1, descending=True)
    result = eb.explain(model, images, "top2", layer="2", method=method, class_names=NAMES)
    lists = [row[:2].tolist() for row in order]
    assert torch.equal(result.maps, eb.explain(model, images, lists, layer="2", method=method).maps)
    assert result.targets == tuple(tuple(NAMES[i].partition(",")[0] for i in row) for row in lists)
    both = eb.explain(model, images, ["top1", 3], layer="2", method=method)
    assert torch.equal(both.maps[:, 0], result.maps[:, 0])


def test_the_best_classes_of_a_score_map(images):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1), nn.ReLU()).eval()
    best = model(images).mean((2, 3)).argmax(1)
    found = eb.explain(model, images, "top1", layer="0", spatial="softmax").maps
    assert torch.allclose(found, eb.explain(model, images, best, layer="0", spatial="softmax").maps)


# Pictures -------------------------------------------------------------------------------------------------------------


def picture(height, width, seed=0):
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def test_pictures_in_every_form_are_the_tensor_made_of_them(loaded, tmp_path):
    one = picture(30, 40)
    one.save(tmp_path / "one.png")
    wanted = eb.explain(loaded, loaded.preprocessing(one)[None], ["dog"]).maps
    for form in (one, str(tmp_path / "one.png"), tmp_path / "one.png", np.asarray(one), [one]):
        assert torch.equal(eb.explain(loaded, form, ["dog"]).maps, wanted)
    assert torch.allclose(eb.explain(loaded, [one, one], ["dog"]).maps, wanted.expand(2, -1, -1, -1), atol=1e-6)
    assert torch.allclose(
        eb.Explainer(loaded, method="r-mwp").all_classes(one).maps(["dog"]),
        eb.explain(loaded, one, ["dog"], method="r-mwp").maps,
        atol=1e-6,
    )


def test_sizes_may_differ_and_come_back_in_order(model):
    loaded = eb.LoadedModel(model, "test", eb.Preprocessing(size=(24, 24), resize="shortest"), NAMES, default_layer="2")
    pictures = [picture(30, 40), picture(60, 30, 1), picture(30, 40, 2)]
    calls = counted(model)
    result = eb.explain(loaded, pictures, [["cat"], ["dog", "hen"], ["zebra"]], method="c-mwp")
    assert sorted(calls) == [1, 2]  # those of one size together
    assert result.targets == (("cat",), ("dog", "hen"), ("zebra",))
    for i, (one, targets) in enumerate(zip(pictures, result.targets, strict=True)):
        alone = eb.explain(loaded, one, list(targets), method="c-mwp")
        assert torch.allclose(result.per_image()[i], alone.maps[0], atol=1e-6)
        assert torch.allclose(result.scores[i, : len(targets)], alone.scores[0], atol=1e-5)
        assert torch.equal(result.peaks()[i, : len(targets)], alone.peaks()[0])
    with pytest.raises(eb.ExcitationError, match=r"different sizes \(6 x 8, 12 x 6\).*per_image"):
        _ = result.maps
    assert [tuple(item.shape[1:]) for item in result.resized().per_image()] == [(30, 40), (60, 30), (30, 40)]


class Bright(nn.Module):
    """A class whose evidence is brightness, seen at each pixel."""

    def __init__(self):
        super().__init__()
        self.see = nn.Conv2d(3, 1, 1)
        nn.init.ones_(self.see.weight)
        nn.init.constant_(self.see.bias, -0.5)

    def forward(self, x):
        return torch.relu(self.see(x)).mean((2, 3))


@pytest.mark.parametrize("manner", ["shortest", "squash", "crop"])
@pytest.mark.parametrize("size", [(40, 80), (90, 48)])
def test_peaks_and_boxes_are_in_the_pictures_pixels(manner, size):
    height, width = size
    values = np.zeros((*size, 3), dtype=np.uint8)
    top, left = height // 2 - 12, width // 2 - 10
    values[top : top + 8, left : left + 8] = 255
    loaded = eb.LoadedModel(Bright().eval(), "bright", eb.Preprocessing(size=(32, 32), resize=manner))
    result = eb.explain(loaded, values, 0, layer="input")
    x, y = result.peaks()[0, 0].tolist()
    assert left - 1 <= x <= left + 8
    assert top - 1 <= y <= top + 8
    (box,) = result.boxes(alpha=2.0)[0].tolist()
    for side, edge in zip(box, (left, top, left + 8, top + 8), strict=True):
        assert abs(side - edge) <= 4
    whole = result.resized()
    assert whole.maps.shape == (1, 1, *size)
    place = int(whole.maps[0, 0].argmax())
    assert (place % width, place // width) == (x, y)
    if manner == "crop" and width > height:
        assert float(whole.maps[..., : (width - height) // 2 - 1].abs().max()) == 0  # what the network did not see


# Results --------------------------------------------------------------------------------------------------------------


def test_an_empty_map_points_nowhere(model, images):
    with pytest.warns(eb.EmptyMapWarning):
        result = eb.explain(model, images, [torch.zeros(4)], layer="2")
    assert result.peaks().tolist() == [[[-1, -1]]] * 3
    assert bool(result.boxes(alpha=1.0).isnan().all())


def test_resized_and_normalized(model, images):
    result = eb.explain(model, images, [0, 1], layer="2", method="c-mwp", signed=True)
    assert result.resized().maps.shape == (3, 2, 24, 32)
    assert result.resized((5, 7)).maps.shape == (3, 2, 5, 7)
    assert torch.allclose(result.normalized().maps.abs().amax((2, 3)), torch.ones(3, 2))
    assert torch.allclose(result.resized().normalized("sum").maps.abs().sum((2, 3)), torch.ones(3, 2), atol=1e-5)
    assert result.resized().targets == result.targets


def test_balance_comes_when_it_is_asked_for(model, images):
    calls = counted(model)
    result = eb.explain(model, images, [1], layer="2")
    assert calls == [3]
    assert torch.allclose(result.balance.arrived, result.maps.double().sum((2, 3)))
    assert result.balance is result.balance
    assert calls == [3, 3]
    assert "bypassed" in str(result.balance)


def test_results_travel_without_the_network(model, images):
    result = eb.explain(model, images, [1], layer="2")
    again = pickle.loads(pickle.dumps(result))
    assert torch.equal(again.maps, result.maps)
    assert repr(again) == repr(result)
    with pytest.raises(eb.ExcitationError, match="has no mass balance here"):
        _ = again.balance


def test_objects_say_what_they_are(model, images):
    explainer = eb.Explainer(model, layer="2")
    assert repr(explainer.all_classes(images)).startswith("ClassMaps(MWP and c-MWP of 3 images x 4 classes at 2 6 x 8")
    assert repr(explainer.cuda_graph(images, [0, 1])).startswith("CudaGraph(mwp, images (3, 3, 24, 32) in float32")


def test_models_are_listed():
    assert {"lite", "symbols[:NAME]", "onnx:FILE"} <= set(eb.list_models())
