"""Files of the symbol world, read back by other programs and after interruptions."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections import Counter
from xml.etree import ElementTree

import numpy as np
import pytest
from kills import kill_when, start
from PIL import Image

from excitation.data.symbols import (
    COLOUR_NAMES,
    SYMBOL_NAMES,
    export_scenes,
    make_captions,
    make_scene,
    make_uploads,
)
from excitation.data.symbols._export import ExportError
from excitation.data.symbols._tags import VISUAL

pytest.importorskip("pycocotools", reason="pycocotools is not installed", exc_type=ImportError)


def tree(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    assert list(export_scenes(folder, 6, seed=3)) == [1, 2, 3, 4, 5, 6]
    return folder


def test_pycocotools_reads_exact_masks(exported, capsys):
    from pycocotools.coco import COCO

    coco = COCO(str(exported / "annotations" / "instances.json"))
    capsys.readouterr()
    assert [coco.cats[i + 1]["name"] for i in range(40)] == list(SYMBOL_NAMES)
    for index in range(6):
        scene = make_scene(index, 3, "test")
        entry = coco.loadImgs(index)[0]
        assert np.array_equal(np.asarray(Image.open(exported / "images" / entry["file_name"])), scene.image)
        found = coco.loadAnns(coco.getAnnIds(index))
        assert len(found) == len(scene.instances)
        for annotation, instance in zip(found, scene.instances, strict=True):
            assert np.array_equal(coco.annToMask(annotation).astype(bool), instance.mask)
            x, y, w, h = annotation["bbox"]
            assert (x, y, x + w, y + h) == instance.box
            assert SYMBOL_NAMES[annotation["category_id"] - 1] == instance.name
            assert annotation["area"] == instance.mask.sum()


def test_phrases_point_to_boxes(exported):
    """Read as Flickr30k Entities files are: `[/EN#id/type phrase]`, one `object` per box with the ids it belongs to."""
    for index in range(6):
        scene = make_scene(index, 3, "test")
        root = ElementTree.parse(exported / "entities" / "Annotations" / f"{index:06d}.xml").getroot()
        boxes: dict[str, set] = {}
        for item in root.iter("object"):
            corners = item.find("bndbox")
            box = None if corners is None else tuple(int(corner.text) for corner in corners)
            for name in item.findall("name"):
                boxes.setdefault(name.text, set()).add(box)
        lines = (exported / "entities" / "Sentences" / f"{index:06d}.txt").read_text().splitlines()
        assert len(lines) == 5
        for line, caption in zip(lines, make_captions(scene), strict=True):
            marked = re.findall(r"\[/EN#(\d+)/(\w+) ([^\]]+)\]", line)
            assert [text for _, _, text in marked] == [phrase.text for phrase in caption.phrases]
            assert re.sub(r"\[/EN#\d+/\w+ ([^\]]+)\]", r"\1", line) == caption.text
            for (entity, kind, text), phrase in zip(marked, caption.phrases, strict=True):
                if kind == "scene":
                    assert boxes[entity] == {None}
                    continue
                expected = {scene.instances[i].box for i in phrase.instances}
                assert {(x0, y0, x1 + 1, y1 + 1) for x0, y0, x1, y1 in boxes[entity]} == expected, text


def test_phrases_are_true():
    numbers = {"two": 2, "three": 3, "four": 4, "five": 5}
    kinds = set()
    for index in range(60):
        scene = make_scene(index, 0, "test")
        for caption in make_captions(scene):
            for phrase in caption.phrases:
                named = [scene.instances[i] for i in phrase.instances]
                words = phrase.text.lower().split()
                kinds.add(words[0])
                for item in named:
                    colours = set(words) & {"red", "orange", "yellow", "green", "blue", "purple", "white", "black"}
                    assert not colours or colours == {item.colour_name}
                if words[0] in numbers:
                    assert numbers[words[0]] == len(named)
                if words[:2] == ["the", "small"]:
                    kind = [o for o in scene.instances if o.name == named[0].name]
                    rivals = kind if len(kind) > 1 else scene.instances
                    assert all(named[0].share < other.share for other in rivals if other is not named[0])
    assert {"a", "the", "two"} <= kinds


def test_tags_are_ordered_and_noisy():
    uploads = [(make_scene(i, 0, "dominant"), make_uploads(make_scene(i, 0, "dominant"))) for i in range(60)]
    first = [u[0].tags[0] == scene.instances[0].name for scene, u in uploads]
    assert 0.6 < np.mean(first) < 1
    assert any(len(u[0].tags) < 5 for _, u in uploads)
    assert any(len(u) == 2 and u[1].duplicate and u[0].user == u[1].user for _, u in uploads)
    assert any(len(u[0].tags) > 3 and list(u[0].tags) == sorted(u[0].tags) for _, u in uploads)
    words = {tag for _, u in uploads for tag in u[0].tags}
    assert words - set(SYMBOL_NAMES)


def test_an_interrupted_export_goes_on(exported, tmp_path):
    steps = export_scenes(tmp_path, 6, seed=3)
    for _ in range(3):
        next(steps)
    steps.close()
    assert not (tmp_path / "annotations" / "instances.json").exists()
    written = (tmp_path / "images" / "000000.png").stat().st_mtime_ns
    assert list(export_scenes(tmp_path, 6, seed=3))[-1] == 6
    assert (tmp_path / "images" / "000000.png").stat().st_mtime_ns == written
    assert tree(tmp_path) == tree(exported)
    assert list(export_scenes(tmp_path, 6, seed=3)) == [6]  # finished: nothing is done again


def test_a_killed_export_goes_on(tmp_path):
    """SIGKILL, which nothing can catch, somewhere in the middle."""
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    command = "import pathlib, sys, excitation.data.symbols as s; list(s.export_scenes(pathlib.Path(sys.argv[1]), 24))"
    kill_when(start(command, killed), lambda: len(list((killed / ".parts").glob("0*.json"))) >= 5)
    assert not (killed / "annotations" / "instances.json").exists()
    list(export_scenes(killed, 24))
    list(export_scenes(undisturbed, 24))
    assert tree(killed) == tree(undisturbed)


def test_what_a_kill_leaves_behind_is_removed(exported, tmp_path):
    """Between the last file and the tidying, or in the middle of a file: the next call clears up."""
    world = shutil.copytree(exported, tmp_path / "world")
    (world / ".parts").mkdir()
    (world / ".parts" / "000000.json").write_text("{}")
    (world / "images" / ".000005.png.0123456789ab.part").write_bytes(b"half")
    (world / ".mine.part").write_text("not this program's")
    assert list(export_scenes(world, 6, seed=3)) == [6]
    assert not (world / ".parts").exists()
    assert (world / ".mine.part").exists()
    (world / ".mine.part").unlink()
    assert tree(world) == tree(exported)


def test_a_folder_keeps_its_own_scenes(exported):
    with pytest.raises(ExportError, match="holds other scenes"):
        list(export_scenes(exported, 6, seed=4))


def test_the_dominant_split_has_labels(tmp_path):
    list(export_scenes(tmp_path, 2, split="dominant"))
    lines = (tmp_path / "labels.csv").read_text().splitlines()
    assert lines[0] == "file,class_index,wnid,x0,y0,x1,y1"
    (shown,) = make_scene(1, 0, "dominant").instances
    assert lines[2] == ",".join(map(str, ("000001.png", shown.symbol, shown.name, *shown.box)))
    rows = [json.loads(line) for line in (tmp_path / "tags.jsonl").read_text().splitlines()]
    assert {row["image"] for row in rows} >= {"images/000000.png", "images/000001.png"}


def test_tags_say_which_noise_is_in_them():
    found = set()
    for index in range(120):
        uploads = make_uploads(make_scene(index, 0, "dominant"))
        for number, upload in enumerate(uploads):
            found |= set(upload.noise)
            assert upload.duplicate == ("duplicate" in upload.noise) == (number > 0)
            assert "alphabetical" not in upload.noise or list(upload.tags) == sorted(upload.tags)
            # One cut short never has more than two tags; one that is not always has a word nobody can see.
            visible = {*SYMBOL_NAMES, *COLOUR_NAMES}
            assert len(upload.tags) <= 2 if "few" in upload.noise else set(upload.tags) - visible
    assert found == {"alphabetical", "few", "duplicate"}


def test_tags_say_what_is_small_single_or_in_pairs():
    """Each word only where it is true; all of them occur; and without them the tags are the old ones."""
    found = set()
    for index in range(250):
        scene = make_scene(index, 0, "train")
        words = set(make_uploads(scene)[0].tags) & set(VISUAL)
        found |= words
        kinds = Counter(item.name for item in scene.instances)
        shares = [item.share for item in scene.instances]
        true = {
            "small": min(shares) < 0.015,
            "large": max(shares) > 0.15,
            "sign": any(name.endswith(" sign") for name in kinds),
            "pair": 2 in kinds.values() or bool({"scissors", "swords", "hammers", "scales"} & set(kinds)),
            "group": max(kinds.values()) > 2,
            "crowd": len(scene.instances) >= 6,
            "alone": len(scene.instances) == 1,
        }
        assert all(true[word] for word in words)
    assert found >= set(VISUAL) - {"group"}  # three of a kind are rare


def test_a_small_export_is_the_same_everywhere(tmp_path):
    """Everything `excitation symbols` writes, pictures by their pixels: computed once, on the pinned packages.

    Whatever changes this changes the world of all committed results, or the format: then `FORMAT` rises.
    """
    digest = hashlib.sha256()
    for split in ("train", "test", "dominant"):
        folder = tmp_path / split
        list(export_scenes(folder, 6, seed=7, split=split))
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                digest.update(f"{path.relative_to(folder).as_posix()}\n".encode())
                picture = path.suffix == ".png"
                digest.update(np.asarray(Image.open(path)).tobytes() if picture else path.read_bytes())
    assert digest.hexdigest() == "49e90b83081047ae52a6cb7f2c7647950019717e10bb643c7b4a7ca3c38ed3ed"


def test_an_earlier_layout_is_written_again(exported, tmp_path):
    """Format 1: no `voc/`, boxes by name in `boxes/`, and tags that do not say their noise."""
    whole = shutil.copytree(exported, tmp_path / "world")
    expected = tree(whole)
    (whole / "voc").rename(whole / "boxes")
    (whole / "tags.jsonl").write_text("{}\n")
    (whole / "world.json").write_text((whole / "world.json").read_text().replace('"format": 3', '"format": 1'))
    with pytest.raises(ExportError, match="holds other scenes"):
        list(export_scenes(whole, 6, seed=4))
    steps = export_scenes(whole, 6, seed=3)
    next(steps)
    steps.close()  # broken off, it goes on
    assert list(export_scenes(whole, 6, seed=3)) == [1, 2, 3, 4, 5, 6]
    assert tree(whole) == expected
