"""Pictures as the paper trains on them: mirrored to squares, enlarged, flipped, cut."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from excitation.data._pictures import PictureError
from excitation.models import Preprocessing
from excitation.training import PictureExamples, Recipe, TrainingError
from excitation.training._pictures import mirror_padded

PLAIN = Preprocessing(size=(14, 14))


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(0)
    paths = []
    for i, shape in enumerate([(20, 30), (30, 20), (20, 30), (24, 24)]):
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(rng.integers(0, 256, (*shape, 3), dtype=np.uint8)).save(paths[-1])
    return paths


def made(paths, recipe=None, preprocessing=PLAIN):
    return PictureExamples(
        paths, [[0], [1, 2], [], [2]][: len(paths)], "abc", preprocessing, recipe or Recipe.of(PLAIN)
    )


def test_a_square_is_made_by_mirroring():
    values = np.arange(6, dtype=np.uint8).reshape(1, 6, 1).repeat(3, 2)
    padded = np.asarray(mirror_padded(Image.fromarray(values.repeat(2, 0))))
    assert padded.shape == (6, 6, 3)
    assert (padded == values[0]).all()
    tall = np.arange(3, dtype=np.uint8).reshape(3, 1, 1).repeat(3, 2)
    assert np.asarray(mirror_padded(Image.fromarray(tall)))[:, :, 0].tolist() == [[0] * 3, [1] * 3, [2] * 3]
    wide = np.array([[7, 8, 9, 10, 11], [1, 2, 3, 4, 5]], np.uint8)
    grey = Image.fromarray(wide).convert("RGB")
    rows = np.asarray(mirror_padded(grey))[:, 0, 0].tolist()
    assert rows == [7, 7, 1, 1, 7]  # the edge itself is repeated: 1 above, 2 below


def test_the_papers_recipe_gives_256_and_224():
    recipe = Recipe.of(Preprocessing(size=(224, 224)))
    assert (recipe.pad, recipe.side, recipe.crop, recipe.flip) == ("mirror", 256, 224, True)


def test_without_augmentation_the_centre_is_cut_out_of_the_enlarged_square(pictures):
    inputs, labels = made(pictures).batch([0, 1, 2, 3], None)
    assert inputs.shape == (4, 3, 14, 14)
    assert labels.tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 0], [0, 0, 1]]
    square = mirror_padded(Image.open(pictures[0])).resize((16, 16), Image.Resampling.BILINEAR).crop((1, 1, 15, 15))
    assert np.array_equal(
        inputs[0].numpy(), np.asarray(square).transpose(2, 0, 1).astype(np.float32) * np.float32(1 / 255)
    )


def test_flips_and_crops_are_drawn_from_the_seeds(pictures):
    examples = made(pictures)
    drawn = [examples.batch([3], [0, seed])[0] for seed in (*range(40), 5)]
    assert np.array_equal(drawn[5], drawn[40])
    centre = examples.batch([3], None)[0].numpy()
    enlarged = np.asarray(Image.open(pictures[3]).resize((16, 16), Image.Resampling.BILINEAR))
    expected = {}
    for y in range(3):
        for x in range(3):
            cut = enlarged[y : y + 14, x : x + 14].transpose(2, 0, 1).astype(np.float32) * np.float32(1 / 255)
            expected[y, x, False], expected[y, x, True] = cut, cut[:, :, ::-1]
    found = set()
    for item in drawn:
        matches = [key for key, value in expected.items() if np.array_equal(item[0].numpy(), value)]
        assert len(matches) == 1
        found.add(matches[0])
    assert len(found) > 12
    assert {key[2] for key in found} == {False, True}
    assert np.array_equal(centre[0], expected[1, 1, False])


def test_pictures_can_keep_their_shape_in_groups(pictures):
    examples = made(pictures, Recipe("none", 16, 12))
    assert examples.groups.tolist() == [0, 2, 0, 1] or len(set(examples.groups.tolist())) == 3
    assert examples.groups[0] == examples.groups[2]
    assert examples.batch([0, 2], None)[0].shape == (2, 3, 16, 24)
    assert examples.batch([0, 2], [0, 1])[0].shape == (2, 3, 12, 18)


def test_the_networks_channels_and_mean_are_used(pictures):
    own = Preprocessing(size=(14, 14), scale=1.0, channels="BGR", mean=(104.0, 117.0, 123.0))
    plain, caffe = (made(pictures, preprocessing=p).batch([0], None)[0][0] for p in (PLAIN, own))
    np.testing.assert_allclose(caffe[0], plain[2] * 255 - 104, atol=1e-3)


def test_what_is_missing_or_broken_is_named(pictures, tmp_path):
    with pytest.raises(TrainingError, match=r"1 of 2 pictures are missing: .*gone\.png"):
        made([pictures[0], tmp_path / "gone.png"])
    with pytest.raises(TrainingError, match="no picture"):
        made([])
    with pytest.raises(TrainingError, match=r"0\.png has a label that fit none of the 1 classes"):
        PictureExamples(pictures[:1], [[1]], "a", PLAIN, Recipe.of(PLAIN))
    pictures[1].write_bytes(b"no picture")
    with pytest.raises(PictureError, match=r"1\.png"):
        made(pictures).batch([0, 1], None)


def test_the_fingerprint_changes_with_what_is_learned(pictures):
    found = {
        made(pictures).fingerprint(),
        made(pictures[:3]).fingerprint(),
        made(pictures, Recipe("none", 16, 12)).fingerprint(),
        PictureExamples(pictures, [[0], [1], [], [2]], "abc", PLAIN, Recipe.of(PLAIN)).fingerprint(),
    }
    assert len(found) == 4
    assert made(pictures).fingerprint() in found
