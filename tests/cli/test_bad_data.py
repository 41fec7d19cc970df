"""Bad data from the command line: counted, listed by path, never a crash. And shards, merging, the paper's figures."""

from __future__ import annotations

import json

import pytest
from PIL import Image, ImageDraw

pytest.importorskip("pycocotools", reason="pycocotools is not installed", exc_type=ImportError)

COLOURS = {"red": "red", "green": "lime", "blue": "blue"}
BOX = [8, 8, 32, 24]


def ring(x, y, width, height):
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def make_world(folder, count=6):
    """Pictures with one coloured rectangle each, as a COCO data set and the mapping to the toy network's classes."""
    (folder / "annotations").mkdir(parents=True)
    (folder / "images").mkdir()
    images, notes = [], []
    for number in range(count):
        picture = Image.new("RGB", (64, 64), "white")
        colour = list(COLOURS.values())[number % 3]
        ImageDraw.Draw(picture).rectangle((BOX[0], BOX[1], BOX[0] + BOX[2] - 1, BOX[1] + BOX[3] - 1), fill=colour)
        picture.save(folder / f"images/{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": 64, "width": 64})
        notes.append({"id": number, "image_id": number, "category_id": number % 3 + 1, "bbox": BOX,
                      "segmentation": ring(*BOX), "iscrowd": 0})  # fmt: skip
    categories = [{"id": place, "name": name} for place, name in enumerate([*COLOURS, "hat"], start=1)]
    content = {"images": images, "annotations": notes, "categories": categories}
    (folder / "annotations/instances.json").write_text(json.dumps(content))
    (folder / "mapping.json").write_text(json.dumps({name: [place] for place, name in enumerate(COLOURS)}))
    return folder


def changed(folder, change):
    """Put something wrong into the annotations."""
    file = folder / "annotations/instances.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def empty_category(folder):
    changed(folder, lambda c: c["annotations"][1].update(category_id=4))


def missing_image(folder):
    (folder / "images/1.png").unlink()


def truncated_image(folder):
    place = folder / "images/1.png"
    place.write_bytes(place.read_bytes()[:60])


def mask_outside(folder):
    changed(folder, lambda c: c["annotations"][1].update(segmentation=ring(70, 70, 9, 9)))


def box_without_area(folder):
    changed(folder, lambda c: c["annotations"][1].update(bbox=[8, 8, 0, 24]))


def another_size(folder):
    changed(folder, lambda c: c["images"][1].update(width=50))


def mask_of_another_size(folder):
    runs = {"size": [50, 64], "counts": [0, 3200]}
    changed(folder, lambda c: c["annotations"][1].update(segmentation=runs, iscrowd=1))


BAD = [
    (empty_category, "hat left out since the category has no classes"),
    (missing_image, "1.png: image 1 in instances.json: its picture is missing"),
    (truncated_image, "1.png: is truncated or damaged"),
    (mask_outside, "annotation 1 of image 1: its segmentation lies outside the image"),
    (box_without_area, "annotation 1 of image 1 has a box without area"),
    (another_size, "is 64 x 64 pixels, its annotation is for 50 x 64"),
    (mask_of_another_size, "its segmentation is for a size [50, 64]"),
]

GAMES = {
    "pointing": ["--methods", "mwp,c-mwp,centre", "--shortest", 64],
    "contrast": ["--methods", "mwp,gradient,c-gradient", "--shortest", 64],
    "layers": ["--methods", "mwp", "--held-out", 2, "--shortest", 64],
    "localization": ["--methods", "mwp", "--size", 64, "--held-out", 2],
    "deletion": ["--methods", "mwp", "--shortest", 64, "--steps", 2],
    "grid": ["--methods", "mwp", "--cell", 64, "--low", 0, "--mosaics", 2, "--side", 2],
}


def bench(game, world, out):
    return ["bench", game, "--data", f"coco:{world}", "--model", "toy_models:named", "--mapping",
            world / "mapping.json", "--out", out, *GAMES[game]]  # fmt: skip


@pytest.mark.parametrize(("spoil", "said"), BAD)
@pytest.mark.parametrize("game", ["pointing", "localization"])
def test_what_is_wrong_is_listed_and_the_rest_is_played(run, tmp_path, game, spoil, said):
    world, out = make_world(tmp_path / "world"), tmp_path / "run.sqlite"
    spoil(world)
    code, table, err = run(*bench(game, world, out))
    assert code == 0, err
    assert "5 pairs" in table
    listed = run("report", out, "--problems")[1]
    assert said in listed
    assert listed.count("\n") == 1
    if spoil is empty_category:
        assert "1 pairs left out, 0 problems" in err
        assert "1 pairs left out since the category has no classes" in table
    else:
        assert "0 pairs left out, 1 problems" in err
        assert said in err
        assert "1 problems with the data, listed in run.sqlite" in table


@pytest.mark.parametrize("game", ["contrast", "layers", "deletion"])
def test_all_that_is_wrong_at_once(run, tmp_path, game):
    world, out = make_world(tmp_path / "world", 9), tmp_path / "run.sqlite"
    missing_image(world)
    changed(world, lambda c: c["annotations"][2].update(bbox=[8, 8, 0, 24]))
    changed(world, lambda c: c["images"][3].update(width=50))
    code, table, err = run(*bench(game, world, out))
    assert code == 0, err
    assert "3 problems" in err
    assert "6 pairs" in table


