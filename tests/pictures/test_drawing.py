"""Figures of results: on the pictures as given, wrapped to a page, honest about empty and weak maps."""

from __future__ import annotations

import io
import pickle
import sys
from dataclasses import replace
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import excitation as eb
from excitation.core import Frame
from excitation.core._figures import Options, show_png
from excitation.core._figures import draw as draw_with

NAMES = tuple(f"class {i}" for i in range(12))
OPTIONS = {"shared_scale": True, "peaks": False, "columns": 4, "dpi": 100}


def draw(result, pictures, **options):
    return draw_with(result, pictures, Options(**options))


def grey(width, height, value=120):
    return Image.new("RGB", (width, height), (value, value, value))


def explanation(maps, frames, pictures=None, **fields):
    count = maps[0].shape[0]
    return eb.Explanation(
        by_layer={"layer": maps},
        targets=(NAMES[:count],) * len(maps),
        scores=torch.linspace(-1, 2, count).repeat(len(maps), 1),
        method="mwp",
        frames=frames,
        pictures=pictures,
        **{"top": torch.ones(len(maps), count), **fields},
    )


def spots(*places, size=(4, 6)):
    """One image with a map for each place, all mass in one cell."""
    maps = torch.zeros(1, len(places), *size)
    for k, (row, column) in enumerate(places):
        maps[0, k, row, column] = 1 / (k + 1)
    return maps


def shown(axes):
    return np.asarray(axes.images[0].get_array()).astype(int)


def strongest(axes):
    """The place of the strongest colour of a panel, in pixels of the picture."""
    colours = np.ptp(shown(axes), axis=2).astype(float)
    rows, columns = np.nonzero(colours >= 0.97 * colours.max())
    left, right, bottom, _ = axes.images[0].get_extent()
    return columns.mean() / colours.shape[1] * (right - left), rows.mean() / colours.shape[0] * bottom


@pytest.fixture
def loaded():
    torch.manual_seed(3)
    steps = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()]
    model = nn.Sequential(*steps, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 12)).eval()
    preprocessing = eb.Preprocessing(size=(24, 24), resize="crop", resize_to=24)
    return eb.LoadedModel(model, "test", preprocessing, NAMES, default_layer="2")


# Places ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "height", "box"),
    [(600, 200, None), (90, 400, None), (600, 200, (200.0, 0.0, 400.0, 200.0)), (90, 400, (0.0, 155.0, 90.0, 245.0))],
)
def test_a_peak_lands_on_its_pixel(width, height, box):
    """In pictures of any shape, whole or cropped: ring, colour and resized map agree with `peaks`."""
    result = explanation(spots((1, 4), (2, 1)), (Frame((height, width), box),), (grey(width, height),))
    drawn = draw(result, None, **{**OPTIONS, "shared_scale": False, "peaks": True})
    resized = result.resized()
    for k, (x, y) in enumerate(result.peaks()[0].tolist()):
        axes = drawn.axes[k + 1]
        assert axes.get_window_extent().width / axes.get_window_extent().height == pytest.approx(width / height, 0.01)
        assert axes.lines[-1].get_xydata()[0] == pytest.approx((x + 0.5, y + 0.5))
        assert strongest(axes) == pytest.approx((x, y), abs=0.03 * max(width, height))
        row, column = np.unravel_index(int(resized.maps[0, k].argmax()), (height, width))
        assert (column, row) == (x, y)
    assert torch.equal(resized.peaks(), result.peaks())


def test_pictures_are_drawn_whole_though_the_network_saw_a_crop(loaded):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 100, 3), dtype=np.uint8))
    result = eb.explain(loaded, picture, ["class 1"])
    assert result.frames[0].box is not None
    assert result.pictures[0] is picture
    drawn = draw(result, None, **OPTIONS)
    assert np.array_equal(shown(drawn.axes[0])[::12, ::12].shape, shown(drawn.axes[1])[::12, ::12].shape)
    colourful = np.ptp(shown(drawn.axes[1]), axis=2).max(0) > 0
    edge = len(colourful) // 4
    assert not colourful[:edge].any()
    assert not colourful[-edge:].any()
    assert colourful[edge:-edge].any()


# Layout ---------------------------------------------------------------------------------------------------------------


