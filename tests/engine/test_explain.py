"""`explain`, `audit` and `list_layers` as a caller sees them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from forked_network import NAMES, Net
from torch import nn

import excitation as eb
from excitation.models._loaded import LoadedModel

# Contrast ------------------------------------------------------------------------------------------------------------


def test_contrasts(model, images):
    plain = eb.explain(model, images, [0, 1, 2, 3], layer="pool").maps
    against = eb.explain(model, images, [0, 1], layer="pool", against=2, signed=True).maps
    assert torch.allclose(against, plain[:, :2] - plain[:, 2:3])
    crowd = eb.explain(
        model, images, [0], layer="pool", against=["African elephant", 2, 3], signed=True, class_names=NAMES
    ).maps
    assert torch.allclose(crowd[:, 0], plain[:, 0] - plain[:, 1:].mean(1))
    cut = eb.explain(model, images, [0, 1], layer="pool", against=2).maps
    assert torch.equal(cut, against.clamp(min=0))
    dual = eb.explain(model, images, [0, 1], layer="pool", method="c-mwp", signed=True).maps
    assert float(dual.sum((2, 3)).abs().max()) < 1e-12
    assert torch.equal(eb.explain(model, images, [0, 1], layer="pool", method="c-mwp").maps, dual.clamp(min=0))
    negated = Net().double().eval()
    negated.load_state_dict(model.state_dict())
    negated.fc.weight.data.neg_()
    assert torch.allclose(dual, plain[:, :2] - eb.explain(negated, images, [0, 1], layer="pool").maps)
    with pytest.raises(eb.TargetError, match="empty list of classes"):
        eb.explain(model, images, [0], layer="pool", against=[])


def test_dual_above_the_last_weighted_layer_is_refused(images):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).double().eval()
    with pytest.raises(eb.LayerError, match="choose a lower layer"):
        eb.explain(model, images, [0], layer="1", method="c-mwp")


# Layers --------------------------------------------------------------------------------------------------------------


def test_layers_of_every_kind(model, images):
    named = eb.explain(model, images, [0], layer="pool").maps
    assert torch.equal(eb.explain(model, images, [0], layer=model.pool).maps, named)
    assert torch.equal(eb.explain(model, images, [0], layer="pool:max_pool2d").maps, named)
    inner = eb.explain(model, images, [0], layer=":relu").maps
    assert inner.shape == (3, 1, 6, 10)
    several = eb.explain(model, images, [0], layer=["input", "pool", ":relu", "stem"])
    assert list(several.layers) == ["input", "pool", ":relu", "stem"]
    assert torch.allclose(several["pool"], named)
    assert torch.allclose(several[":relu"], inner)
    assert several["input"].shape == (3, 1, 12, 20)


def test_second_call_of_a_module(model, images):
    with pytest.warns(eb.BypassWarning, match=r"'relu#2' is in one branch .* join it at ':cat'.* share of the mass is"):
        second = eb.explain(model, images, [0], layer="relu#2").maps
    with pytest.warns(eb.BypassWarning):
        first = eb.explain(model, images, [0], layer="relu").maps
    whole = eb.explain(model, images, [0], layer=":cat").maps
    assert torch.allclose(first + second, whole)
    with pytest.warns(eb.BypassWarning):
        assert torch.equal(eb.explain(model, images, [0], layer="relu#1").maps, first)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("pol", "no layer 'pol'. Nearest: 'pool'"),
        ("stem.5", "no layer 'stem.5'. Nearest: 'stem"),
        ("relu#x", "no layer"),
        ("relu#3", "'relu#3' did not run in this forward pass. Nearest: 'relu"),
        (":max_pool", "did not run"),
        ("unused", "'unused' did not run"),
        ("fc", r"no spatial axes: its output is \(3, 4\)"),
        ("pair", "returns 2 tensors"),
        ("pair:chunk", "returns 2 tensors"),
        (nn.ReLU(), "not part of the model"),
        ([], "empty list of layers"),
    ],
)
def test_wrong_layers(model, images, layer, message):
    with pytest.raises(eb.ExcitationError, match=message):
        eb.explain(model, images, [0], layer=layer)


def test_list_layers(model, images):
    layers = {layer.name: layer for layer in eb.list_layers(model, images)}
    assert next(iter(layers)) == "input"
    assert layers["stem"].shape == (3, 8, 6, 10)
    assert layers["stem"].stride == (2.0, 2.0)
    assert layers["pool"].stride == (4.0, 4.0)
    assert layers["pool"].is_cut
    assert not layers["a"].is_cut
    assert layers["fc"].stride is None
    assert "unused" not in layers
    assert layers[":relu"].kind == "operation"
    for name, layer in layers.items():
        if layer.stride is not None and layer.is_cut:
            account = eb.balance(model, images, [0], layer=name)
            assert torch.allclose(account.arrived + account.lost, torch.ones(3, 1).double())
            assert float(account.bypassed.abs().max()) == 0


def test_default_layer_is_the_last_at_stride_16_below_the_classifier(images):
    torch.manual_seed(0)

    def block(i, o):
        return [nn.Conv2d(i, o, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]

    layers = [*block(3, 4), *block(4, 4), *block(4, 4), *block(4, 4), *block(4, 4)]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).double().eval()
    x = torch.rand(1, 3, 64, 96, dtype=torch.float64)
    full = eb.explain(model, x, [0])
    assert full.layers == ("13",)
    assert full.maps.shape == (1, 1, 4, 6)
    assert full.strides["13"] == (16.0, 16.0)
    small = eb.explain(model[:6].append(nn.AdaptiveAvgPool2d(1)).append(nn.Flatten()), x, [0])
    assert small.layers == ("3",) or next(iter(small.strides.values())) == (2.0, 2.0)
    with pytest.raises(eb.LayerError, match="name one"):
        eb.explain(nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 2)).double().eval(), x[..., :4, :4], [0])


def test_loaded_models_bring_their_own(model, images):
    loaded = LoadedModel(model, "test:net", class_names=NAMES, default_layer="pool")
    assert torch.equal(eb.explain(loaded, images, ["zebra"]).maps, eb.explain(model, images, [0], layer="pool").maps)
    assert torch.equal(
        eb.explain(loaded, images, ["zebra"], layer="stem").maps, eb.explain(model, images, [0], layer="stem").maps
    )


# Sizes, batches, precisions ------------------------------------------------------------------------------------------


def test_raw_resized_and_scaled(model, images):
    raw = eb.explain(model, images, [0, 1], layer="pool").maps
    assert torch.allclose(raw.sum((2, 3)), torch.ones(3, 2).double())
    assert eb.explain(model, images, [0], layer="pool").resized().maps.shape == (3, 1, 12, 20)
    resized = eb.explain(model, images, [0, 1], layer="pool").resized((30, 40)).maps
    assert torch.equal(resized, F.interpolate(raw, (30, 40), mode="bicubic"))
    scaled = eb.explain(model, images, [0, 1], layer="pool").normalized("max").maps
    assert torch.allclose(scaled, raw / raw.amax((2, 3), keepdim=True))
    summed = eb.explain(model, images, [0, 1], layer="pool").resized().normalized("sum").maps
    assert torch.allclose(summed.abs().sum((2, 3)), torch.ones(3, 2).double())
    with pytest.raises(eb.ExcitationError, match=r"size is \(3,\); .*\(height, width\) is expected"):
        eb.explain(model, images, [0], layer="pool").resized((3,))


def test_one_and_three_dimensions():
    torch.manual_seed(0)
    line = (
        nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.AvgPool1d(2), nn.Flatten(), nn.Linear(4 * 7, 3)).double().eval()
    )
    x = torch.rand(2, 2, 16, dtype=torch.float64)
    assert eb.explain(line, x, [0], layer="1").resized().maps.shape == (2, 1, 16)
    block = (
        nn.Sequential(nn.Conv3d(1, 4, 3), nn.ReLU(), nn.AdaptiveMaxPool3d(1), nn.Flatten(), nn.Linear(4, 3))
        .double()
        .eval()
    )
    x = torch.rand(2, 1, 6, 7, 8, dtype=torch.float64)
    maps = eb.explain(block, x, [0, 1], layer="1").maps
    assert maps.shape == (2, 2, 4, 5, 6)
    assert torch.allclose(maps.sum((2, 3, 4)), torch.ones(2, 2).double())


def test_batch_equals_one_by_one(model, images):
    together = eb.explain(model, images, [0, 1, 2], layer="stem", method="c-mwp", signed=True).maps
    for i in range(3):
        alone = eb.explain(model, images[i : i + 1], [0, 1, 2], layer="stem", method="c-mwp", signed=True).maps
        assert torch.allclose(together[i], alone[0], atol=1e-14)


def test_precisions(images):
    torch.manual_seed(0)
    model = Net().double().eval()
    exact = eb.explain(model, images, [0, 1], layer="pool").maps
    single = eb.explain(model.float(), images.float(), [0, 1], layer="pool").maps
    assert single.dtype == torch.float32
    assert torch.allclose(single.double(), exact, atol=1e-6)
    half = eb.explain(model.bfloat16(), images.bfloat16(), [0, 1], layer="pool").maps
    assert half.dtype == torch.float32
    assert torch.allclose(half.sum((2, 3)), torch.ones(3, 2), atol=1e-5)
    assert torch.allclose(half.double(), exact, atol=0.05)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = eb.explain(model.float(), images.float(), [0, 1], layer="pool").maps
    assert mixed.dtype == torch.float32
    assert torch.allclose(mixed.sum((2, 3)), torch.ones(3, 2), atol=1e-5)


def test_no_gradient_and_no_change_of_the_images(model, images):
    wanted = images.clone().requires_grad_()
    maps = eb.explain(model, wanted, [0], layer="pool").maps
    assert not maps.requires_grad
    assert wanted.grad is None


# Bad input -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:0], "the batch is empty"),
        (lambda x: x.float(), r"images are torch.float32, the model's parameters torch.float64"),
        (lambda x: x * float("nan"), "NaN or infinite for image 0, 1, 2"),
        (lambda x: torch.cat([x[:1], x[1:2] / 0, x[2:]]), "NaN or infinite for image 1 of"),
        (lambda x: x[:, :2], r"a convolution met 2 channels where its weights have 3"),
        (lambda x: x.to("meta"), "images are on meta, the model on cpu"),
    ],
)
def test_wrong_images(model, images, change, message):
    with pytest.raises(eb.ExcitationError, match=message):
        eb.explain(model, change(images), [0], layer="pool")


def test_infinite_activations_are_found_even_where_scores_are_finite(images):
    class Clipped(nn.Module):
        def forward(self, x):
            return F.hardtanh(F.relu((x + 1) * 1e308 * 10).mean((2, 3)), 0, 1)

    with pytest.raises(eb.ExcitationError, match="not finite"):
        eb.explain(Clipped().eval(), images, [0], layer="input")


def test_wrong_model_and_wrong_scores(images):
    for model, message in (
        (nn.Sequential(nn.Conv2d(3, 1, 1), nn.Flatten(0)).double(), "the class scores have shape"),
        (nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(0, 1)).double(), "the class scores have shape"),
    ):
        with pytest.raises(eb.ExcitationError, match=message):
            eb.explain(model.eval(), images, [0], layer="input")


def test_scores_that_do_not_depend_on_the_layer(images):
    class Deaf(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)

        def forward(self, x):
            self.a(x)
            return self.b(x).mean((2, 3))

    with pytest.raises(eb.ExcitationError, match="do not depend on layer"):
        eb.explain(Deaf().double().eval(), images, [0], layer="a")
    with pytest.raises(eb.ExcitationError, match="do not depend on layer"):
        eb.explain(Deaf().double().eval(), images, [0], layer=["a", "input"])


# Audit ---------------------------------------------------------------------------------------------------------------


def test_audit_balances_at_every_operation_and_every_cut(model, images):
    for layer in ("pool", "stem", "input", ":cat"):
        account = eb.balance(model, images, [0, 1], layer=layer)
        assert account.is_cut
        for row in account.rows:
            assert torch.allclose(row.entered, row.passed + row.lost + row.bypassed, atol=1e-14)
        assert torch.allclose(account.arrived + account.lost, account.top, atol=1e-12)
        assert torch.allclose(account.share, account.arrived)
        assert float(account.residue.abs().max()) < 1e-12
    assert eb.balance(model, images, [0], layer="pool").rows[0].address == "fc:linear"


@pytest.mark.filterwarnings("ignore::excitation.BypassWarning")
def test_audit_of_one_arm(model, images):
    account = eb.balance(model, images, [0], layer="a")
    assert not account.is_cut
    assert float(account.bypassed.min()) > 0
    assert torch.allclose(account.arrived + account.bypassed + account.lost, torch.ones(3, 1).double())
    other = eb.balance(model, images, [0], layer="b")
    assert torch.allclose(account.arrived, other.bypassed, atol=1e-12)
    text = str(account)
    assert "one branch" in text
    assert ":cat" in text


def test_audit_of_a_contrast(model, images):
    account = eb.balance(model, images, [0], layer="stem", method="c-mwp")
    assert float(account.top.abs().max()) == 0
    assert float((account.arrived + account.lost).abs().max()) < 1e-12
    assert float(account.negative.max()) < 0


# Wrong types: the shape checks of the tests would answer first, so these run without them -------------------------

WRONG_TYPES = {
    "eb.explain(model, images, [True], layer='0')": "is a bool; give a class index",
    "eb.explain(model, images, [1.5], layer='0')": "is a float; give a class index",
    "eb.explain(model, images, [None], layer='0')": "is a NoneType; give a class index",
    "eb.explain(model, images, None, layer='0')": "targets are None; give a list",
    "eb.explain(model, images, [lambda s: 3], layer='0')": "returned int; it must return a tensor",
    "eb.explain(model, images, [0], layer=3)": "layer is 3; give a module",
    "eb.explain(model, images, [0], layer='0', spatial='loud')": "choose one of 'response', 'softmax', 'posterior'",
    "eb.explain(model, images, [0], layer='0').normalized('min')": "choose one of 'max', 'sum'",
    "eb.explain(model, images[0, 0], [0], layer='0')": "add the image dimension with images[None]",
    "eb.explain(model, (images * 255).byte(), [0], layer='0')": "preprocessed floating-point images",
    "eb.explain(model, images.numpy(), [0], layer='0')": "images are a ndarray; a tensor",
    "eb.explain(lambda x: x, images, [0], layer='0')": "model is a function; a torch.nn.Module is expected",
    "eb.explain('model.pt', images, [0])": "model is a str; a torch.nn.Module is expected",
    "eb.Policies(residual='half')": "choose one of 'proportional', 'branch', 'original'",
    "eb.Policies(threshold=2.0)": "0 <= t < 1",
    "eb.balance(model, images, [0], layer=['0', '1'])": "a balance is made for one layer",
}


def test_wrong_types_get_one_clear_sentence():
    code = """
