"""Heads that classify positions and pool afterwards, re-ordered."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from head_networks import Callable
from torch import nn

import excitation as eb
from excitation.models import LoadedModel, ModelError, Preprocessing, pool_first

POOLS = {
    "global": nn.AdaptiveAvgPool2d(1),
    "flattened": nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    "mean": Callable(lambda x: x.mean((2, 3))),
    "kept": Callable(lambda x: torch.mean(x, dim=[-1, -2], keepdim=True).squeeze(-1).squeeze(-1)),
    "window": Callable(lambda x: F.avg_pool2d(x, x.shape[2:])),
    "probabilities": nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Softmax(1)),
}


def network(pool, between=(), classify=None):
    torch.manual_seed(0)
    classify = nn.Conv2d(6, 5, 1) if classify is None else classify
    parts = [nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Dropout(0.5), classify, *between, pool]
    return nn.Sequential(*parts).double().eval()


def by_hand(model, x):
    """Mean of the features, then the classifier's matrix."""
    features = model[1](model[0](x)).mean((2, 3))
    classify = next(part for part in list(model)[2:] if isinstance(part, nn.Conv2d))
    scores = features @ classify.weight[:, :, 0, 0].T
    return scores if classify.bias is None else scores + classify.bias


@pytest.mark.parametrize("between", [(), (nn.ReLU(),), (nn.ReLU(inplace=True), nn.Dropout(0.2))])
@pytest.mark.parametrize("pool", POOLS)
def test_scores_are_those_of_averaged_features(pool, between):
    model = network(POOLS[pool], between)
    reordered = pool_first(model, (8, 9))
    for size in ((8, 9), (13, 11)):
        x = torch.randn(2, 3, *size, dtype=torch.float64)
        expected = by_hand(model, x)
        found = reordered(x)
        assert found.shape == model(x).shape
        if pool == "probabilities":
            expected = expected.softmax(1)
        assert torch.allclose(found.flatten(1), expected, rtol=0, atol=1e-12)
        # Without a ReLU the two orders commute; with one they must not agree, or nothing was tested.
        assert torch.allclose(found, model(x), rtol=0, atol=1e-12) == (not between)


def test_padding_and_bias_of_the_classifier():
    x = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    padded = network(POOLS["global"], (nn.ReLU(),), nn.Conv2d(6, 5, 1, padding=1))
    assert torch.allclose(pool_first(padded, (8, 8))(x).flatten(1), by_hand(padded, x), rtol=0, atol=1e-12)
    plain = network(POOLS["global"], (nn.ReLU(),), nn.Conv2d(6, 5, 1, bias=False))
    assert torch.allclose(pool_first(plain, (8, 8))(x).flatten(1), by_hand(plain, x), rtol=0, atol=1e-12)


def test_the_original_stays_and_weights_are_shared():
    model = network(POOLS["global"], (nn.ReLU(),))
    x = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    before = model(x)
    reordered = pool_first(model, (8, 8))
    assert torch.equal(model(x), before)
    with torch.no_grad():
        model[3].bias.add_(1)
    assert torch.allclose(reordered(x).flatten(1), by_hand(model, x), rtol=0, atol=1e-12)
    state = {name: torch.randn_like(value) for name, value in model.state_dict().items()}
    model.load_state_dict(state, assign=True)  # other tensors in their place
    assert torch.allclose(reordered(x).flatten(1), by_hand(model, x), rtol=0, atol=1e-12)
    assert [name for name, _ in reordered.named_parameters()] == [f"model.{n}" for n, _ in model.named_parameters()]


def test_contrast_tells_places_apart_only_afterwards():
    """Two features, each in its half; class 0 is for the first and against the second."""
    model = network(POOLS["global"], classify=nn.Conv2d(6, 5, 1, bias=False))
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.zero_()
        model[0].weight[0, 0, 1, 1] = model[0].weight[1, 1, 1, 1] = 1
        model[3].weight.zero_()
        model[3].weight[0, :2, 0, 0] = torch.tensor([2.0, -1.0])
    x = torch.zeros(1, 3, 8, 10, dtype=torch.float64)
    x[:, 0, :, :5] = 1
    x[:, 1, :, 5:] = 1
    left, right = (
        eb.explain(pool_first(model, (8, 10)), x, [0], layer="model.0", method="c-mwp", signed=True)
        .maps[0, 0]
        .split(4, 1)
    )
    # The winner goes left with certainty, the dual's right.
    assert float(left.sum()) == pytest.approx(1, abs=1e-12)
    assert float(right.sum()) == pytest.approx(-1, abs=1e-12)
    plain = eb.explain(pool_first(model, (8, 10)), x, [0], layer="model.0").maps
    assert float(plain.sum()) == pytest.approx(1, abs=1e-12)


