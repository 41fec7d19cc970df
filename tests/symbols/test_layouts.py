"""Exported scenes, opened by the project's own readers, against what `make_scene` says is in them."""

from __future__ import annotations

import numpy as np
import pytest

from excitation.data import open_data
from excitation.data.symbols import SPLITS, SYMBOL_NAMES, export_scenes, make_scene

pytest.importorskip("pycocotools", reason="pycocotools is not installed", exc_type=ImportError)

COUNT, SEED = 5, 3


@pytest.fixture(scope="module", params=SPLITS)
def exported(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    list(export_scenes(folder, COUNT, seed=SEED, split=request.param))
    return folder, request.param


def check(data, split, *, masks=False):
    """Every picture, name, box and number is the scene's; nothing was amiss."""
    images = list(data)
    assert [int(image.id) for image in images] == list(range(COUNT))
    for index, image in enumerate(images):
        scene = make_scene(index, SEED, split)
        assert image.size == scene.image.shape[:2]
        assert np.array_equal(np.asarray(data.read(image)), scene.image)
        assert not image.labels
        expected = [(item.name, item.box) for item in scene.instances]
        assert [(item.category, item.box) for item in image.instances] == expected
        for found, item in zip(image.instances, scene.instances, strict=True):
            assert not masks or np.array_equal(found.mask(image.size), item.mask)
    assert not list(data.problems)


def test_coco(exported):
    folder, split = exported
    data = open_data(f"coco:{folder}")
    check(data, split, masks=True)
    assert data.categories == SYMBOL_NAMES


def test_voc(exported):
    folder, split = exported
    check(open_data(f"voc:{folder}/voc"), split)
    check(open_data(f"voc:{folder}/voc@{split}"), split)
    kept = {path.name for path in (folder / "voc").iterdir()}
    assert kept == {"Annotations", "ImageSets", "JPEGImages"}  # what VOC's other readers look for


def test_imagenet(exported):
    folder, split = exported
    if split != "dominant":
        assert not (folder / "labels.csv").exists()
        return
    data = open_data(f"imagenet:{folder}")
    check(data, split)
    shown = [make_scene(index, SEED, split).instances[0] for index in range(COUNT)]
    assert data.categories == tuple(sorted({item.name for item in shown}))
    assert data.classes == {item.name: (item.symbol,) for item in shown}  # outputs of the bundled networks


def test_pictures_are_kept_once_where_the_file_system_can(exported):
    folder, _ = exported
    picture, again = (folder / "images" / "000000.png"), (folder / "voc" / "JPEGImages" / "000000.png")
    assert picture.read_bytes() == again.read_bytes()
    try:
        (folder / "probe").hardlink_to(picture)
    except OSError:
        pytest.skip("this file system has no hard links")
    (folder / "probe").unlink()
    assert picture.samefile(again)


def test_without_hard_links_pictures_are_copied(tmp_path, monkeypatch):
    from pathlib import Path

    def refuse(*_):
        raise PermissionError("no links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    list(export_scenes(tmp_path, 1, seed=SEED))
    copied = tmp_path / "voc" / "JPEGImages" / "000000.png"
    assert copied.read_bytes() == (tmp_path / "images" / "000000.png").read_bytes()
    assert copied.stat().st_nlink == 1
