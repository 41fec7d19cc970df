"""The symbol world: the same for everyone, true to its annotations, with pairs as announced."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from excitation.data.symbols import COLOUR_NAMES, PAIRS, SPLITS, SYMBOL_NAMES, make_scene
from excitation.data.symbols._glyphs import FACES, glyph


def test_the_same_seed_gives_the_same_bytes():
    """These were computed once; another machine, process or release must give them again."""
    digest = hashlib.sha256()
    for split in SPLITS:
        for index in range(4):
            scene = make_scene(index, 7, split)
            digest.update(scene.image.tobytes())
            for instance in scene.instances:
                digest.update(np.packbits(instance.mask).tobytes())
                digest.update(f"{instance.name} {instance.colour_name} {instance.box}".encode())
    assert digest.hexdigest() == "2f1fdf13cb5ec9a06e31b3655d79c4609869fe223e4a70243691f998f9d45fdd"


def test_scenes_depend_on_nothing_but_their_arguments():
    first = make_scene(3, 1, "train")
    np.random.default_rng(0).random(10)
    make_scene(9, 1, "train")
    assert np.array_equal(first.image, make_scene(3, 1, "train").image)
    others = [make_scene(4, 1, "train"), make_scene(3, 2, "train"), make_scene(3, 1, "val")]
    assert all(first.image.shape != o.image.shape or not np.array_equal(first.image, o.image) for o in others)


def test_masks_and_boxes_belong_together():
    for index in range(12):
        scene = make_scene(index, 0, SPLITS[index % 4])
        height, width = scene.image.shape[:2]
        together = np.zeros((height, width), dtype=int)
        assert 1 <= len(scene.instances) <= 8
        for instance in scene.instances:
            x0, y0, x1, y1 = instance.box
            rows, columns = np.nonzero(instance.mask)
            assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (y0, y1, x0, x1)
            assert 0 < instance.share <= 1
            together += instance.mask
        assert together.max() <= 1  # a pixel shows one object


def test_an_object_differs_from_the_picture_without_it():
    """Where the mask says an object is, its colour is the named one more often than around it."""
    hits = total = 0
    for index in range(40):
        scene = make_scene(index, 0, "dominant")
        (instance,) = scene.instances
        if instance.colour_name not in {"red", "green", "blue"}:
            continue
        channel = ("red", "green", "blue").index(instance.colour_name)
        excess = scene.image[..., channel].astype(float) - np.delete(scene.image, channel, 2).max(2)
        hits += excess[instance.mask].mean() > excess[~instance.mask].mean()
        total += 1
    assert total > 8
    assert hits == total


def test_pairs_stay_together_in_training_and_never_in_tests():
    together = apart = 0
    partner = {a: b for pair in PAIRS for a, b in (pair, pair[::-1])}
    from excitation.data.symbols._scenes import _choose

    for index in range(600):
        for split in ("train", "test"):
            chosen = {symbol for symbol, _, _ in _choose(np.random.default_rng([5, index]), split)}
            for symbol in chosen & set(partner):
                met = partner[symbol] in chosen
                if split == "test":
                    assert not met
                else:
                    together, apart = together + met, apart + (not met)
    assert 0.85 < together / (together + apart) < 0.99


def test_all_symbols_and_colours_appear_and_each_face_draws_them():
    assert len(SYMBOL_NAMES) == len(set(SYMBOL_NAMES)) == 40
    assert len(COLOUR_NAMES) == len(set(COLOUR_NAMES)) == 8
    drawn = set()
    for symbol in range(len(SYMBOL_NAMES)):
        for face in range(len(FACES)):
            strokes = np.asarray(glyph(symbol, face, 64)[0])
            assert strokes.max() == 255
            rows, columns = np.nonzero(strokes > 127)
            assert max(np.ptp(rows), np.ptp(columns)) == pytest.approx(64, abs=14)
        drawn.add(strokes.tobytes())
    assert len(drawn) == 40  # a face without a symbol would draw the same empty box for all


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="choose one of train, val, test, dominant"):
        make_scene(0, 0, "training")
    with pytest.raises(ValueError, match="negative"):
        make_scene(-1)
