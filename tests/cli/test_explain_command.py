"""`excitation explain` as people and machines call it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import excitation as eb
from excitation.data._pictures import read_picture
from excitation.methods import find_method

NAMED = ("--model", "toy_models:named")


def near(peak, x, y):
    return abs(peak[0] - x) <= 7 and abs(peak[1] - y) <= 7


def test_a_line_a_figure_and_maps(run, folder, tmp_path, toys):
    out = tmp_path / "results" / "deep"
    code, lines, errors = run("explain", folder / "a.png", *NAMED, "--target", "0", "--target", "green thing",
                              "--out", out)  # fmt: skip
    assert (code, errors) == (0, f"excitation: 1 of 1 pictures explained; results in {out}.\n")
    first, second = lines.splitlines()
    assert first.startswith(f"{folder / 'a.png'}: red thing: score ")
    assert second.startswith(f"{folder / 'a.png'}: green thing: score ")
    assert ", mass 1.0000" in first
    assert sorted(path.name for path in out.iterdir()) == ["a.npz", "a.png"]
    with Image.open(out / "a.png") as shown:
        assert shown.width > 1000
    with np.load(out / "a.npz", allow_pickle=False) as stored:
        assert stored["maps"].shape == (2, 8, 8)
        assert stored["targets"].tolist() == ["0", "green thing"]
        assert str(stored["layer"]) == "pool"
        assert near(stored["peaks"][0], 20, 20)
        assert near(stored["peaks"][1], 70, 15)
        np.testing.assert_allclose(stored["masses"], 1, rtol=1e-6)
        model = toys.named()
        expected = eb.explain(model, model.preprocessing(read_picture(folder / "a.png"))[None], [0, 1])
        np.testing.assert_array_equal(stored["maps"], expected["pool"][0].numpy())
        np.testing.assert_array_equal(stored["scores"], expected.scores[0].numpy())


def test_json_lines(run, folder, tmp_path):
    words = ("explain", folder, *NAMED, "--target", "2", "--method", "c-mwp", "--out", tmp_path / "o", "--json")
    code, lines, errors = run(*words)
    assert code == 0
    assert "labels.csv" in errors
    assert len(errors.splitlines()) == 1
    rows = [json.loads(line) for line in lines.splitlines()]
    assert {row["image"] for row in rows} == {str(folder / f"{name}.png") for name in "abcd"}
    for row in rows:
        assert set(row) == {
            "image",
            "target",
            "name",
            "score",
            "peak",
            "mass",
            "empty",
            "layer",
            "figure",
            "maps",
            "index",
        }
        assert (row["target"], row["name"], row["layer"], row["index"]) == ("2", "blue thing", "pool", 0)
        assert near(row["peak"], 40, 45)
        with np.load(row["maps"]) as stored:
            assert stored["maps"][row["index"]].sum() == pytest.approx(row["mass"])
    again = run(*words)
    assert sorted(again[1].splitlines()) == sorted(lines.splitlines())


def test_shapes_share_batches(run, folder, tmp_path, toys):
    code, lines, _ = run("explain", folder, *NAMED, "--target", "1", "--out", tmp_path / "one", "--batch", "2")
    assert code == 0
    assert sorted(toys.calls) == [(1, 3, 64, 64), (1, 3, 64, 96), (2, 3, 64, 64)]
    toys.calls.clear()
    _, single, _ = run("explain", folder, *NAMED, "--target", "1", "--out", tmp_path / "two", "--batch", "1")
    assert [call[0] for call in toys.calls] == [1, 1, 1, 1]
    assert sorted(lines.splitlines()) == sorted(single.splitlines())


def test_finished_pictures_are_not_done_again(run, folder, tmp_path, toys, monkeypatch):
    from excitation import views

    out, words = tmp_path / "o", ("explain", folder, *NAMED, "--target", "0", "--batch", "1", "--out", tmp_path / "o")
    saved = views.save_figure

    def interrupted(fig, path):
        if path.stem == "c":
            raise KeyboardInterrupt
        saved(fig, path)

    monkeypatch.setattr(views, "save_figure", interrupted)
    code, lines, errors = run(*words)
    assert code == 130
    assert len(lines.splitlines()) == 2
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert sorted(path.name for path in out.iterdir()) == ["a.npz", "a.png", "b.npz", "b.png"]
    monkeypatch.setattr(views, "save_figure", saved)
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    toys.calls.clear()
    code, lines, _ = run(*words)
    assert code == 0
    assert len(lines.splitlines()) == 4
    assert len(toys.calls) == 2
    assert {path: path.stat().st_mtime_ns for path in before} == before
    toys.calls.clear()
    assert run(*words)[1] == lines
    assert toys.calls == []


def test_results_do_not_depend_on_when_they_were_made(run, folder, tmp_path):
    for name in "one", "two":
        run("explain", folder / "a.png", *NAMED, "--target", "0", "--out", tmp_path / name)
    for kind in "png", "npz":
        assert (tmp_path / "one" / f"a.{kind}").read_bytes() == (tmp_path / "two" / f"a.{kind}").read_bytes()


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (("--target", "1"), "targets"),
        (("--layer", "conv"), "layer"),
        (("--method", "c-mwp"), "method"),
        (("--model", "toy_models:double"), "model"),
    ],
)
def test_another_configuration_is_refused(run, folder, tmp_path, toys, change, name):
    words = ["explain", folder / "a.png", *NAMED, "--target", "0", "--out", tmp_path / "o"]
    assert run(*words)[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "o").iterdir()}
    toys.calls.clear()
    code, lines, errors = run(*words, *change)
    assert (code, lines) == (2, "")
    assert f"made with {name} " in errors
    assert "another --out" in errors
    assert toys.calls == []
    assert {path: path.read_bytes() for path in (tmp_path / "o").iterdir()} == before


def test_another_picture_of_that_name_is_refused(run, folder, tmp_path):
    words = ["explain", folder / "a.png", *NAMED, "--target", "0", "--out", tmp_path / "o"]
    run(*words)
    Image.new("RGB", (50, 50)).save(folder / "a.png")
    code, _, errors = run(*words)
    assert code == 2
    assert "made with picture " in errors


def test_two_pictures_for_one_result(run, folder, tmp_path):
    Image.new("RGB", (50, 50)).save(tmp_path / "A.jpg")
    code, _, errors = run(
        "explain", folder / "a.png", tmp_path / "A.jpg", *NAMED, "--target", "0", "--out", tmp_path / "o"
    )
    assert code == 0, errors
    assert sorted(path.name for path in (tmp_path / "o").glob("*.png")) == ["A.jpg.png", "a.png.png"]
    (folder / "sub").mkdir()
    shutil.copy(folder / "a.png", folder / "sub")
    words = ["explain", folder / "a.png", folder / "sub" / "a.png", *NAMED, "--target", "0", "--out", tmp_path / "p"]
    code, _, errors = run(*words)
    assert code == 2
    assert "would both be written to" in errors
    assert not (tmp_path / "p").exists()


def test_subfolders_are_explained_too(run, folder, tmp_path):
    (folder / "sub" / "deep").mkdir(parents=True)
    shutil.copy(folder / "a.png", folder / "sub" / "deep")
    out = folder / "results"  # within the folder that is searched
    words = ["explain", folder, *NAMED, "--target", "0", "--out", out, "--json"]
    code, lines, errors = run(*words)
    assert code == 0, errors
    made = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.npz"))
    assert made == ["a.npz", "b.npz", "c.npz", "d.npz", "sub/deep/a.npz"]
    assert len(lines.splitlines()) == 5
    again = run(*words)
    assert sorted(again[1].splitlines()) == sorted(lines.splitlines())


def test_no_picture_is_written_over(run, folder):
    before = (folder / "a.png").read_bytes()
    for words, said in (([folder / "a.png"], "would replace the picture"), ([folder], "folder of the results too")):
        code, lines, errors = run("explain", *words, *NAMED, "--target", "0", "--out", folder)
        assert (code, lines) == (2, "")
        assert said in errors
    assert (folder / "a.png").read_bytes() == before


def test_strange_files_where_results_should_be(run, folder, tmp_path):
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "a.npz").write_text("mine")
    words = ["explain", folder / "a.png", *NAMED, "--target", "0", "--out"]
    code, _, errors = run(*words, tmp_path / "o")
    assert code == 2
    assert "is no result" in errors
    np.savez(tmp_path / "o" / "a.npz", other=np.zeros(3))
    assert "is no result" in run(*words, tmp_path / "o")[2]
    assert "is a file; give a folder" in run(*words, folder / "labels.csv")[2]


def test_an_unreadable_picture_is_left_out(run, folder, tmp_path):
    (folder / "b.png").write_bytes((folder / "b.png").read_bytes()[:100])
    Image.new("RGB", (640, 10)).save(folder / "thin.png")
    code, lines, errors = run("explain", folder, *NAMED, "--target", "0", "--out", tmp_path / "o")
    assert code == 2
    assert len(lines.splitlines()) == 3
    _, damaged, thin, end = errors.splitlines()
    assert end == f"excitation: 3 of 5 pictures explained, 2 left out; results in {tmp_path / 'o'}."
    assert damaged.startswith(f"excitation: {folder / 'b.png'}: is truncated or damaged: ")
    assert thin.startswith(f"excitation: {folder / 'thin.png'}: the picture is 640 x 10 pixels, more than 16 times")


def test_signed_and_against_a_class(run, folder, tmp_path):
    words = ("explain", folder / "a.png", *NAMED, "--target", "red thing", "--json", "--against", "green thing")
    for extra in [(), ("--signed",)]:
        out = tmp_path / f"o{len(extra)}"
        code, lines, errors = run(*words, *extra, "--out", out)
        assert (code, errors) == (0, "")
        assert near(json.loads(lines)["peak"], 20, 20)
        with np.load(out / "a.npz") as stored:
            assert (stored["maps"].min() < -0.01) == bool(extra)


def test_against_rivals(run, folder, tmp_path, toys):
    words = ("explain", folder / "a.png", *NAMED, "--target", "1", "--method", "r-mwp", "--signed", "--json")
    code, lines, errors = run(*words, "--out", tmp_path)
    assert (code, errors) == (0, "")
    row = json.loads(lines)
    assert near(row["peak"], 70, 15)
    assert abs(row["mass"]) < 1e-6
    loaded = toys.named()
    images = loaded.preprocessing(read_picture(folder / "a.png"))[None]
    with np.load(row["maps"]) as stored:
        expected = find_method("r-mwp")(loaded, images, [1], signed=True)[0]
        np.testing.assert_allclose(stored["maps"], expected.numpy(), rtol=0, atol=1e-6)


def test_an_empty_map_has_no_peak(run, folder, tmp_path, monkeypatch):
    """A class against itself: nothing is left, and the corner is not named for it."""
    from excitation.views import _figure

    rings = []
    monkeypatch.setattr(_figure, "ring", lambda axes, peak, *more: rings.append(peak))
    words = ("explain", folder / "a.png", *NAMED, "--target", "0", "--target", "1", "--against", "0")
    code, lines, errors = run(*words, "--out", tmp_path)
    assert code == 0
    assert "is empty: the subtracted map is the same" in errors
    first, second = lines.splitlines()
    assert first.endswith(", no peak, mass 0.0000, empty")
    assert ", peak (" in second
    (peak,) = rings
    assert near(peak, 70, 15)
    again = run(*words, "--out", tmp_path, "--json")[1].splitlines()  # from the file
    assert json.loads(again[0])["peak"] is None
    assert json.loads(again[0])["empty"] is True
    assert near(json.loads(again[1])["peak"], 70, 15)
    with np.load(tmp_path / "a.npz") as stored:
        assert stored["peaks"][0].tolist() == [-1, -1]


def test_the_map_of_a_crop_lies_in_the_crop(run, tmp_path, toys):
    toys.scene((200, 100), (60, 50), (100, 20), (140, 80)).save(tmp_path / "wide.png")
    _, lines, _ = run("explain", tmp_path / "wide.png", "--model", "toy_models:cropping", "--target", "0", "--target",
                      "2", "--json", "--out", tmp_path / "o")  # fmt: skip
    red, blue = (json.loads(line)["peak"] for line in lines.splitlines())
    assert near(red, 60, 50)
    assert near(blue, 140, 80)
    with np.load(tmp_path / "o" / "wide.npz") as stored:
        assert stored["box"].tolist() == [50, 0, 150, 100]


def test_one_arm_is_told_once(run, folder, tmp_path):
    code, _, errors = run("explain", folder, "--model", "toy_models:two_arms", "--target", "0", "--layer", "conv",
                          "--batch", "1", "--out", tmp_path / "o")  # fmt: skip
    assert code == 0
    assert len([line for line in errors.splitlines() if "in one branch" in line]) <= 4
    assert all(line.startswith("excitation: ") for line in errors.splitlines())
    assert "layer 'conv' is in one branch of the network" in errors


def test_double_precision_stays(run, folder, tmp_path):
    run("explain", folder / "a.png", "--model", "toy_models:double", "--target", "0", "--out", tmp_path / "o")
    with np.load(tmp_path / "o" / "a.npz") as stored:
        assert stored["maps"].dtype == np.float64


ERRORS = {
    "no picture": (["nowhere.png"], "no such file or folder"),
    "no class": (["a.png", "--target", "red thong"], "'red thing'"),
    "class number": (["a.png", "--target", "3"], "target 3 is not a class"),
    "against": (["a.png", "--against", "7"], "target 7 is not a class"),
    "method mistyped": (["a.png", "--method", "c-mpw"], "unknown method 'c-mpw'. Nearest: 'c-mwp'"),
    "layer": (["a.png", "--layer", "pol"], "'pool'"),
    "layer without space": (["a.png", "--layer", "classify"], "has no spatial axes"),
    "batch": (["a.png", "--batch", "0"], "--batch"),
    "option": (["a.png", "--colour", "red"], "--colour"),
    "no module": (["a.png", "--model", "no_such_module:f"], "'no_such_module' cannot be imported"),
    "no factory": (["a.png", "--model", "toy_models:g"], "has no 'g'"),
    "scheme mistyped": (["a.png", "--model", "torchvison:resnet18"], "did you mean torchvision:NAME[@WEIGHTS]?"),
    "no folder": (["a.png", "--model", "hf:./nofile"], "there is no folder './nofile'"),
    "no scheme": (["a.png", "--model", "resnet18"], "has an unknown form"),
    "factory fails": (["a.png", "--model", "toy_models:failing"], "RuntimeError: no such luck"),
    "not a model": (["a.png", "--model", "toy_models:nothing"], "returned int"),
    "not a factory": (["a.png", "--model", "toy_models:not_callable"], "is of type int"),
    "no weights": (["a.png", "--model", "toy_models:bare@w.safetensors"], "w.safetensors: no such file"),
    "names unknown": (["a.png", "--model", "toy_models:bare", "--target", "red"], "no class_names"),
    "network fails": (["a.png", "--model", "toy_models:breaking"], "RuntimeError"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_are_one_line(run, folder, monkeypatch, case):
    monkeypatch.chdir(folder)
    words, expected = ERRORS[case]
    target = () if "--target" in words else ("--target", "0")
    model = () if "--model" in words else NAMED
    code, lines, errors = run("explain", *words, *target, *model, "--out", "o")
    assert code == 2
    assert lines == ""
    assert len(errors.splitlines()) == 1
    assert errors.startswith("excitation: ")
    assert expected in errors
    assert not (folder / "o").exists()


def test_missing_words(run):
    for words in [(), ("explain",), ("explain", "a.png"), ("nonsense",)]:
        code, lines, errors = run(*words)
        assert code == 2
        assert lines == ""
        assert len(errors.splitlines()) == 1
        command = "excitation explain" if words[:1] == ("explain",) else "excitation"
        assert errors.endswith(f"; see `{command} --help`.\n")


@pytest.mark.parametrize("module", ["excitation", "excitation.cli"])
def test_the_program_is_a_module(module):
    done = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (f"excitation {eb.__version__}\n", "")


def test_debug_shows_where(folder, toys):
    from excitation.cli import main

    with pytest.raises(eb.TargetError):
        main(["explain", str(folder / "a.png"), *NAMED, "--target", "9", "--out", str(folder / "o"), "--debug"])


def test_help_and_version(run):
    assert run("--version") == (0, f"excitation {eb.__version__}\n", "")
    code, lines, errors = run("explain", "--help")
    assert (code, errors) == (0, "")
    for word in ("--model", "--target", "--layer", "--method", "--against", "--signed", "--out", "--json", "--batch"):
        assert word in lines


def test_real_photos(run, shared, tmp_path):
    """What the figures in the paper show, with a real network: each animal where it is."""
    shared("models/squeezenet_v1.0")
    photos = shared("data/photos")
    words = ["--model", "toy_models:squeezenet", "--json", "--method", "c-mwp"]
    found = {}
    for name, targets in {
        "catdog.jpg": ["tabby", "golden retriever"],
        "n02391049_zebra.JPEG": ["zebra"],
        "n04507155_umbrella.JPEG": ["umbrella"],
    }.items():
        asked = [word for target in targets for word in ("--target", target)]
        code, lines, errors = run("explain", photos / name, *asked, *words, "--out", tmp_path)
        assert (code, errors) == (0, "")
        found |= {row["target"]: row for row in map(json.loads, lines.splitlines())}
    boxes = {  # drawn by hand
        "tabby": (15, 55, 105, 220),
        "golden retriever": (105, 0, 222, 222),
        "zebra": (0, 20, 410, 375),
        "umbrella": (35, 40, 345, 365),
    }
    for target, (x0, y0, x1, y1) in boxes.items():
        x, y = found[target]["peak"]
        assert x0 <= x < x1, target
        assert y0 <= y < y1, target
        assert 0.05 < found[target]["mass"] < 1
    assert found["zebra"]["score"] > 20


def test_class_names_from_a_file(run, folder, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("crimson\nlime\nnavy\n")
    words = [
        "explain",
        folder / "a.png",
        "--model",
        "toy_models:bare",
        "--class-names",
        names,
        "--out",
        tmp_path / "out",
    ]
    code, out, err = run(*words, "--target", "navy")
    assert (code, err) == (0, f"excitation: 1 of 1 pictures explained; results in {tmp_path / 'out'}.\n")
    assert "navy: score" in out
    code, _, err = run(*words, "--target", "navi")
    assert code == 2
    names.write_text("crimson\nlime\nteal\n")
    code, _, err = run(*words, "--target", "navy")
    assert code == 2
    assert "class_names" in err
    code, _, err = run(*words[:5], tmp_path / "none.txt", "--target", "navy", "--out", tmp_path / "other")
    assert code == 2
    assert "none.txt" in err
