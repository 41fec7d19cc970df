"""Which axis is what: images, views, channels, space, tokens. Networks in two spellings, sums by hand."""

from __future__ import annotations

import itertools
import math
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import excitation as eb
from excitation.core._forward import forward
from excitation.engine._layout import (
    MixedImagesError,
    Origin,
    Role,
    input_layout,
    reshaped,
    size_of,
    whole,
)


def features():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()
    )


class Head(nn.Module):
    """Features, then whatever `how` makes of them; 8 features, 4 classes."""

    def __init__(self, how):
        super().__init__()
        self.f = features()
        self.fc = nn.Linear(8, 4)
        self.how = how

    def forward(self, x):
        return self.how(self, x)


def network(how):
    torch.manual_seed(0)
    return Head(how).double().eval()


def pictures(*shape, seed=1):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def folded(m, x):
    y = m.f(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    return m.fc(y.amax(1).mean((2, 3)))


def apart(m, x):
    ys = [m.f(x[:, i]) for i in range(x.shape[1])]
    return m.fc(torch.stack(ys, 1).amax(1).mean((2, 3)))


def test_views_folded_into_the_batch_have_maps_of_their_own():
    x = pictures(2, 3, 3, 12, 10)
    maps = eb.explain(network(folded), x, [0, 1, 3], layer="f").maps
    assert maps.shape == (2, 3, 3, 6, 5)
    with pytest.warns(eb.BypassWarning):
        single = eb.explain(network(apart), x, [0, 1, 3], layer=["f", "f#2", "f#3"])
    assert torch.allclose(maps, torch.stack(list(single.by_layer.values()), 2), atol=1e-12)


def test_views_at_the_input():
    x = pictures(2, 3, 3, 12, 10)
    a = eb.explain(network(folded), x, [0, 1], layer="input").maps
    b = eb.explain(network(apart), x, [0, 1], layer="input").maps
    assert a.shape == (2, 2, 3, 12, 10)
    assert torch.allclose(a, b, atol=1e-12)


METHODS = ["gradient", "grad-cam", "layer-cam", "lrp", "input-x-gradient", "c-mwp", "r-mwp", "selective-tuning"]


@pytest.mark.parametrize("method", METHODS)
def test_methods_give_views_as_well(method):
    x = pictures(2, 3, 3, 12, 10)
    maps = eb.explain(network(folded), x, [0, 1], layer="f", method=method).maps
    assert maps.shape == (2, 2, 3, 6, 5)


def test_a_method_that_masks_pictures_refuses_views():
    with pytest.raises(eb.ExcitationError):
        eb.explain(network(folded), pictures(2, 3, 3, 12, 10), [0, 1], layer="f", method="score-cam")


@pytest.mark.parametrize("contrast", [{"method": "c-mwp"}, {"method": "r-mwp"}, {"against": 2}])
def test_contrasts_of_views(contrast):
    x = pictures(2, 3, 3, 12, 10)
    maps = eb.explain(network(folded), x, [0, 1], layer="f", **contrast, signed=True).maps
    with pytest.warns(eb.BypassWarning):
        single = eb.explain(network(apart), x, [0, 1], layer=["f", "f#2", "f#3"], **contrast, signed=True)
    assert torch.allclose(maps, torch.stack(list(single.by_layer.values()), 2), atol=1e-12)


def test_default_layer_of_views_is_no_volume():
    x = pictures(2, 3, 3, 12, 10)
    maps = eb.explain(network(folded), x, [1]).maps
    assert maps.shape[:3] == (2, 1, 3)
    resized = eb.explain(network(folded), x, [1]).resized().maps
    assert resized.shape == (2, 1, 3, 12, 10)
    (info,) = [item for item in eb.list_layers(network(folded), x) if item.name == "f"]
    assert info.axes == ("image*view", "channel", "space", "space")
    assert info.stride == (2.0, 2.0)


def test_precompute_and_audit_of_views():
    x = pictures(2, 3, 3, 12, 10)
    every = eb.all_classes(network(folded), x, layer="f")
    assert torch.allclose(every.maps([0, 3]), eb.explain(network(folded), x, [0, 3], layer="f").maps, atol=1e-12)
    audit = eb.balance(network(folded), x, [0, 3], layer="f")
    assert torch.allclose(audit.arrived, torch.ones(2, 2).double(), atol=1e-12)
    with pytest.raises(eb.ExcitationError, match="views"):
        eb.all_classes(network(folded), x, layer="f", strategy="positions")


def pooled(m, x):
    return m.fc(m.f(x).mean((2, 3)))


AUGMENTED = {
    "cat, chunk": lambda m, x: sum(pooled(m, torch.cat([x, x.flip(3)])).exp().chunk(2)) / 2,
    "cat, split": lambda m, x: sum(pooled(m, torch.cat([x, x.flip(3)])).exp().split(len(x))) / 2,
    "cat, unflatten": lambda m, x: pooled(m, torch.cat([x, x.flip(3)])).exp().unflatten(0, (2, -1)).mean(0),
    "cat, reshape": lambda m, x: pooled(m, torch.cat([x, x.flip(3)])).exp().reshape(2, len(x), -1).sum(0) / 2,
    "cat, slices": lambda m, x: (lambda y: (y[: len(x)] + y[len(x) :]) / 2)(pooled(m, torch.cat([x, x.flip(3)])).exp()),
    "stack 0": lambda m, x: torch.stack([pooled(m, x).exp(), pooled(m, x.flip(3)).exp()]).mean(0),
    "stack 1": lambda m, x: torch.stack([pooled(m, x).exp(), pooled(m, x.flip(3)).exp()], 1).mean(1),
    "stack last": lambda m, x: torch.stack([pooled(m, x).exp(), pooled(m, x.flip(3)).exp()], -1).mean(-1),
    "repeat": lambda m, x: pooled(m, torch.cat([x, x.flip(3)])).exp().view(2, -1, 4).transpose(0, 1).mean(1),
}


@pytest.mark.parametrize("name", AUGMENTED)
def test_augmentation_inside_the_network(name):
    """Averages of two views' probabilities, however the views were put together, for each picture of a batch."""
    x = pictures(3, 3, 8, 9)
    reference = network(lambda m, x: (pooled(m, x).exp() + pooled(m, x.flip(3)).exp()) / 2)
    found = network(AUGMENTED[name])
    assert torch.allclose(found(x), reference(x), atol=1e-12)
    for options in ({}, {"against": 2, "signed": True}):
        a = eb.explain(found, x, [0, 1], layer="input", **options).maps
        b = eb.explain(reference, x, [0, 1], layer="input", **options).maps
        assert torch.allclose(a, b, atol=1e-12)
    alone = eb.explain(found, x[1:2], [0, 1], layer="input").maps
    assert torch.allclose(eb.explain(found, x, [0, 1], layer="input").maps[1:2], alone, atol=1e-12)


ENSEMBLES = {
    "amax": (lambda a, b: torch.stack([a, b]).amax(0), lambda a, b: torch.stack([a, b], 1).amax(1)),
    "max": (lambda a, b: torch.stack([a, b]).max(0).values, lambda a, b: torch.stack([a, b], 2).max(2).values),
    "sum": (lambda a, b: torch.stack([a, b]).sum(0), lambda a, b: a + b),
}


@pytest.mark.parametrize("name", ENSEMBLES)
def test_ensembles_in_front(name):
    def ensemble(join):
        return network(lambda m, x: m.fc(join(m.f(x).mean((2, 3)), m.f(x.flip(2)).amax((2, 3)))))

    x = pictures(2, 3, 8, 9)
    a, b = (eb.explain(ensemble(join), x, [0, 1, 3], layer="input").maps for join in ENSEMBLES[name])
    assert torch.allclose(a, b, atol=1e-12)
    assert torch.allclose(a.flatten(2).sum(2), torch.ones(2, 3).double(), atol=1e-12)


MIXING = {
    "first image added": lambda x: x + x[:1],
    "rolled": lambda x: x + x.roll(1, 0),
    "permuted": lambda x: x[[1, 0]],
    "reversed": lambda x: x + x.flip(0),
    "linear over the batch": lambda x: (
        x + F.linear(x.permute(1, 2, 3, 0), torch.ones(2, 2).double()).permute(3, 0, 1, 2)
    ),
    "mean over the batch": lambda x: x + x.mean(0, keepdim=True),
    "mean over the batch, transposed": lambda x: x + x.transpose(0, 1).mean(1, keepdim=True).transpose(0, 1),
    "largest of the batch": lambda x: x + x.amax(0),
    "one image for all": lambda x: x[:1].expand_as(x),
    "softmax over the batch": lambda x: x + x.softmax(0),
    "padded batch": lambda x: F.pad(x, (0, 0, 0, 0, 0, 0, 1, 0))[:2],
    "gate from another image": lambda x: x * x.sigmoid().flip(0),
    "index_select": lambda x: x + x.index_select(0, torch.tensor([1, 0])),
    "index_add": lambda x: torch.zeros_like(x).index_add(0, torch.tensor([0, 0]), x),
    "index_add to the other image": lambda x: x.index_add(0, torch.tensor([1, 0]), x),
    "scatter_add": lambda x: torch.zeros_like(x).scatter_add(0, torch.zeros(x.shape).long(), x),
    "index_put that adds": lambda x: x.index_put((torch.tensor([0, 0]),), x, accumulate=True),
}


@pytest.mark.parametrize("name", MIXING)
def test_mixed_images_are_refused(name):
    model = network(lambda m, x: pooled(m, MIXING[name](x)))
    x = pictures(2, 3, 8, 9)
    with pytest.raises(eb.UnsupportedOperationError, match="picks, combines or repeats images"):
        eb.explain(model, x, [0, 1], layer="input")
    with pytest.raises(eb.UnsupportedOperationError, match="picks, combines or repeats images"):
        eb.balance(model, x, [0, 1], layer="input")


@pytest.mark.parametrize(("copies", "targets"), [(2, [0, 2]), (3, [0, 1, 2]), (3, [0, 2])])
def test_new_axes_in_front_do_not_meet_the_targets(copies, targets):
    torch.manual_seed(3)
    w, out = torch.rand(copies, 1, 8).double(), torch.rand(4, 8 * copies).double() - 0.3

    def product(m, x, *, spelled):
        y = m.f(x).mean((2, 3))
        y = y * m.w if spelled else y[None].expand(copies, -1, -1) * m.w
        return F.linear(y.transpose(0, 1).flatten(1), m.out)

    def built(*, spelled):
        model = network(lambda m, x: product(m, x, spelled=spelled))
        model.register_buffer("w", w)
        model.register_buffer("out", out)
        return model

    x = pictures(2, 3, 8, 9)
    a = eb.explain(built(spelled=True), x, targets, layer="input").maps
    b = eb.explain(built(spelled=False), x, targets, layer="input").maps
    assert torch.allclose(a, b, atol=1e-12)
    assert torch.allclose(a.flatten(2).sum(2), torch.ones(2, len(targets)).double(), atol=1e-12)


def test_images_behind_another_axis():
    """The batch may stand anywhere inside the network; masses are still those of each image."""

    def turned(m, x):
        y = m.f(x).mean((2, 3)).t().relu().t()
        return m.fc(y)

    x = pictures(3, 3, 8, 9)
    assert torch.equal(
        eb.explain(network(turned), x, [0, 1], layer="input").maps,
        eb.explain(network(pooled), x, [0, 1], layer="input").maps,
    )
    audit = eb.balance(network(turned), x, [0, 1], layer="input")
    for row in audit.rows:
        assert torch.allclose(row.entered, torch.ones(3, 2).double(), atol=1e-9), row.address


class Tokens(nn.Module):
    """Patches as tokens with other tokens before and behind them, mixed without attention.

    Written with `apart`, the patches are a grid of their own at the layer `grid`.
    """

    def __init__(self, *, apart=False):
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 4, 4)
        self.first, self.register = nn.Parameter(torch.rand(1, 1, 8)), nn.Parameter(torch.rand(1, 2, 8))
        self.norm = nn.LayerNorm(8)
        self.mix = nn.Linear(9, 9)
        self.last, self.grid = nn.LayerNorm(8), nn.Identity()
        self.fc = nn.Linear(8, 4)
        self.apart = apart

    def forward(self, x):
        y = self.embed(x).relu().flatten(2).transpose(1, 2)
        y = torch.cat([self.first.expand(len(x), -1, -1), y], 1)
        y = torch.cat([y, self.register.expand(len(x), -1, -1)], 1)
        y = self.norm(y)
        y = y + self.mix(y.transpose(1, 2)).transpose(1, 2)
        if self.apart:
            grid = self.grid(y[:, 1:7].mT.unflatten(2, (2, 3)))
            y = torch.cat([y[:, :1], grid.flatten(2).mT, y[:, 7:]], 1)
        return self.fc(self.last(y)[:, 0] + self.last(y)[:, 2:].relu().mean(1))


