"""The comparison figure: what stands where."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from excitation.views import Compared, comparison

GENERATOR = np.random.default_rng(0)
REASON = "CAM does not apply to this network: it needs one linear layer on globally averaged features."


def picture(width, height):
    return Image.fromarray(GENERATOR.integers(0, 255, (height, width, 3), dtype=np.uint8))


def rows():
    some = GENERATOR.random((2, 6, 8))
    return [
        Compared("MWP", "0.10 s", list(some), ["mass 1", "mass 1"]),
        Compared("CAM", reason=REASON),
        Compared("LRP", "0.20 s", list(some - 0.5), ["mass 0.9", "mass −0.1"]),
    ]


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (64, 64)])
def test_rows_of_methods_below_the_picture(size):
    drawn = comparison(picture(*size), ["zebra", "African elephant"], rows(), notes=["score 1", "score 2"])
    renderer = drawn.canvas.get_renderer()
    panels = [axes.get_window_extent(renderer) for axes in drawn.axes]
    assert len(panels) == 6  # two pictures, two rows of maps
    for left, right in zip(panels[::2], panels[1::2], strict=True):
        assert left.x1 < right.x0
        assert (left.y0, left.y1) == (right.y0, right.y1)
    for above, below in zip(panels, panels[2:], strict=False):
        assert (above.x0, above.x1) == (below.x0, below.x1)
        assert above.y0 > below.y1
    for panel in panels:
        assert panel.width / panel.height == pytest.approx(size[0] / size[1], rel=1e-3)
    said = [text.get_text() for text in drawn.texts]
    assert {"zebra", "score 1", "MWP", "0.10 s", "mass −0.1", "CAM"} <= set(said)
    assert "does not apply to this network" in " ".join(said)
    whole = drawn.bbox
    texts = {text.get_text(): text.get_window_extent(renderer) for text in drawn.texts}
    for name, box in texts.items():
        assert box.x0 >= whole.x0, name
        assert box.x1 <= whole.x1, name
        assert box.y0 >= whole.y0, name
    for name, row in {"MWP": panels[2], "LRP": panels[4]}.items():
        assert texts[name].x1 < row.x0
        assert row.y0 < texts[name].y0 < texts[name].y1 < row.y1
    assert panels[4].y1 < texts["CAM"].y0 < texts["CAM"].y1 < panels[2].y0


def colours(drawn, panel):
    """Red, green and blue of a panel's mean, grey taken away."""
    shown = drawn.axes[panel].images[0].get_array().astype(float).mean((0, 1))
    return shown - shown.min()


def test_evidence_glows_and_what_speaks_against_is_blue():
    grey = Image.new("RGB", (80, 60), (120, 120, 120))
    up = np.ones((6, 8))
    drawn = comparison(grey, ["a", "b"], [Compared("x", maps=[up, -up])], peaks=False)
    red, _, blue = colours(drawn, 2)
    assert red > blue + 50
    red, _, blue = colours(drawn, 3)
    assert blue > red + 50
    assert colours(drawn, 0).max() == 0


def test_a_box_holds_the_maps():
    grey = Image.new("RGB", (80, 60), (120, 120, 120))
    drawn = comparison(grey, ["a"], [Compared("x", maps=[np.ones((6, 8))])], box=(40.0, 0.0, 80.0, 60.0), peaks=False)
    shown = drawn.axes[1].images[0].get_array().astype(float)
    half = shown.shape[1] // 2
    assert np.ptp(shown[:, : half - 1], axis=2).max() == 0
    assert np.ptp(shown[:, half + 1 :], axis=2).min() > 50


@pytest.mark.parametrize(
    ("titles", "row", "notes", "expected"),
    [
        ([], Compared("x", reason="no"), [], "at least one of each"),
        (["a", "b"], Compared("x", maps=[np.ones((2, 2))]), [], "1 maps for 2 titles"),
        (["a"], Compared("x"), [], "0 maps for 1 titles"),
        (["a"], Compared("x", maps=[np.ones((2, 2))], captions=["p", "q"]), [], "2 captions"),
        (["a"], Compared("x", reason="no"), ["p", "q"], "2 notes"),
    ],
)
def test_what_does_not_fit_is_refused(titles, row, notes, expected):
    with pytest.raises(ValueError, match=expected):
        comparison(picture(30, 20), titles, [row], notes=notes)