def test_a_data_set_without_anything_usable_is_told_in_a_line(run, tmp_path):
    world, out = make_world(tmp_path / "world", 2), tmp_path / "run.sqlite"
    for picture in (world / "images").iterdir():
        picture.unlink()
    code, table, err = run(*bench("pointing", world, out))
    assert (code, table) == (2, "")
    assert "0 rows" in err
    assert err.splitlines()[-1].endswith("there is no result: 2 problems with the data are listed above.")
    code, _, err = run("report", out)
    assert code == 2
    assert "has no results to report" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("game", list(GAMES))
def test_categories_that_are_no_classes_are_told_before_anything_runs(run, tmp_path, game):
    world, out = make_world(tmp_path / "world"), tmp_path / "run.sqlite"
    words = bench(game, world, out)
    words[words.index("--mapping") + 1] = tmp_path / "other.json"
    (tmp_path / "other.json").write_text('{"pink": [1]}')
    code, table, err = run(*words)
    assert (code, table) == (2, "")
    (line,) = err.splitlines()
    assert "none of the 4 categories of world (red, green, blue, hat) is a class of the network (3: red thing" in line
    assert "--mapping FILE" in line
    assert not out.exists()
    del words[words.index("--mapping") : words.index("--mapping") + 2]
    assert "none of the 4 categories" in run(*words)[2]  # the classes are called otherwise


def test_pairs_left_out_one_and_all_are_no_success(run, tmp_path):
    world, out = make_world(tmp_path / "world", 2), tmp_path / "run.sqlite"
    (world / "mapping.json").write_text('{"blue": [2]}')  # in none of the two pictures
    code, table, err = run(*bench("pointing", world, out))
    assert (code, table) == (2, "")
    assert "there is no result: 2 pairs were left out since the category has no classes." in err


@pytest.mark.parametrize("game", ["pointing", "localization", "deletion"])
def test_mixtures_by_probability(run, tmp_path, game):
    world, out = make_world(tmp_path / "world"), tmp_path / "run.sqlite"
    (world / "mapping.json").write_text('{"red": [0, 1], "blue": [2]}')
    words = bench(game, world, out)
    code, table, err = run(*words, "--mixture", "probability")
    assert code == 0, err
    assert "several classes of a category weighted by their probability in the picture" in " ".join(table.split())
    code, _, err = run(*words)
    assert code == 2
    assert 'mixture was "probability", is "equal"' in err
    assert run(*words, "--mixture", "loud")[0] == 2


def test_too_few_classes_for_a_mosaic_are_told_in_a_line(run, tmp_path):
    code, _, err = run(*bench("grid", make_world(tmp_path / "world"), tmp_path / "run.sqlite"))
    assert code == 2
    assert "need photos of 4 classes" in err
    assert err.count("\n") == 1


def test_shards_are_merged_and_reported_with_the_paper_s_figures(run, tmp_path):
    world, parts = make_world(tmp_path / "world"), [tmp_path / "1.sqlite", tmp_path / "2.sqlite"]
    for number, part in enumerate(parts, start=1):
        assert run(*bench("pointing", world, part), "--shard", f"{number}/2")[0] == 0
    assert run("merge", parts[0], "--out", tmp_path / "half.sqlite")[0] == 2
    assert run("merge", *parts, "--out", tmp_path / "merged.sqlite")[0] == 0
    run(*bench("pointing", world, tmp_path / "whole.sqlite"))
    merged, whole = (run("report", tmp_path / f"{name}.sqlite", "--form", "csv")[1] for name in ("merged", "whole"))
    assert merged == whole
    figures = tmp_path / "figures"
    code, table, _ = run("report", tmp_path / "merged.sqlite", "--paper", "--figures", figures)
    assert code == 0
    assert "72.3 in Table 1 and 70.6 in Table 2" in table
    assert [item.name for item in figures.iterdir()] == ["merged_categories.png"]
    assert run(*bench("pointing", world, tmp_path / "x"), "--shard", "3/2")[0] == 2


def test_signals_layers_and_options_of_single_methods(run, tmp_path):
    world, out = make_world(tmp_path / "world", 3), tmp_path / "run.sqlite"
    words = [word for word in bench("pointing", world, out) if word != "mwp,c-mwp,centre"]
    words.remove("--methods")
    words += [
        "--methods",
        "mwp@conv+pool,gradient:channels=mean,c-mwp:spatial=softmax",
        "--spatial",
        "response,softmax",
    ]
    code, table, err = run(*words)
    assert code == 0, err
    for name in ("mwp @ conv", "mwp @ pool", "mwp (softmax) @ conv", "gradient:channels=mean", "c-mwp (softmax)"):
        assert name in table
    chosen = run("report", out, "--held-out", 2)[1]
    assert "Layers chosen on 2 held-out images" in chosen
    assert "accuracy on the 1 others" in chosen
    for wrong, said in (("mwp,mwp", "given twice"), ("mwp:colour=1", "no option 'colour'"), ("mwp:x", "OPTION=VALUE")):
        code, _, err = run("bench", "pointing", "--data", f"coco:{world}", "--model", "toy_models:named", "--out",
                           tmp_path / "other", "--methods", wrong)  # fmt: skip
        assert code == 2
        assert said in err
