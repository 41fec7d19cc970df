"""Any classifier as one that takes pictures of any size (Sec. 4.1)."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from head_networks import Callable
from torch import nn

import excitation as eb
from excitation import to_fully_convolutional
from excitation.models._loaded import LoadedModel, ModelError, Preprocessing


class Flat(nn.Module):
    """As AlexNet and VGG: flattened, two linear layers."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4))
        self.fc6, self.fc7 = nn.Linear(6 * 4 * 5, 8), nn.Linear(8, 5)

    def forward(self, x):
        x = self.features(x).view(-1, 6 * 4 * 5)
        return self.fc7(F.dropout(F.relu_(self.fc6(x)), training=self.training))


class Pooled(nn.Module):
    """As GoogLeNet and ResNet: pooled, then one linear layer, then probabilities."""

    def __init__(self, pool):
        super().__init__()
        self.conv, self.fc, self.pool = nn.Conv2d(3, 6, 3, stride=2), nn.Linear(6, 5), pool

    def forward(self, x):
        return self.fc(self.pool(F.relu(self.conv(x)))).softmax(-1)


POOLS = {
    "adaptive": nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    "mean": lambda x: x.mean((2, 3)),
    "window": lambda x: F.avg_pool2d(x, x.shape[2:]).squeeze(-1).squeeze(-1),
    "max": lambda x: F.adaptive_max_pool2d(x, 1).flatten(1),
    "two by two": None,
}


def model_of(kind):
    torch.manual_seed(0)
    if kind == "flat":
        return Flat().double().eval()
    if kind == "two by two":
        model = Pooled(nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten()))
        model.fc = nn.Linear(24, 5)
        model.conv = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        return model.double().eval()
    pool = POOLS[kind]
    return Pooled(pool if isinstance(pool, nn.Module) else Callable(pool)).double().eval()


@pytest.mark.parametrize("kind", ["flat", *POOLS])
def test_every_window_gets_the_score_the_original_gives_it(kind):
    """The score map at a position is the original network on the window there, where padding plays no part."""
    model = model_of(kind)
    size = (16, 20)
    x = torch.rand(2, 3, *size).double()
    sliding = to_fully_convolutional(model, size)
    whole = model(x)
    found = sliding(x)
    assert found.shape == (2, 5, 1, 1)
    assert torch.allclose(found.flatten(1), whole, atol=1e-12)
    large = torch.rand(1, 3, 32, 40).double()
    maps = sliding(large)
    assert maps.shape[2] > 1
    assert maps.shape[3] > 1
    if kind in {"adaptive", "mean", "window", "max"}:  # without padding, with stride 2: all windows can be cut out
        for row in range(maps.shape[2]):
            for column in range(maps.shape[3]):
                window = large[..., 2 * row : 2 * row + size[0], 2 * column : 2 * column + size[1]]
                assert torch.allclose(maps[0, :, row, column], model(window)[0], atol=1e-12)


def test_the_original_stays_and_weights_are_shared():
    model = model_of("flat")
    x = torch.rand(1, 3, 16, 20).double()
    before = model(x)
    sliding = to_fully_convolutional(model, (16, 20))
    assert torch.equal(model(x), before)
    with torch.no_grad():
        model.fc7.weight.mul_(2)
    assert torch.allclose(sliding(x).flatten(1), model(x))
    state = {name: torch.randn_like(value) for name, value in model.state_dict().items()}
    model.load_state_dict(state, assign=True)  # other tensors in their place
    assert torch.allclose(sliding(x).flatten(1), model(x))
    assert [name for name, _ in sliding.named_parameters()] == [f"model.{n}" for n, _ in model.named_parameters()]


def test_maps_at_the_original_size_are_the_originals():
    model = model_of("flat")
    x = torch.rand(2, 3, 16, 20).double()
    sliding = to_fully_convolutional(model, (16, 20))
    for contrast in ({}, {"method": "c-mwp"}):
        expected = eb.explain(model, x, [0, 3], layer="features.1", **contrast).maps
        found = eb.explain(sliding, x, [0, 3], layer="model.features.1", **contrast).maps
        assert torch.allclose(found, expected, atol=1e-12)


def test_a_larger_picture_has_one_map_of_its_own_and_all_mass():
    sliding = to_fully_convolutional(model_of("flat"), (16, 20))
    x = torch.rand(1, 3, 40, 36).double()
    likely = int(sliding(x).amax((0, 2, 3)).argmax())
    for signal in ("response", "softmax"):
        account = eb.balance(sliding, x, [likely], layer="input", spatial=signal)
        assert float(account.arrived + account.lost) == pytest.approx(float(account.top))
        assert float(account.arrived) > 0.5


def test_a_loaded_model_brings_its_size_and_keeps_aspect_ratios():
    loaded = LoadedModel(model_of("flat"), "toy", Preprocessing(size=(16, 20), resize="squash"), default_layer="fc6")
    converted = to_fully_convolutional(loaded)
    assert converted.preprocessing.resize == "shortest"
    assert converted.default_layer == "model.fc6"
    assert converted.model(torch.rand(1, 3, 16, 20).double()).shape == (1, 5, 1, 1)


def test_what_cannot_be_converted_is_refused():
    with pytest.raises(ModelError, match="no head to convert"):
        to_fully_convolutional(nn.Sequential(nn.Conv2d(3, 4, 3)).eval(), (8, 8))
    with pytest.raises(ModelError, match="does not take an image of 8 x 8"):
        to_fully_convolutional(model_of("flat"), (8, 8))
    with pytest.raises(ModelError, match="needs 16 x 20 or more"):
        to_fully_convolutional(model_of("flat"), (16, 20))(torch.rand(1, 3, 12, 40).double())


def test_paper_networks_of_torchvision():
    torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed", exc_type=ImportError)
    for name, size in {"alexnet": 64, "vgg11": 224, "googlenet": 64, "resnet18": 64, "squeezenet1_0": 64}.items():
        options = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
        model = getattr(torchvision.models, name)(weights=None, num_classes=7, **options).eval()
        if name == "alexnet":
            size = 224
        x = torch.randn(1, 3, size, size)
        with torch.no_grad():
            found, expected = to_fully_convolutional(model, (size, size))(x), model(x)
            larger = to_fully_convolutional(model, (size, size))(torch.randn(1, 3, size + 64, size + 32))
        assert torch.allclose(found.flatten(1), expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max())), name
        assert larger.shape[:2] == (1, 7)
        assert larger[0, 0].numel() > 1
