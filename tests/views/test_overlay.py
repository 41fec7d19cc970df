from __future__ import annotations

import matplotlib
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from excitation.views import enlarge_map, find_peak, overlay, points_nowhere

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8))


def spot(height, width, y, x):
    attention = torch.zeros(height, width)
    attention[y, x] = 1
    return attention


def test_nothing_shows_the_picture_in_light_grey():
    shown = np.asarray(overlay(PICTURE, np.zeros((3, 4))))
    grey = np.asarray(PICTURE.convert("L"))
    assert (np.ptp(shown, axis=2) == 0).all()
    assert np.abs(shown[..., 0] - (grey * 0.8 + 255 * 0.2)).max() <= 1


def test_the_largest_value_has_the_strongest_colour():
    shown = np.asarray(overlay(PICTURE, np.full((3, 4), 7.0), alpha=1.0))
    assert np.abs(shown - 255 * np.array(matplotlib.colormaps["inferno"](1.0))[:3]).max() <= 1


def test_more_mass_is_more_colour():
    """Along a ramp, on a grey picture, brightness and distance from grey only grow."""
    ramp = np.linspace(0, 1, 80)[None].repeat(60, 0)
    shown = np.asarray(overlay(Image.new("RGB", (80, 60), (60, 60, 60)), ramp)).astype(float)[30]
    assert (np.diff(shown[40:].sum(1)) >= 0).all()
    assert np.ptp(shown, axis=1)[0] <= 3
    assert np.ptp(shown, axis=1)[79] > 60


def test_signs_have_colours_of_their_own():
    attention = np.array([[-1.0, -0.5, 0, 0.5, 1.0]]).repeat(5, 0)
    shown = np.asarray(overlay(Image.new("RGB", (50, 50), "grey"), attention, signed=True)).astype(int)[25]
    assert shown[2, 2] > shown[2, 0] + 40  # blue against
    assert shown[47, 0] > shown[47, 2] + 40  # red for
    assert np.ptp(shown[25]) <= 3


def test_a_shared_limit_makes_maps_comparable():
    strong, weak = np.full((2, 2), 1.0), np.full((2, 2), 0.25)
    assert overlay(PICTURE, strong).tobytes() == overlay(PICTURE, weak).tobytes()
    pale = np.asarray(overlay(PICTURE, weak, limit=1.0)).astype(int)
    assert np.ptp(pale, axis=2).mean() < np.ptp(np.asarray(overlay(PICTURE, strong)).astype(int), axis=2).mean() / 1.5


def test_only_what_the_network_saw_is_covered():
    shown = np.asarray(overlay(PICTURE, np.ones((4, 4)), box=(10.0, 0.0, 70.2, 60.0)))
    colourful = np.ptp(shown, axis=2) > 5
    assert colourful[:, 10:70].all()
    assert not colourful[:, :10].any()
    assert not colourful[:, 70:].any()


@pytest.mark.parametrize("signed", [False, True])
def test_enlarging_is_explains_without_false_signs(signed):
    attention = torch.rand(5, 7).round() - signed * 0.5
    large = enlarge_map(attention, (60, 80))
    expected = F.interpolate(attention[None, None], size=(60, 80), mode="bicubic", align_corners=False)[0, 0]
    assert expected.min() < attention.min() - 0.01
    torch.testing.assert_close(torch.from_numpy(large), expected if signed else expected.clamp(min=0))
    assert enlarge_map(torch.ones(50, 50, dtype=torch.float64), (5, 7)).shape == (5, 7)


@pytest.mark.parametrize(("y", "x"), [(0, 0), (1, 2), (2, 3)])
def test_the_peak_lies_in_the_middle_of_its_cell(y, x):
    px, py = find_peak(spot(3, 4, y, x), (60, 80))
    assert x * 20 <= px < x * 20 + 20
    assert y * 20 <= py < y * 20 + 20
    if (y, x) == (1, 2):
        assert abs(px - 49.5) <= 1
        assert abs(py - 29.5) <= 1
    bx, by = find_peak(spot(3, 4, y, x), (60, 80), box=(40.0, 30.0, 80.0, 60.0))
    assert abs(bx - (40 + px / 2)) <= 1
    assert abs(by - (30 + py / 2)) <= 1


@pytest.mark.parametrize("value", [0.0, 0.3, -2.0])
def test_a_map_that_is_the_same_everywhere_has_no_peak(value):
    for attention in (np.full((3, 4), value), torch.full((3, 4), value)):
        assert points_nowhere(attention)
        assert find_peak(attention, (60, 80)) is None
        assert find_peak(attention, (60, 80), box=(40.0, 30.0, 80.0, 60.0)) is None
        attention[2, 1] += 1e-3
        assert not points_nowhere(attention)
        x, y = find_peak(attention, (60, 80))
        assert (x // 20, y // 20) == (1, 2)
    with pytest.raises(ValueError, match="not finite"):
        find_peak(np.full((3, 4), np.inf), (60, 80))


def test_the_peak_of_the_overlay_is_the_peak():
    attention = torch.rand(6, 8)
    x, y = find_peak(attention, (60, 80))
    brightness = np.asarray(overlay(Image.new("RGB", (80, 60)), attention)).astype(int).sum(2)
    assert brightness[y, x] == brightness.max()


@pytest.mark.parametrize(
    ("attention", "keywords", "message"),
    [
        (np.array([[1.0, -1.0]]), {}, "negative values .* signed=True"),
        (np.array([[1.0, np.nan]]), {}, "not finite"),
        (np.array([[1.0, np.inf]]), {"signed": True}, "not finite"),
        (np.zeros((0, 4)), {}, "empty"),
        (np.ones((2, 2)), {"alpha": 1.5}, "alpha is 1.5"),
        (np.ones((2, 2)), {"limit": -1.0}, "limit is -1.0"),
        (np.ones((2, 2)), {"colour_map": "infernal"}, "no colour map 'infernal'"),
        (np.ones((2, 2)), {"box": (0.0, 0.0, 81.0, 60.0)}, "is not inside the picture of 80 x 60"),
    ],
)
def test_refusals(attention, keywords, message):
    with pytest.raises(ValueError, match=message):
        overlay(PICTURE, attention, **keywords)


def test_small_negative_noise_is_no_sign():
    found, expected = (np.asarray(overlay(PICTURE, np.array([[1.0, noise]]))) for noise in (-1e-8, 0.0))
    assert np.array_equal(found, expected)
