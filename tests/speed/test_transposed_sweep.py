"""The way up, in windows, against `explain` and against whole maps."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from upward_networks import CLASSES, MIDDLES, build

import excitation as eb
from excitation.engine.operations import Reach
from excitation.engine.transposed._tiles import Tiling, groups
from excitation.engine.transposed._windows import Span, Window, framed

EVERY = list(range(CLASSES))


def furthest(model, images, layer, **options):
    """The largest departure from `explain` over all classes and contrasts, over the largest value."""
    found = eb.all_classes(model, images, layer=layer, strategy="positions", **options)
    options.pop("memory", None)
    worst = 0.0
    for contrast in ({}, {"method": "c-mwp"}, {"against": 2}):
        expected = eb.explain(model, images, EVERY, layer=layer, **contrast, signed=True, **options).maps
        largest = float(expected.abs().max())
        assert largest > 1e-4
        got = found.maps(EVERY, **contrast, signed=True)
        worst = max(worst, float((got - expected).abs().max()) / max(1.0, largest))
    return worst


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("middle", MIDDLES)
def test_every_operation_and_odd_sizes(middle):
    model = build(middle, stride=2)
    images = torch.rand(2, 2, 11, 14, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert furthest(model, images, "root", memory=3_000_000) < 1e-12


@pytest.mark.parametrize("policies", [
    eb.Policies(signed="original", residual="original", batch_norm="copy"),
    eb.Policies(residual="branch", bounded="original", threshold=0.01),
    eb.Policies(normaliser="spread"),
])  # fmt: skip
@pytest.mark.parametrize("middle", ["strided residual", "signed average", "branches"])
def test_policies(middle, policies):
    images = torch.rand(1, 2, 9, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert furthest(build(middle), images, "root", policies=policies) < 1e-12


def test_layers_without_rows_and_columns_go_up_whole():
    torch.manual_seed(1)  # with 0 its last rectifier is silent, and all maps are zero
    model = nn.Sequential(
        nn.Conv1d(2, 4, 3), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(4, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1),
        nn.Flatten(), nn.Linear(4, CLASSES),
    ).double().eval()  # fmt: skip
    assert furthest(model, torch.rand(2, 2, 17, dtype=torch.float64), "1") < 1e-12


def test_a_layer_that_is_one_arm():
    model = build("residual")
    images = torch.rand(1, 2, 7, 7, dtype=torch.float64)
    with pytest.warns(eb.BypassWarning):
        assert furthest(model, images, "middle.one") < 1e-12


def test_only_a_part_of_each_map_is_carried():
    """On a large map most of the work is saved, whatever the arithmetic is timed at."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Conv2d(2, 2, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(2, 3),
    ).eval()  # fmt: skip
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True) as profile:
        eb.all_classes(model, torch.rand(1, 1, 20, 20), layer="1", strategy="positions", dual=False)
    carried = [event.input_shapes[0] for event in profile.events() if event.name == "aten::conv2d"]
    windows = [shape for shape in carried if tuple(shape[2:]) == (6, 6)]
    assert sum(shape[0] for shape in windows) == 400
    assert sum(shape[0] for shape in carried if shape[2] >= 20) <= 3


@pytest.mark.parametrize(("kernel", "stride", "before", "dilation", "size"), [
    (3, 1, 1, 1, 9), (3, 2, 1, 1, 10), (1, 3, 0, 1, 10), (2, 2, 0, 2, 11), (5, 3, 2, 2, 13), (4, 1, 1, 1, 8),
])  # fmt: skip
@pytest.mark.parametrize("side", [1, 2, 3])
def test_windows_hold_all_outputs_that_look_into_a_tile(kernel, stride, before, dilation, size, side):
    outputs = (size + 2 * before - (kernel - 1) * dilation - 1) // stride + 1
    reach = Reach((kernel, 1), (stride, 1), (before, 0), (dilation, 1))
    supports = tuple((start, start + side - 1) for start in range(size - side + 1))
    span = Span(supports, size).above(reach, 0, outputs)
    for (first, last), start in zip(supports, span.frame.starts, strict=True):
        inside = range(start, start + span.frame.length)
        assert start >= 0
        assert start + span.frame.length <= outputs
        looking = [
            o for o in range(outputs) for k in range(kernel) if first <= o * stride - before + k * dilation <= last
        ]
        assert set(looking) <= set(inside)
    full = tuple((0, size - 1) for _ in supports)
    assert Span(full, size).above(reach, 0, outputs).frame.length <= outputs


def test_framed_moves_patches_and_multiplies_by_their_own_places():
    tiles = Window(Span(((0, 1), (3, 4)), 5), Span(((2, 3), (0, 1)), 6))
    patches, factor = torch.rand(4, 1, 2, 2, 2), torch.rand(1, 2, 5, 6)
    whole = framed(patches, tiles.frames, factor, tiles.whole)
    assert whole.shape == (4, 1, 2, 5, 6)
    for signal, (row, column) in enumerate([(0, 2), (0, 2), (3, 0), (3, 0)]):
        expected = torch.zeros(1, 2, 5, 6)
        cut = (..., slice(row, row + 2), slice(column, column + 2))
        expected[cut] = patches[signal] * factor[cut]
        assert torch.equal(whole[signal], expected)
    assert torch.equal(framed(whole, tiles.whole, None, tiles.frames)[2], patches[2] * factor[..., 3:5, 0:2])


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 5), (7, 4), (14, 14)])
def test_groups_hold_every_position(height, width):
    tiling = Tiling(height, width, 2)
    found = groups([tiling.lines()])
    assert len({tile for group in found for tile in group}) == sum(map(len, found))
    positions = [place for group in found for place in tiling.positions(tiling.window(group))]
    assert set(positions) == set(range(height * width))
