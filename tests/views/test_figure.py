from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from excitation.views import FigureRow, Panel, figure, save_figure

GENERATOR = np.random.default_rng(0)


def picture(width, height):
    return Image.fromarray(GENERATOR.integers(0, 255, (height, width, 3), dtype=np.uint8))


def panel(title, caption=""):
    return Panel(GENERATOR.random((6, 8)), title, caption)


@pytest.fixture(scope="module")
def rows():
    return [
        FigureRow(picture(300, 200), [panel("zebra", "score 12.3"), panel("African elephant")], "first"),
        FigureRow(picture(200, 300), [panel("zebra"), panel("African elephant")], "second"),
        FigureRow(picture(64, 64), [panel("umbrella")], "third"),
    ]


def texts(drawn):
    return [text.get_text() for text in drawn.texts]


def boxes(drawn):
    """Extents of all pictures and texts, in pixels, by what they are."""
    renderer = drawn.canvas.get_renderer()
    pictures = [axes.get_window_extent(renderer) for axes in drawn.axes]
    return pictures, [text.get_window_extent(renderer) for text in drawn.texts]


def test_one_row_per_picture_one_column_per_target(rows):
    drawn = figure(rows)
    pictures, _ = boxes(drawn)
    assert len(pictures) == 3 + 3 + 2
    middles = [round((box.x0 + box.x1) / 2) for box in pictures]
    assert middles[:3] == middles[3:6]
    assert middles[6:] == middles[:2]
    assert pictures[0].y0 > pictures[3].y1 > pictures[3].y0 > pictures[6].y1
    for box, aspect in zip(pictures, [1.5] * 3 + [2 / 3] * 3 + [1.0] * 2, strict=True):
        assert box.width / box.height == pytest.approx(aspect, rel=1e-3)


def test_titles_stand_once_until_they_change(rows):
    assert texts(figure(rows)) == [
        "first", "zebra", "score 12.3", "African elephant", "second", "third", "umbrella",
    ]  # fmt: skip


def test_nothing_overlaps_or_is_cut(rows):
    long = [panel("cocker spaniel, English cocker spaniel, cocker and more", "score −12.34 · mass 0.123"), panel("g")]
    drawn = figure([*rows, FigureRow(picture(300, 200), long, "n02281406_sulphur_butterfly_in_a_meadow.JPEG")],
                   title="c-MWP at pool4")  # fmt: skip
    pictures, written = boxes(drawn)
    width, height = drawn.canvas.get_width_height()
    every = pictures + written
    for i, box in enumerate(every):
        assert box.x0 >= 0
        assert box.x1 <= width
        assert box.y0 >= 0
        assert box.y1 <= height
        for other in every[:i]:
            apart = box.x0 >= other.x1 or other.x0 >= box.x1 or box.y0 >= other.y1 or other.y0 >= box.y1
            assert apart, (box, other)


def test_text_is_large_enough_for_a_telephone(rows):
    """With a picture and three maps across a screen 65 mm wide, capitals are still 1 mm high."""
    drawn = figure([FigureRow(picture(300, 200), [panel("a"), panel("b"), panel("c")], "name")])
    shrink = 65 / (drawn.get_size_inches()[0] * 25.4)
    smallest = min(text.get_fontsize() for text in drawn.texts)
    assert smallest * 25.4 / 72 * 0.73 * shrink >= 0.65
    assert max(text.get_fontsize() for text in drawn.texts) * 25.4 / 72 * 0.73 * shrink >= 0.85


def test_titles_side_by_side_stand_level():
    drawn = figure([FigureRow(picture(300, 200), [panel("zebra"), panel("tiger")])])
    assert len({text.get_position()[1] for text in drawn.texts}) == 1