def test_by_spec():
    loaded = eb.load_model("pool-first:test_pool_first:toy")
    assert loaded.spec == "pool-first:test_pool_first:toy"
    x = torch.randn(1, 3, 16, 20, dtype=torch.float64)
    assert torch.allclose(loaded.model(x), by_hand(loaded.model.model, x), rtol=0, atol=1e-12)
    sliding = eb.load_model("convolutional:test_pool_first:toy")
    assert sliding.spec == "convolutional:test_pool_first:toy"
    assert sliding.model(torch.randn(1, 3, 18, 25, dtype=torch.float64)).shape == (1, 5, 3, 6)
    for wrong in ("pool-first:", "convolutional:nothing"):
        with pytest.raises(ModelError, match="has an unknown form"):
            eb.load_model(wrong)


def toy():
    return LoadedModel(network(POOLS["flattened"], (nn.ReLU(),)), "toy", Preprocessing(size=(16, 20)))


def test_loaded_models():
    model = network(POOLS["flattened"], (nn.ReLU(),))
    loaded = LoadedModel(model, "toy", Preprocessing(size=(16, 20)), ("a",) * 5, default_layer="0")
    made = pool_first(loaded)
    assert made.default_layer == "model.0"
    assert (made.preprocessing, made.class_names, made.spec) == (loaded.preprocessing, loaded.class_names, "toy")
    x = torch.randn(1, 3, 16, 20, dtype=torch.float64)
    assert torch.allclose(made.model(x), by_hand(model, x), rtol=0, atol=1e-12)
    assert eb.explain(made, x, [1]).maps.shape == (1, 1, 14, 18)


def beside(x):
    """A ReLU whose result is left lying, since it works in place."""
    F.relu_(x)
    return x.mean((2, 3))


REFUSED = {
    "in place": (network(Callable(beside)), "another operation of the network"),
    "two arms": (network(Callable(lambda x: x.mean((2, 3)) + x.amax((2, 3)))), "come from 'add'"),
    "weighed": (network(Callable(lambda x: (x * x.softmax(1)).mean((2, 3)))), "comes from 'mul'"),
    "pooled before": (nn.Sequential(nn.Conv2d(3, 6, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)),
                      "come from 'linear' without pooling above it"),
    "score map": (nn.Sequential(nn.Conv2d(3, 6, 3)), "come from 'conv2d' without pooling"),
    "maximum": (network(nn.AdaptiveMaxPool2d(1)), "come through 'adaptive_max_pool2d'"),
    "four": (network(nn.AdaptiveAvgPool2d(2)), r"makes \(1, 5, 2, 2\) of \(1, 5, 6, 6\)"),
    "over channels": (network(Callable(lambda x: x.mean(1))), "which makes|one tensor of class scores"),
    "rows first": (network(Callable(lambda x: x.mean(3).mean(2))), "come through 'mean'"),
    "3 x 3": (network(nn.AdaptiveAvgPool2d(1), classify=nn.Conv2d(6, 5, 3)), "convolution of 3 x 3"),
    "groups": (network(nn.AdaptiveAvgPool2d(1), classify=nn.Conv2d(6, 4, 1, groups=2)), "in 2 groups"),
    "stride": (network(nn.AdaptiveAvgPool2d(1), classify=nn.Conv2d(6, 5, 1, stride=2)), "only some positions"),
    "sigmoid": (network(nn.AdaptiveAvgPool2d(1), (nn.Sigmoid(),)), "pools what comes from 'sigmoid'"),
    "nothing below": (nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.ReLU()), "pools what comes from the input"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_other_heads_are_refused(case):
    model, words = REFUSED[case]
    with pytest.raises(ModelError, match=words) as caught:
        pool_first(model.double().eval(), (8, 8))
    assert len(str(caught.value).splitlines()) == 1


def test_squeezenet_of_torchvision():
    torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed", exc_type=ImportError)
    model = torchvision.models.squeezenet1_1(weights=None, num_classes=7).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        features = model.features(x).mean((2, 3))
        weight, bias = model.classifier[1].weight[:, :, 0, 0], model.classifier[1].bias
        assert torch.allclose(pool_first(model, (64, 64))(x), features @ weight.T + bias, rtol=1e-4, atol=1e-6)