import json, sys, torch, excitation as eb
model = torch.nn.Sequential(
    torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
)
model, images, found = model.eval(), torch.rand(2, 3, 8, 8), {}
for call in json.load(sys.stdin):
    try:
        eval(call)
        found[call] = "no error"
    except (eb.ExcitationError, TypeError, ValueError) as error:
        found[call] = str(error)
print(json.dumps(found))
"""
    calls = json.dumps(list(WRONG_TYPES))
    done = subprocess.run([sys.executable, "-c", code], input=calls, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    for call, message in WRONG_TYPES.items():
        assert message in found[call], call
        assert "\n" not in found[call]


def test_other_methods_take_the_same_arguments(model, images):
    by_name = eb.explain(model, images, [0, 2], layer=["pool", "stem"], method="mwp")
    assert by_name.layers == ("pool", "stem")
    assert torch.equal(by_name["pool"], eb.explain(model, images, [0, 2], layer="pool").maps)
    lists = eb.explain(model, images, [[0], [1, 2], [3]], layer="pool", method="gradient").normalized("max").per_image()
    assert [tuple(found.shape[:1]) for found in lists] == [(1,), (2,), (1,)]
    assert float(lists[1].amax()) == pytest.approx(1)
    assert eb.explain(model, images, [0], layer="pool", method="gradient").resized((20, 30)).maps.shape[2:] == (20, 30)
    with pytest.raises(eb.ExcitationError, match="'gradient' has no option 'against'"):
        eb.explain(model, images, [0], method="gradient", against=1)
    with pytest.raises(eb.ExcitationError, match="no option 'depth'"):
        eb.explain(model, images, [0], layer="pool", method="gradient", depth=2)
    with pytest.raises(eb.ExcitationError, match="has no option 'lyer'"):
        eb.explain(model, images, [0], lyer="conv2")


def test_a_forgotten_image_dimension_is_named():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()
    with pytest.raises(eb.ExcitationError, match=r"\(3, 8, 8\).*images\[None\]"):
        eb.explain(model, torch.rand(3, 8, 8), [0])