def test_shared_scale_has_a_bar_and_one_limit():
    strong, weak = Panel(np.full((2, 2), 1.0), "strong"), Panel(np.full((2, 2), 0.1), "weak")
    row = FigureRow(picture(90, 60), [strong, weak])

    def shown(drawn, column):
        return np.asarray(drawn.axes[column].images[0].get_array()).astype(int)

    own = figure([row])
    assert len(own.axes) == 3
    assert (shown(own, 1) == shown(own, 2)).all()
    shared = figure([row], shared_scale=True)
    assert len(shared.axes) == 4
    assert np.ptp(shown(shared, 1), axis=2).mean() > 2 * np.ptp(shown(shared, 2), axis=2).mean()
    assert [label.get_text() for label in shared.axes[3].get_yticklabels()] == ["0", "1"]
    signed = figure([row], shared_scale=True, signed=True)
    assert [label.get_text() for label in signed.axes[3].get_yticklabels()] == ["−1", "0", "1"]


def test_the_ring_is_at_the_peak_in_the_pictures_pixels():
    attention = np.zeros((5, 5))
    attention[2, 3] = 1
    drawn = figure([FigureRow(picture(3000, 1500), [Panel(attention, "a")])], peaks=True)
    x, y = drawn.axes[1].lines[-1].get_xydata()[0]
    assert (x, y) == pytest.approx((2100, 750), abs=10)
    assert max(drawn.axes[1].images[0].get_array().shape) <= 1000


def test_the_box_moves_the_map_also_when_the_picture_is_shrunk():
    row = FigureRow(picture(2000, 1000), [Panel(np.ones((2, 2)), "a")], box=(500.0, 0.0, 1500.0, 1000.0))
    shown = np.asarray(figure([row]).axes[1].images[0].get_array()).astype(int)
    colourful = np.ptp(shown, axis=2).mean(0) > 5
    assert not colourful[: shown.shape[1] // 4].any()
    assert colourful[shown.shape[1] // 4 : 3 * shown.shape[1] // 4].all()


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_saved_bytes_depend_on_the_figure_only(tmp_path, rows, suffix):
    import matplotlib as mpl

    files = [tmp_path / f"{name}.{suffix}" for name in ("one", "two")]
    save_figure(figure(rows[:1]), files[0], dpi=50.0)
    with mpl.rc_context({"font.size": 30, "savefig.bbox": "tight", "axes.facecolor": "red"}):
        save_figure(figure(rows[:1]), files[1], dpi=50.0)
    first, second = (file.read_bytes() for file in files)
    assert first == second
    assert b"atplotlib v" not in first
    assert sorted(tmp_path.iterdir()) == files


def test_saved_size(tmp_path, rows):
    save_figure(figure(rows[:1]), tmp_path / "a.png", dpi=100.0)
    with Image.open(tmp_path / "a.png") as stored:
        assert stored.width == pytest.approx(100 * (3 * 2.4 + 4 * 0.09), abs=1)


def test_a_failed_save_leaves_what_was_there(tmp_path, rows, monkeypatch):
    file = tmp_path / "a.pdf"
    file.write_text("before")
    drawn = figure(rows[:1])

    def fail(stream, **_):
        stream.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(drawn, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        save_figure(drawn, file)
    assert file.read_text() == "before"
    assert list(tmp_path.iterdir()) == [file]


def test_no_pyplot_state(rows):
    import matplotlib._pylab_helpers as helpers

    before = list(helpers.Gcf.figs)
    drawn = figure(rows[:1])
    drawn.savefig(io.BytesIO(), format="png", dpi=20)
    assert list(helpers.Gcf.figs) == before


def test_refusals(tmp_path, rows):
    with pytest.raises(ValueError, match="no rows"):
        figure([])
    with pytest.raises(ValueError, match=r"saved as .png, .pdf or .svg"):
        save_figure(figure(rows[:1]), tmp_path / "a.jpg")


@pytest.mark.parametrize("panel", [Panel(torch.zeros(4, 5), "a"), Panel(torch.full((4, 5), 1e-9), "a", empty=True)])
def test_an_empty_map_is_grey_and_says_so(panel):
    """No colour, no peak: what has no mass must not look like evidence."""
    drawn = figure([FigureRow(Image.new("RGB", (50, 40), (200, 60, 20)), [panel])], peaks=True)
    texts = [text.get_text() for axes in drawn.axes for text in axes.texts]
    assert texts == ["empty"]
    shown = drawn.axes[1].images[0].get_array()
    assert bool((shown[..., 0] == shown[..., 1]).all())
    assert bool((shown[..., 1] == shown[..., 2]).all())
    assert not drawn.axes[1].lines