def tokens(**options):
    torch.manual_seed(0)
    return Tokens(**options).double().eval()


@pytest.mark.parametrize("method", ["mwp", "c-mwp", "grad-cam", "gradient", "layer-cam", "lrp"])
def test_tokens_that_are_patches_are_places(method):
    """The map of a layer of tokens is that of its patches, put into rows and columns."""
    x = pictures(2, 3, 8, 12)
    left = eb.explain(tokens(), x, [1, 3], layer=":add", method=method).maps
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", eb.BypassWarning)  # the other tokens go round the layer
        right = eb.explain(tokens(apart=True), x, [1, 3], layer="grid", method=method).maps
    assert left.shape == (2, 2, 2, 3)
    assert torch.allclose(left, right, atol=1e-12)


def test_the_balance_tells_the_mass_of_other_tokens():
    x = pictures(2, 3, 8, 12)
    found = eb.balance(tokens(), x, [1, 3], layer=":add")
    assert torch.allclose(found.arrived + found.tokens + found.lost, torch.ones(2, 2).double(), atol=1e-12)
    assert float(found.tokens.min()) > 0.01
    assert "on other tokens" in str(found)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", eb.BypassWarning)
        apart = eb.balance(tokens(apart=True), x, [1, 3], layer="grid")
    assert torch.allclose(found.arrived, apart.arrived, atol=1e-12)
    assert torch.allclose(found.tokens, apart.bypassed, atol=1e-12)
    below = eb.balance(tokens(), x, [1, 3], layer="embed")
    assert float(below.tokens.abs().max()) == 0
    assert sorted(below.constants) == ["first", "register"]
    assert torch.allclose(sum(below.constants.values()), below.lost, atol=1e-12)
    assert "ended in first" in str(below)


