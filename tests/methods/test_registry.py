"""All methods by one call; the documentation's table; the centre; post-processing."""

from __future__ import annotations

import pytest
import torch
from method_networks import deep, pooled
from scipy import ndimage
from tests.conftest import document

import excitation as eb
from excitation.methods import STEPS, blur, enlarge, find_method, list_methods, methods_table, post_process

CHEAP = {"rise": {"samples": 3}, "integrated-gradients": {"samples": 2}, "smoothgrad": {"samples": 2},
         "feedback": {"iterations": 2}, "sampled-winners": {"walks": 3}}  # fmt: skip
NAMES = [item.name for item in list_methods()]


def test_every_method_of_the_paper_is_there():
    paper = {"mwp", "c-mwp", "eb-without-norm", "eb-post-norm", "gradient", "deconv", "lrp", "cam", "feedback",
             "selective-tuning", "sampled-winners", "centre", "c-gradient", "c-deconv", "c-cam"}  # fmt: skip
    peers = {"deconvnet", "grad-cam", "grad-cam++", "layer-cam", "score-cam", "input-x-gradient",
             "integrated-gradients", "smoothgrad", "rise", "r-mwp", "c-lrp", "clrp", "sglrp"}  # fmt: skip
    assert paper | peers <= set(NAMES)
    assert len(NAMES) == len(set(NAMES))
    for item in list_methods():
        assert item.sentence.endswith(".")
        assert item.source
        assert item.cost
        assert item.needs
        assert set(item.steps) <= set(STEPS)
    assert find_method("guided-backprop") is find_method("deconv")


@pytest.mark.parametrize("name", NAMES)
def test_one_call_for_all(name, images, untouched):
    """Several targets of every kind on a batch, as on each image alone; single precision; the model untouched."""
    model = pooled(1)
    check = untouched(model)
    method, options = find_method(name), CHEAP.get(name, {})
    names = ["ant", "bee", "cat", "dog", "elk"]
    targets = [0, "dog", {"bee": 0.5, 4: 0.5}]
    found = method(model, images, targets, class_names=names, **options)
    check()
    assert found.dtype == torch.float64
    assert found.shape[:2] == (3, 3)
    assert found.dim() == 4
    if name != "sampled-winners":  # whose draws go on from image to image
        for b in range(3):
            alone = method(model, images[b : b + 1], ["dog"], class_names=names, **options)
            assert torch.allclose(alone[0, 0], found[b, 1], rtol=1e-8, atol=1e-12)
    uneven = method(model, images, [[0], [3, 1], [2]], **options)
    assert uneven.shape[1] == 2
    assert float(uneven[0, 1].abs().max()) == float(uneven[2, 1].abs().max()) == 0
    single = method(model.float(), images.float(), torch.eye(5)[3], **options)
    assert single.dtype == torch.float32
    if name not in {"sampled-winners", "c-gradient"}:
        assert torch.allclose(single[:, 0].double(), found[:, 1], rtol=1e-3, atol=1e-3 * float(found.abs().max()))
    with torch.inference_mode():
        inside = method(model, images.float().clone(), [3], **options)
    assert torch.allclose(inside, single, rtol=1e-4, atol=1e-6)


WRONG = {
    "smoothgrad": [
        ({"samples": 2.5}, "samples is 2.5; a whole number"), ({"noise": -1.0}, "noise is -1.0; zero or more"),
        ({"noise": "much"}, "noise is 'much'; a finite number"),
    ],
    "feedback": [({"iterations": True}, "iterations is True"), ({"rate": float("nan")}, "rate is nan; a finite")],
    "lrp": [({"gamma": "a"}, "gamma is 'a'; a finite number"), ({"biases": 1}, "biases is 1; True or False")],
    "score-cam": [({"batch": 0}, "batch is 0; at least one"), ({"batch": 2.5}, "batch is 2.5")],
    "r-mwp": [({"policies": "original"}, r"policies are 'original', a str; excitation.Policies\(...\) are expected")],
    "sampled-winners": [({"walks": 2.5}, "walks is 2.5")],
    "gradient": [({"channels": "most"}, "choose one of 'max', 'mean'")],
}  # fmt: skip


@pytest.mark.parametrize(("name", "options", "sentence"), [(n, *case) for n, cases in WRONG.items() for case in cases])
def test_wrong_options_are_refused_by_a_sentence(name, options, sentence, images):
    with pytest.raises(eb.ExcitationError, match=sentence):
        find_method(name)(pooled(), images, [1], **options)


@pytest.mark.parametrize("name", sorted({*NAMES} - {"centre"}))
def test_wrong_classes_are_refused(name, images):
    with pytest.raises(eb.TargetError, match="target 9 is not a class"):
        find_method(name)(pooled(), images, [9], **CHEAP.get(name, {}))