def test_ten_targets_wrap_to_a_page():
    maps = torch.rand(1, 10, 4, 6, generator=torch.Generator().manual_seed(1))
    drawn = draw(explanation(maps, (Frame((200, 300)),), (grey(300, 200),)), None, **OPTIONS)
    boxes = [axes.get_window_extent() for axes in drawn.axes[:-1]]  # without the colour bar
    assert len(boxes) == 11
    assert len({round(box.y0) for box in boxes}) == 3
    assert [sum(round(box.y0) == y for box in boxes) for y in sorted({round(box.y0) for box in boxes})] == [3, 4, 4]
    assert drawn.get_size_inches()[0] < 11.5
    written = [text.get_text() for text in drawn.texts]
    assert [text for text in written if text.startswith("class")] == list(NAMES[:10])
    extents = [*boxes, *(text.get_window_extent() for text in drawn.texts)]
    for i, one in enumerate(extents):
        for other in extents[:i]:
            assert one.x0 >= other.x1 or other.x0 >= one.x1 or one.y0 >= other.y1 or other.y0 >= one.y1


def test_lines_have_nearly_equal_length():
    maps = torch.rand(1, 5, 4, 6, generator=torch.Generator().manual_seed(1))
    drawn = draw(explanation(maps, (Frame((200, 300)),), (grey(300, 200),)), None, **OPTIONS)
    heights = [round(axes.get_window_extent().y0) for axes in drawn.axes[:6]]
    assert len(set(heights[:3])) == len(set(heights[3:])) == 1
    assert heights[0] > heights[3]


def test_captions_say_target_score_and_mass():
    result = explanation(spots((0, 0), (1, 1)), (Frame((20, 30)),), (grey(30, 20),))
    written = [text.get_text() for text in draw(result, None, **OPTIONS).texts]
    assert written == [
        "MWP at layer", "class 0", "score −1 · mass 1.000", "class 1", "score 2 · mass 0.500",
    ]  # fmt: skip
    resized = [text.get_text() for text in draw(result.resized().normalized(), None, **OPTIONS).texts]
    assert resized == written
    without = [text.get_text() for text in draw(replace(result, top=None), None, **OPTIONS).texts]
    assert "score 2" in without


def test_columns_of_tall_pictures_are_narrow():
    result = explanation(spots((0, 0), (1, 1)), (Frame((400, 100)),), (grey(100, 400),))
    drawn = draw(result, None, **OPTIONS)
    assert drawn.get_size_inches()[0] < 6
    assert {"score 2", "mass 0.500"} <= {text.get_text() for text in drawn.texts}


# Strength -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pictures", [(grey(60, 40),), None])
@pytest.mark.parametrize("value", [0.0, 1e-9])
def test_an_empty_map_is_grey_and_says_so(pictures, value):
    maps = torch.cat([spots((1, 1)), torch.full((1, 1, 4, 6), value)], 1)
    for result in (explanation(maps, (Frame((40, 60)),), pictures),):
        for one in (result, result.normalized(), result.resized()):
            *_, full, empty, _ = draw(one, None, **OPTIONS).axes
            assert [text.get_text() for text in empty.texts] == ["empty"]
            assert not full.texts
            assert not np.ptp(shown(empty), axis=2).any()


def test_weak_maps_look_weak_unless_each_has_its_own_scale():
    result = explanation(torch.tensor([1.0, 0.1])[None, :, None, None] * torch.ones(1, 2, 4, 6), (Frame((40, 60)),),
                         (grey(60, 40),))  # fmt: skip
    _, strong, weak, bar = draw(result, None, **OPTIONS).axes
    assert np.ptp(shown(strong), axis=2).mean() > 3 * np.ptp(shown(weak), axis=2).mean()
    assert [label.get_text() for label in bar.get_yticklabels()] == ["0", "1"]
    _, strong, weak = draw(result, None, **{**OPTIONS, "shared_scale": False}).axes
    assert np.array_equal(shown(strong), shown(weak))


def test_negative_values_have_their_own_colours_and_overshoot_has_none():
    signed = explanation(spots((0, 0), (1, 1)) - 0.1, (Frame((40, 60)),), (grey(60, 40),))
    assert draw(signed, None, **OPTIONS).axes[-1].get_yticklabels()[0].get_text().startswith("−")
    plain = explanation(spots((1, 1), (2, 2)), (Frame((40, 60)),), (grey(60, 40),)).resized()
    assert float(plain.maps.min()) < 0
    assert draw(plain, None, **OPTIONS).axes[-1].get_yticklabels()[0].get_text() == "0"


