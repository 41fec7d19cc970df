"""Half precision and autocast: within the bounds the documentation states, or refused; maps are float32."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from experiments.speed.precision import PRECISIONS, Errors, errors, in_precision, symbol_scenes
from torch import nn

import excitation as eb
from excitation.methods import post_process

HALF = [name for name in PRECISIONS if name != "float32"]
LARGEST = {"bfloat16": 0.15, "float16": 0.1}
"""What any position may be wrong by, of the map's largest value; a max pooling's winner that changes is most of it."""


@pytest.fixture(scope="module")
def asked():
    """The bundled network, two scenes, and the symbols that are in them."""
    return symbol_scenes(2)


def within_bounds(found, exact, kind):
    made = errors(found, exact)
    assert all(one.dtype == torch.float32 for one in found)
    assert len(made.largest) == len(exact)
    # A difference of nought would mean that the network was not run in that precision at all.
    assert 2.0**-16 < max(made.largest) < LARGEST[kind]
    assert max(made.mass) < 0.01
    assert min(made.correlation) > 0.99
    assert max(made.moved) <= 1
    return True


@pytest.mark.parametrize("kind", LARGEST)
@pytest.mark.parametrize("contrast", [{}, {"method": "c-mwp"}])
def test_maps_of_a_trained_network_under_autocast(asked, contrast, kind):
    loaded, images, targets = asked
    options = {"layer": loaded.default_layer, **contrast, "signed": bool(contrast)}
    exact = in_precision("float32", loaded.model, images, targets, **options)
    assert len(exact) > 4
    assert within_bounds(in_precision(f"{kind} by autocast", loaded.model, images, targets, **options), exact, kind)


def test_a_network_that_cannot_run_in_half_precision_is_refused(asked):
    loaded, images, _ = asked
    sentence = r"the network cannot run in torch.bfloat16 on 'cpu' \(.* not implemented .*\); run it in torch.float32"
    with pytest.raises(eb.ExcitationError, match=sentence):
        in_precision("bfloat16", loaded.model, images, [1], layer=loaded.default_layer)


@pytest.mark.parametrize("kind", LARGEST)
@pytest.mark.parametrize("contrast", [{}, {"method": "c-mwp"}])
def test_maps_of_a_trained_network_in_half_precision(shared, contrast, kind):
    folder = shared("models/squeezenet_v1.0")
    loaded = eb.load_caffe(folder / "deploy_gapfirst.prototxt", folder / "squeezenet_v1.0.caffemodel")
    jobs = sorted(shared("reference/caffe_squeezenet/inputs").glob("*sq227.npy"))[:2]
    images = torch.cat([torch.from_numpy(np.load(job)) for job in jobs])
    options = {"layer": "pool4", **contrast, "signed": bool(contrast)}
    targets = loaded.model(images).flatten(1).topk(2).indices.tolist()
    exact = in_precision("float32", loaded.model, images, targets, **options)
    assert within_bounds(in_precision(kind, loaded.model, images, targets, **options), exact, kind)


def test_the_measures_of_error():
    exact = torch.zeros(4, 5, dtype=torch.float64)
    exact[1, 2] = 2.0
    exact[3, 3] = 1.0
    other = exact.clone()
    other[3, 3] = 2.5
    empty = torch.zeros_like(exact)
    found = errors([other, exact, other], [exact, exact, empty])
    assert found == Errors(
        [0.75, 0.0], [0.5, 0.0], [pytest.approx(found.correlation[0]), pytest.approx(1.0)], [2.0, 0.0]
    )
    assert 0.5 < found.correlation[0] < 1


class Head(nn.Module):
    """A network on whose features CAM, Score-CAM and `precompute` by features all are defined."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.body = nn.Sequential(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU())
        self.top = nn.Linear(32, 10)

    def forward(self, x):
        return self.top(self.body(self.stem(x)).mean((2, 3)))


@pytest.mark.parametrize("cast", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("way", ["classes", "features", "positions"])
def test_precomputed_maps_under_autocast_equal_those_of_explain(way, cast):
    model, images = Head().eval(), torch.rand(2, 3, 16, 16)
    with torch.autocast("cpu", dtype=cast):
        every = eb.all_classes(model, images, layer="stem", strategy=way)
        for contrast in ({}, {"method": "c-mwp"}, {"against": 3}):
            found = every.maps([1, {2: 0.5, 4: 0.5}], **contrast, signed=True)
            expected = eb.explain(
                model, images, [1, {2: 0.5, 4: 0.5}], layer="stem", **contrast, signed=True
            ).maps  # fmt: skip
            assert found.dtype == expected.dtype == torch.float32
            assert float((found - expected).abs().max() / expected.abs().max()) < 1e-5


@pytest.mark.parametrize("method", ["mwp", "c-mwp", "gradient", "grad-cam", "lrp", "cam", "score-cam"])
@pytest.mark.parametrize("precision", HALF)
def test_other_methods_give_single_precision_near_the_truth(method, precision):
    model, images = Head().eval(), torch.rand(2, 3, 16, 16)
    options = {"method": method} if method == "cam" else {"method": method, "layer": "body"}
    exact = in_precision("float32", model, images, [1, 2], **options)
    found = in_precision(precision, model, images, [1, 2], **options)
    assert all(one.dtype == torch.float32 for one in found)
    assert max(errors(found, exact).largest) < 0.1


def test_blurred_under_autocast_is_not_rounded():
    maps = torch.rand(1, 2, 40, 40)
    with torch.autocast("cpu", torch.bfloat16):
        found = post_process(maps, ["blur"], (40, 40))
    assert torch.equal(found, post_process(maps, ["blur"], (40, 40)))


def test_what_float16_cannot_hold_is_refused():
    model, images = Head().eval(), torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        model.stem[0].weight.mul_(1e5)
    with pytest.raises(eb.ExcitationError, match=r"scores are NaN or infinite for image 0, 1 of the batch"):
        in_precision("float16 by autocast", model, images, [1], layer="stem")
    with torch.autocast("cpu", torch.bfloat16):
        assert bool(torch.isfinite(eb.explain(model, images, [1], layer="stem").maps).all())


def test_single_images_into_a_half_network_are_refused_with_the_remedy():
    model = Head().eval().bfloat16()
    with pytest.raises(
        eb.ExcitationError, match=r"images are torch.float32, .* convert one: images.to\(torch.bfloat16"
    ):
        eb.explain(model, torch.rand(1, 3, 16, 16), [1], layer="stem")