def test_the_default_layer_holds_all_the_mass():
    """Not a layer of tokens, whose map leaves out what other tokens keep."""
    assert eb.explain(tokens(), pictures(2, 3, 8, 12), [1]).layer == "embed"


def test_tokens_of_unknown_order_are_no_places():
    class Mixed(Tokens):
        def forward(self, x):
            y = self.embed(x).relu().flatten(2).transpose(1, 2)
            y = torch.cat([y, y.flip(1)], 1)
            return self.fc(self.norm(y).mean(1))

    torch.manual_seed(0)
    with pytest.raises(eb.LayerError, match="which tokens are patches of the picture is unknown"):
        eb.explain(Mixed().double().eval(), pictures(2, 3, 8, 12), [1], layer="norm")


def test_patches_in_a_row_are_places():
    """Flattened and transposed space is put back in order, with rows and columns told apart."""

    class Patches(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Conv2d(3, 8, 4, 4)
            self.norm = nn.LayerNorm(8)
            self.fc = nn.Linear(8, 4)

        def forward(self, x):
            return self.fc(self.norm(self.embed(x).relu().flatten(2).transpose(1, 2)).relu().mean(1))

    torch.manual_seed(0)
    model = Patches().double().eval()
    x = pictures(2, 3, 8, 12)
    rows = eb.explain(model, x, [0, 2], layer="norm").maps
    grid = eb.explain(model, x, [0, 2], layer="embed").maps
    assert rows.shape == (2, 2, 2, 3)
    assert torch.allclose(rows, grid, atol=1e-12)
    assert eb.explain(model, x, [0, 2], layer="norm", method="grad-cam").maps.shape == (2, 2, 2, 3)


def test_windows_are_put_back():
    """Swin's windows: space cut into windows, each an image to the layers in between."""

    class Windows(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Conv2d(3, 8, 1)
            self.mix = nn.Linear(8, 8)
            self.fc = nn.Linear(8, 4)

        def forward(self, x):
            b, _, h, w = x.shape
            y = self.embed(x).relu().permute(0, 2, 3, 1)
            y = y.view(b, h // 2, 2, w // 3, 3, 8).permute(0, 1, 3, 2, 4, 5).reshape(-1, 6, 8)
            y = self.mix(y).relu()
            y = y.view(b, h // 2, w // 3, 2, 3, 8).permute(0, 1, 3, 2, 4, 5).reshape(b, h, w, 8)
            return self.fc(y.mean((1, 2)))

    class Plain(Windows):
        def forward(self, x):
            return self.fc(self.mix(self.embed(x).relu().permute(0, 2, 3, 1)).relu().mean((1, 2)))

    torch.manual_seed(0)
    windows = Windows().double().eval()
    plain = Plain().double().eval()
    plain.load_state_dict(windows.state_dict())
    x = pictures(2, 3, 4, 6)
    assert torch.allclose(windows(x), plain(x), atol=1e-12)
    for layer in ("mix", "embed", "input"):
        a, b = (eb.explain(model, x, [0, 2], layer=layer).maps for model in (windows, plain))
        assert a.shape == b.shape == (2, 2, 4, 6)
        assert torch.allclose(a, b, atol=1e-12)


def test_scores_with_images_behind_classes_are_refused():
    with pytest.raises(eb.ExcitationError, match="first axis"):
        eb.explain(network(lambda m, x: pooled(m, x).t()), pictures(4, 3, 8, 9), [1], layer="f")


@pytest.mark.parametrize("seed", range(20))
def test_reshaping_there_and_back_is_nothing(seed):
    """Any chain of reshapes keeps the factors, and back again gives the axes of the beginning."""
    generator = torch.Generator().manual_seed(seed)
    shape = tuple(int(torch.randint(2, 7, (), generator=generator)) for _ in range(4))
    layout = start = input_layout(shape)
    for _ in range(4):
        sizes = [size for axis in layout for size in (f.size for f in axis)]
        cuts = sorted(set(torch.randint(1, len(sizes) + 1, (2,), generator=generator).tolist()))
        edges = [0, *cuts, len(sizes)]
        layout = reshaped(layout, [math.prod(sizes[a:b]) for a, b in itertools.pairwise(edges) if a < b])
    back = reshaped(layout, shape)
    assert [[(f.origin, f.step, f.size) for f in axis] for axis in back] == [
        [(f.origin, f.step, f.size) for f in axis] for axis in start
    ]


def test_parts_of_an_axis_join_again():
    axis = whole(Origin(12, Role.SPACE))
    split = reshaped((axis,), (4, 3))
    assert [[(f.step, f.size) for f in part] for part in split] == [[(3, 4)], [(1, 3)]]
    assert reshaped(split, (12,)) == (axis,)
    assert size_of(reshaped(split, (2, 6))[1]) == 6


def test_a_reshape_across_the_images_is_refused():
    with pytest.raises(MixedImagesError):
        reshaped(input_layout((4, 3, 5, 5)), (6, 2, 5, 5))


def test_every_value_of_a_record_has_a_layout_of_its_shape():
    x = pictures(2, 3, 3, 12, 10)
    record = forward(network(folded), x, None)
    for place in record.places.values():
        assert tuple(size_of(axis) for axis in place.value.layout) == tuple(place.value.shape), place.name


def test_pixels_stacked_as_channels_keep_the_images_space():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(48, 6, 3, padding=1), nn.Linear(6, 4)

        def forward(self, x):
            n, c, h, w = x.shape
            blocks = x.view(n, c, h // 4, 4, w // 4, 4).permute(0, 3, 5, 1, 2, 4)
            return self.head(torch.relu(self.conv(blocks.reshape(n, 16 * c, h // 4, w // 4))).mean((2, 3)))

    maps = eb.explain(Net().eval(), torch.rand(2, 3, 16, 12), [1], layer=["input", "conv"])
    assert maps["input"].shape == (2, 1, 16, 12)
    assert maps["conv"].shape == (2, 1, 4, 3)