# Files, notebooks, windows --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ending", "start"), [("png", b"\x89PNG"), ("PDF", b"%PDF"), ("svg", b"<?xml")])
def test_endings(tmp_path, ending, start):
    path = tmp_path / f"maps.{ending}"
    explanation(spots((1, 1)), (Frame((20, 30)),), (grey(30, 20),)).save(path, dpi=50)
    assert path.read_bytes().startswith(start)
    assert list(tmp_path.iterdir()) == [path]


def test_notebooks_get_a_png():
    result = explanation(spots((1, 1)), (Frame((20, 30)),), (grey(30, 20),))
    with Image.open(io.BytesIO(result._repr_png_())) as picture:
        assert picture.format == "PNG"
    assert pickle.loads(pickle.dumps(result))._repr_png_() == result._repr_png_()
    assert explanation(torch.rand(30, 2, 4, 6), (Frame((20, 30)),) * 30)._repr_png_() is None
    assert explanation(torch.rand(1, 2, 4, 6, 5), (Frame((20, 30, 5)),))._repr_png_() is None


def test_show_needs_a_display():
    result = explanation(spots((1, 1)), (Frame((20, 30)),), (grey(30, 20),))
    before = mpl.get_backend()
    mpl.use("agg")
    try:
        with pytest.raises(eb.ExcitationError, match=r"no display .* result\.save"):
            result.show()
    finally:
        mpl.use(before)


def test_show_displays_in_a_notebook(monkeypatch):
    displayed: list[object] = []
    shell = SimpleNamespace(kernel=object())
    module = SimpleNamespace(display=displayed.append, Image=lambda data: data)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    show_png(b"png")
    assert displayed == [b"png"]
    explanation(spots((1, 1)), (Frame((20, 30)),), (grey(30, 20),)).show()
    assert displayed[1].startswith(b"\x89PNG")


def test_images_given_as_tensors_take_pictures(tmp_path):
    result = explanation(torch.rand(2, 2, 4, 6), (Frame((24, 36)),) * 2)
    assert len(draw(result, None, **OPTIONS).axes) == 4 + 1
    path = tmp_path / "dog.png"
    grey(90, 60).save(path)
    captions = {text.get_text() for text in draw(result, [path, path], **OPTIONS).texts}
    assert "dog" in captions
    with_pictures = draw(result, [path, np.full((50, 80, 3), 90, np.uint8)], **OPTIONS)
    assert len(with_pictures.axes) == 6 + 1
    assert with_pictures.axes[1].images[0].get_extent() == [0, 90, 60, 0]
    result.save(tmp_path / "out.png", pictures=[path, grey(20, 30)], dpi=30)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["dog.png", "out.png"]


def test_pictures_are_kept_as_given(tmp_path, loaded):
    path = tmp_path / "dog.png"
    grey(100, 40).save(path)
    array = np.full((60, 30, 3), 90, np.uint8)
    result = eb.explain(loaded, [path, array], ["class 1"])
    assert result.pictures == (path, array)
    assert result.pictures[1] is array
    drawn = draw(result, None, **OPTIONS)
    assert {"dog", "image 1"} <= {text.get_text() for text in drawn.texts}
    grey(50, 40).save(path)
    with pytest.raises(eb.ExcitationError, match="50 x 40 pixels, but the one that was explained has 100 x 40"):
        result.save(tmp_path / "a.png")


def test_refusals(tmp_path):
    result = explanation(spots((1, 1)), (Frame((20, 30)),), (grey(30, 20),))
    with pytest.raises(eb.ExcitationError, match=r"saved as .png, .pdf or .svg"):
        result.save(tmp_path / "a.jpg")
    with pytest.raises(eb.ExcitationError, match="2 pictures given for an explanation of 1 image; give one per image"):
        result.save(tmp_path / "a.png", pictures=[grey(30, 20)] * 2)
    with pytest.raises(eb.ExcitationError, match=r"shape \(1, 4\)"):
        explanation(torch.rand(1, 1, 4), (Frame((20,)),)).save(tmp_path / "a.png")
    with pytest.raises(eb.ExcitationError, match="columns is 0"):
        result.save(tmp_path / "a.png", columns=0)
    with pytest.raises(eb.ExcitationError, match="pixels, and 60000 is the most"):
        draw(explanation(torch.rand(100, 6, 4, 6), (Frame((20, 30)),) * 100), None, **{**OPTIONS, "dpi": 2000})
    with pytest.raises(eb.ExcitationError, match="1200 maps are too many"):
        explanation(torch.rand(100, 12, 4, 6), (Frame((20, 30)),) * 100).save(tmp_path / "a.png")
    closed = grey(30, 20)
    closed.close()
    with pytest.raises(eb.ExcitationError, match=r"a picture cannot be read: .*closed"):
        result.save(tmp_path / "a.png", pictures=closed)
    assert not list(tmp_path.iterdir())