@pytest.mark.parametrize("space", [1, 3])
@pytest.mark.parametrize("name", ["mwp", "c-mwp", "r-mwp", "gradient", "c-deconv", "lrp", "grad-cam", "cam", "feedback",
                                  "selective-tuning", "sampled-winners", "smoothgrad", "centre"])  # fmt: skip
def test_sound_and_volumes(name, space):
    conv = {1: torch.nn.Conv1d, 3: torch.nn.Conv3d}[space]
    pool = {1: torch.nn.AdaptiveAvgPool1d, 3: torch.nn.AdaptiveAvgPool3d}[space]
    torch.manual_seed(0)
    model = torch.nn.Sequential(conv(2, 4, 3), torch.nn.ReLU(), pool(1), torch.nn.Flatten(), torch.nn.Linear(4, 3))
    images = torch.rand(2, 2, *(6,) * space)
    found = find_method(name)(model.eval(), images, [0, 2], **CHEAP.get(name, {}))
    assert found.dim() == 2 + space
    assert found.shape[:2] == (2, 2)


def test_loaded_models_bring_their_names_and_output(images):
    from excitation.models._loaded import LoadedModel

    class Pair(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = deep(0)

        def forward(self, x):
            return {"scores": self.net(x), "other": x.mean((2, 3))}

    loaded = LoadedModel(Pair().eval(), "here", class_names=["a", "b", "c", "d", "e", "f"], default_layer="net.5",
                         output="scores")  # fmt: skip
    found = find_method("gradient")(loaded, images, ["c"])
    assert torch.allclose(found, find_method("gradient")(deep(0), images, [2]))
    found = find_method("mwp")(loaded, images, ["c"])
    assert torch.allclose(found, eb.explain(deep(0), images, [2], layer="5").maps)
    found = find_method("eb-post-norm")(loaded, images, ["c"])
    assert torch.allclose(found, find_method("eb-post-norm")(deep(0), images, [2], layer="5"))


def test_the_documentation_shows_the_registry():
    text = document("methods.md").read_text(encoding="utf-8")
    assert methods_table() in text


def test_centre(images):
    found = find_method("centre")(pooled(), images[..., :15], [0, 1])
    assert found.shape == (3, 2, 20, 15)
    assert divmod(int(found[0, 0].argmax()), 15) == (10, 7)
    assert (found[0, 0] == found[0, 0].max()).sum() == 1
    assert found.sum((2, 3)).flatten().tolist() == pytest.approx([1] * 6)
    assert find_method("center")(pooled(), images, [0], layer="2").shape == (3, 1, 10, 10)


@pytest.mark.parametrize("size", [(40, 25), (25, 60)])
def test_blur_is_a_gaussian_of_the_papers_width(size):
    maps = torch.rand(2, 3, *size, dtype=torch.float64)
    truth = ndimage.gaussian_filter(maps.numpy(), (0, 0, *(0.02 * max(size),) * 2), mode="nearest", truncate=8)
    assert torch.allclose(blur(maps), torch.from_numpy(truth), atol=1e-4)
    wide = ndimage.gaussian_filter(maps.numpy(), (0, 0, 3, 3), mode="nearest", truncate=8)
    assert torch.allclose(blur(maps, sigma=3 / max(size)), torch.from_numpy(wide), atol=1e-4)
    assert torch.equal(blur(maps, sigma=0.0), maps)
    flat = torch.full((1, 1, 30, 30), 2.0)
    assert torch.allclose(blur(flat), flat)


def test_steps_by_name(images):
    model = deep()
    maps = eb.explain(model, images, [0], layer="5").maps
    found = post_process(maps, find_method("mwp").steps, (20, 20))
    assert torch.equal(found, eb.explain(model, images, [0], layer="5").resized().maps)
    assert torch.equal(found, enlarge(maps, (20, 20)))
    assert torch.equal(post_process(maps, ["bicubic", "blur"], (20, 20)), blur(found))
    # The paper blurs Grad, Deconv and LRP (Sec. 4.1); so is here what is made like them.
    smoothed = {item.name for item in list_methods() if "blur" in item.steps}
    assert {"gradient", "deconv"} | {name for name in NAMES if name.startswith("lrp")} <= smoothed
    assert {item.family for item in list_methods() if item.name in smoothed} <= {"gradient", "relevance", "selection"}
    assert all(item.steps in {("blur",), ("bicubic",)} for item in list_methods())
    with pytest.raises(eb.ExcitationError, match="unknown step 'sharpen'"):
        post_process(maps, ["sharpen"], (20, 20))
