"""Localization, the grid game, deletion and insertion, energy: by hand and by brute force."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from excitation import ExcitationError
from excitation.evaluation import (
    ALPHAS,
    Photo,
    best_overlap,
    boxes_of_map,
    choose_mosaics,
    deletion,
    energy_in_region,
    insertion,
    judge,
    make_mosaic,
    overlap,
    search_alpha,
    share_in_box,
)
from excitation.views import enlarge_map


def test_a_box_is_around_all_values_above():
    attention = torch.zeros(8, 8)
    attention[2:4, 1:6] = 1.0
    attention[6, 6] = 0.05
    whole, most, none = boxes_of_map(attention, (80, 160), (0.0, 2.0, 10.0), grid=(8, 8))
    assert whole == (20, 20, 140, 70)
    assert most == (20, 20, 120, 40)
    assert none is None
    assert boxes_of_map(torch.zeros(8, 8), (80, 160)) == [None] * len(ALPHAS)


def test_the_box_is_taken_on_the_enlarged_map():
    attention = torch.rand(14, 14)
    values = enlarge_map(attention, (224, 224))
    for alpha, box in zip(ALPHAS, boxes_of_map(attention, (224, 224)), strict=True):
        ys, xs = np.nonzero(values > alpha * values.mean(dtype=np.float64))
        assert box == ((xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) if len(ys) else None)


def test_overlaps():
    assert overlap((0, 0, 10, 10), (0, 0, 10, 10)) == 1
    assert overlap((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 10, 10), (10, 0, 20, 10)) == 0
    assert best_overlap((0, 0, 10, 10), [(20, 20, 30, 30), (0, 0, 10, 20)]) == 0.5
    assert best_overlap(None, [(0, 0, 1, 1)]) == 0
    with pytest.raises(ExcitationError, match="the image has no box"):
        best_overlap((0, 0, 1, 1), [])


@given(*[st.integers(0, 12)] * 8)
def test_overlaps_against_pixels(a0, b0, w0, h0, a1, b1, w1, h1):
    masks = np.zeros((2, 30, 30), dtype=bool)
    boxes = [(a0, b0, a0 + w0 + 1, b0 + h0 + 1), (a1, b1, a1 + w1 + 1, b1 + h1 + 1)]
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    assert overlap(*boxes) == pytest.approx((masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum())


def test_the_threshold_is_the_one_with_fewest_errors():
    overlaps = np.array([[0.2, 0.5, 0.9], [0.5, 0.6, 0.4], [0.1, 0.49, 0.3]])
    found = search_alpha(overlaps, (0.0, 0.5, 1.0))
    assert found.alpha == 0.5
    assert found.error == pytest.approx(1 / 3)
    assert found.errors == pytest.approx({0.0: 2 / 3, 0.5: 1 / 3, 1.0: 2 / 3})
    assert found.images == 3
    assert search_alpha(np.ones((2, 21))).alpha == 0  # the smallest of several
    assert (ALPHAS[0], ALPHAS[1], ALPHAS[-1], len(ALPHAS)) == (0, 0.5, 10, 21)
    with pytest.raises(ExcitationError, match="thresholds for each held-out image"):
        search_alpha(np.ones((2, 3)))


def test_mosaics_have_different_classes_within_the_limits():
    photos = [Photo(f"p{i}", i % 12, i / 100) for i in range(101)]
    chosen = choose_mosaics(photos, 30, side=3, lowest=0.3, highest=0.9, seed=4)
    assert len(chosen) == 30
    for mosaic in chosen:
        assert len({item.index for item in mosaic}) == 9
        assert all(0.3 <= item.confidence < 0.9 for item in mosaic)
    assert chosen == choose_mosaics(photos, 30, side=3, lowest=0.3, highest=0.9, seed=4)
    assert chosen != choose_mosaics(photos, 30, side=3, lowest=0.3, highest=0.9, seed=5)
    assert any(item.confidence == 1 for m in choose_mosaics(photos, 99, lowest=0.9) for item in m)
    with pytest.raises(ExcitationError, match=r"the 2 photos with .* have 2 classes"):
        choose_mosaics(photos, 1, lowest=0.99)


def test_a_mosaic_lays_pictures_row_after_row():
    colours = ["red", "lime", "blue", "white"]
    mosaic, boxes = make_mosaic([Image.new("RGB", (30, 50), colour) for colour in colours], 16)
    assert mosaic.size == (32, 32)
    assert boxes == ((0, 0, 16, 16), (16, 0, 32, 16), (0, 16, 16, 32), (16, 16, 32, 32))
    for colour, (x0, y0, x1, y1) in zip(colours, boxes, strict=True):
        assert mosaic.crop((x0, y0, x1, y1)).getcolors() == [(256, Image.new("RGB", (1, 1), colour).getpixel((0, 0)))]
    with pytest.raises(ExcitationError, match="cannot form a square mosaic"):
        make_mosaic([mosaic] * 3)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**31))
def test_the_share_in_a_box_is_exact(height, width, seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(height, width))
    x0, x1 = sorted(rng.choice(height * width * 6 + 1, 2, replace=False).tolist())
    x0, x1 = x0 % (6 * width), x0 % (6 * width) + 1 + x1 % 7
    x1 = min(x1, 6 * width)
    y0, y1 = 0, int(rng.integers(1, 6 * height + 1))
    pixels = np.kron(values.clip(0), np.ones((6, 6)))  # each cell is six pixels wide
    whole = pixels.sum()
    expected = pixels[y0:y1, x0:x1].sum() / whole if whole else 0
    assert share_in_box(torch.from_numpy(values), (x0, y0, x1, y1), pixels.shape) == pytest.approx(expected, abs=1e-9)


def test_a_verdict():
    attention = torch.zeros(4, 4)
    attention[0, 3], attention[3, 0], attention[2, 2] = 3.0, 1.0, -5.0
    verdict = judge(attention, (32, 0, 64, 32), (64, 64))
    assert verdict.share == pytest.approx(0.75)
    assert verdict.hit
    assert verdict.mass == pytest.approx(-1)
    assert not judge(attention, (0, 32, 32, 64), (64, 64)).hit
    assert judge(-attention.abs(), (32, 0, 64, 32), (64, 64)).share == 0
    assert judge(torch.zeros(4, 4) + 1e-9 * attention, (32, 0, 64, 32), (64, 64)).hit
    assert not judge(torch.zeros(4, 4), (0, 0, 32, 32), (64, 64)).hit


def test_deletion_and_insertion_of_a_linear_score():
    image = torch.zeros(1, 8, 8)
    image[0, :, :4] = 1.0

    def score(inputs):
        return inputs.sum((1, 2, 3)) / 32

    good = torch.zeros(8, 8)
    good[:, :4] = torch.linspace(2, 1, 32).reshape(8, 4)
    first = deletion(score, image, good, steps=4, batch=3)
    assert first.parts == (0, 0.25, 0.5, 0.75, 1)
    assert first.scores == pytest.approx((1, 0.5, 0, 0, 0))
    assert first.area == pytest.approx(0.25)
    assert deletion(score, image, 3 - good, steps=4).scores == pytest.approx((1, 1, 1, 0.5, 0))
    rising = insertion(score, image, good, steps=4, blur=0.01)
    assert rising.scores == pytest.approx((1,) * 5)  # a blur this small changes nothing
    dull = insertion(score, image, good, steps=4, blur=3)
    assert dull.scores[-1] == pytest.approx(1)
    assert dull.scores[2] > dull.scores[0]
    with pytest.raises(ExcitationError, match="return one score for each input"):
        deletion(lambda inputs: inputs, image, good)
    with pytest.raises(ExcitationError, match="at least 1"):
        deletion(score, image, good, steps=0)


def test_pixels_that_are_tied_go_in_reading_order():
    image = torch.arange(16.0).reshape(1, 4, 4)
    curve = deletion(lambda inputs: inputs[:, 0, 3, 3], image, torch.ones(4, 4), steps=16)
    assert curve.scores == (15.0,) * 16 + (0.0,)


def test_energy():
    attention = torch.zeros(4, 4)
    attention[:2] = 1.0
    pixels = np.zeros((4, 4), dtype=bool)
    pixels[:, :2] = True
    assert energy_in_region(attention, pixels) == pytest.approx(0.5)
    assert energy_in_region(torch.zeros(2, 2), pixels) == 0
    assert energy_in_region(torch.rand(3, 3), np.ones((9, 5), dtype=bool)) == pytest.approx(1)