# One map --------------------------------------------------------------------------------------------------------------


def test_overlay_takes_a_result_with_its_crop(tmp_path):
    box = (200.0, 0.0, 400.0, 200.0)
    result = explanation(spots((1, 4), (2, 1)), (Frame((200, 600), box),), (grey(600, 200),))
    path = tmp_path / "dog.png"
    grey(600, 200).save(path)
    for picture in (grey(600, 200), path, np.full((200, 600, 3), 120, np.uint8)):
        laid = np.asarray(eb.overlay(picture, result, target="class 1")).astype(int)
        assert laid.shape == (200, 600, 3)
        assert not np.ptp(laid, axis=2)[:, :199].any()
        assert np.array_equal(laid, np.asarray(eb.overlay(picture, result.maps[0, 1], box=box)))
        assert np.array_equal(laid, np.asarray(eb.overlay(picture, result, image=0, target=1)))
    empty = explanation(torch.full((1, 1, 4, 6), 1e-9), (Frame((200, 600)),), (grey(600, 200),))
    assert not np.ptp(np.asarray(eb.overlay(path, empty)), axis=2).any()
    signed = explanation(spots((1, 4)) - 0.1, (Frame((200, 600)),))
    assert not np.array_equal(eb.overlay(path, signed), eb.overlay(path, signed, signed=False))


def test_overlay_refuses(tmp_path):
    picture = grey(30, 20)
    result = explanation(spots((1, 1), (2, 2)), (Frame((20, 30)),), (picture,))
    with pytest.raises(eb.ExcitationError, match=r"no target was given; select one of the 2 .*\(class 0, class 1\)"):
        eb.overlay(picture, result)
    with pytest.raises(eb.ExcitationError, match="target 'dog' was given; select one"):
        eb.overlay(picture, result, target="dog")
    with pytest.raises(eb.ExcitationError, match="has its own"):
        eb.overlay(picture, result, target=0, box=(0, 0, 9, 9))
    with pytest.raises(eb.ExcitationError, match="a single map was given"):
        eb.overlay(picture, result.maps[0, 0], target=0)
    with pytest.raises(eb.ExcitationError, match="30 x 40 pixels, but the one that was explained has 30 x 20"):
        eb.overlay(grey(30, 40), result, target=0)


# Boxes, layers, comparisons -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "height", "box"), [(90, 60, None), (40, 160, None), (300, 60, (120.0, 0.0, 180.0, 60.0))]
)
def test_boxes_are_drawn_where_the_result_has_them(width, height, box):
    result = explanation(spots((1, 4), (2, 1)), (Frame((height, width), box),), (grey(width, height),))
    drawn = draw(result, None, **{**OPTIONS, "shared_scale": False, "boxes": 3.0})
    for k, expected in enumerate(result.boxes(3.0)[0].tolist()):
        (_, outline) = drawn.axes[k + 1].patches
        assert [*outline.get_xy(), outline.get_x() + outline.get_width(), outline.get_y() + outline.get_height()] == (
            pytest.approx(expected)
        )
    laid = np.asarray(eb.overlay(grey(width, height), result, target=0, boxes=3.0, peaks=True)).astype(int)
    plain = np.asarray(eb.overlay(grey(width, height), result, target=0)).astype(int)
    changed = np.argwhere((laid != plain).any(2))
    x0, y0, x1, y1 = result.boxes(3.0)[0, 0].tolist()
    assert changed.min(0) == pytest.approx((y0, x0), abs=3)
    assert changed.max(0) == pytest.approx((y1, x1), abs=3)
    x, y = result.peaks()[0, 0].tolist()
    assert (np.abs(changed - (y, x)).max(1) <= 6).any()
    with pytest.raises(eb.ExcitationError, match="a multiple of the map's mean"):
        result.save("a.png", boxes=True)


def test_several_layers_are_a_strip_for_each_target():
    maps = {"low": spots((1, 1), (2, 2), size=(8, 12)), "high": spots((0, 1), (1, 2))}
    result = replace(explanation(spots((1, 1), (2, 2)), (Frame((40, 60)),), (grey(60, 40),)), by_layer=maps)
    drawn = draw(result, None, columns=4)
    assert len(drawn.axes) == 2 * 3  # no colour bar: values at different layers cannot be compared
    written = [text.get_text() for text in drawn.texts]
    assert written[0] == "MWP at 2 layers"
    assert written.count("low") == written.count("high") == 1
    assert {"class 0", "class 1", "mass 1.000", "mass 0.500"} <= set(written)
    assert all("score" not in text for text in written if "mass" in text)
    assert draw(result, None, shared_scale=True).axes[-1].get_yticklabels()


def test_the_colour_bar_names_the_quantity():
    result = explanation(spots((1, 1)), (Frame((40, 60)),), (grey(60, 40),))
    assert [text.get_text() for text in draw(result, None).axes[-1].texts] == ["mass per position"]
    for other in (result.normalized(), replace(result, top=None)):
        assert [text.get_text() for text in draw(other, None).axes[-1].texts] == ["value of the map"]


def test_one_image_of_a_result(loaded):
    pictures = [grey(100, 40), grey(60, 60)]
    result = eb.explain(loaded, pictures, [["class 1"], ["class 2", "class 0"]])
    second = result.image(1)
    assert second.targets == (("class 2", "class 0"),)
    assert second.frames == result.frames[1:]
    assert second.pictures == (pictures[1],)
    assert torch.equal(second.maps[0], result.per_image()[1])
    assert result.image(0).scores.shape == (1, 1)
    assert torch.equal(result.resized().image(1).peaks()[0], result.peaks()[1])
    for index in (2, -1):
        with pytest.raises(eb.ExcitationError, match="index is"):
            result.image(index)


def test_methods_are_compared_on_one_picture(loaded, tmp_path):
    picture = grey(100, 40)
    found = eb.compare(loaded, picture, ["class 1", "class 0"], methods=["mwp", "gradient", "feedback", "cam"])
    for name, each in found.explanations.items():
        assert torch.equal(each.maps, eb.explain(loaded, picture, ["class 1", "class 0"], method=name).maps), name
    assert set(found.explanations) | set(found.reasons) == {"mwp", "gradient", "feedback", "cam"}
    assert found["mwp"] is found.explanations["mwp"]
    with pytest.raises(eb.ExcitationError, match="there is no 'lrp' in this comparison"):
        found["lrp"]
    for ending in ("png", "pdf", "svg"):
        found.save(tmp_path / f"all.{ending}", boxes=2.0, shared_scale=True)
    assert found._repr_png_().startswith(b"\x89PNG")
    assert repr(found).startswith("Comparison(mwp, ")


def test_any_results_side_by_side():
    frames, pictures = (Frame((40, 60)),), (grey(60, 40),)
    first, second = (explanation(spots((1, k)), frames, pictures) for k in (1, 4))
    both = eb.Comparison({"before": first, "after": second})
    written = [text.get_text() for text in both._draw(None, Options()).texts]
    assert written.index("before") < written.index("after")
    assert "class 0" in written
    for other, said in (
        (explanation(spots((1, 1), (2, 2)), frames, pictures), "give results for the same targets and picture"),
        (explanation(spots((1, 1)), (Frame((40, 50)),)), "give results for the same targets and picture"),
        (explanation(spots((1, 1)).expand(2, -1, -1, -1), frames * 2), r"take one: \.image\(0\)"),
    ):
        with pytest.raises(eb.ExcitationError, match=said):
            eb.Comparison({"before": first, "after": other})
    with pytest.raises(eb.ExcitationError, match="there is no explanation"):
        eb.Comparison({})


def test_comparisons_wrap_to_a_page():
    frames, pictures = (Frame((40, 60)),), (grey(60, 40),)
    wide = explanation(torch.rand(1, 12, 4, 6), frames, pictures)
    for items in ({"a": wide, "b": wide}, {str(i): explanation(spots((1, 1)), frames, pictures) for i in range(9)}):
        drawn = eb.Comparison(items)._draw(None, Options(dpi=100))
        width, height = drawn.get_size_inches()
        assert width < 9.5
        assert height < 1.4 * 9.4
        extents = [axes.get_window_extent() for axes in drawn.axes] + [text.get_window_extent() for text in drawn.texts]
        for i, one in enumerate(extents):
            assert one.x0 >= 0
            assert one.x1 <= width * 100
            for other in extents[:i]:
                assert one.x0 >= other.x1 or other.x0 >= one.x1 or one.y0 >= other.y1 or other.y0 >= one.y1
