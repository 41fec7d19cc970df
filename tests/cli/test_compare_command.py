"""`excitation compare` as people and machines call it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from excitation import views
from excitation.cli._results import Result
from excitation.data._pictures import read_picture
from excitation.methods import find_method, post_process

NAMED = ("--model", "toy_models:named")


def near(peak, x, y):
    return abs(peak[0] - x) <= 7 and abs(peak[1] - y) <= 7


def test_the_papers_methods_by_default(run, folder, tmp_path, toys):
    """Every map as the method itself gives it, raw in its file, its peak found after the paper's steps."""
    out = tmp_path / "o"
    words = ("compare", folder / "b.png", *NAMED, "--target", "0", "--target", "green thing", "--out", out, "--json")
    code, lines, errors = run(*words)
    assert (code, errors) == (0, "")
    rows = [json.loads(line) for line in lines.splitlines()]
    names = ["gradient", "deconv", "lrp", "cam", "grad-cam", "layer-cam", "mwp", "c-mwp"]
    assert [row["method"] for row in rows] == [name for name in names for _ in range(2)]
    assert {path.name for path in (out / "b").iterdir()} == {f"{name}.npz" for name in names}
    model = toys.named()
    images = model.preprocessing(read_picture(folder / "b.png"))[None]
    with torch.no_grad():
        scores = model.model.eval()(images)[0].tolist()
    for row in rows:
        assert (row["target"], row["name"]) == [("0", "red thing"), ("green thing", "green thing")][row["index"]]
        assert row["score"] == pytest.approx(scores[row["index"]], rel=1e-5)
        assert row["seconds"] > 0
        assert row["figure"] == str(out / "b.compare.png")
        method = find_method(row["method"])
        raw = method(model, images, [row["index"]])
        with np.load(row["maps"]) as stored:
            found = stored["maps"][row["index"]]
            assert json.loads(str(stored["configuration"]))["method"] == method.name
        assert np.allclose(found, raw[0, 0], rtol=1e-5, atol=1e-6 * float(raw.abs().max()))
        assert row["mass"] == pytest.approx(float(raw.sum()), rel=1e-4, abs=1e-6)
        shown = post_process(raw, method.steps, images.shape[2:])[0, 0]
        y, x = divmod(int(shown.argmax()), shown.shape[1])
        scale = 96 / images.shape[3]
        assert abs(row["peak"][0] - scale * x) <= 2
        assert abs(row["peak"][1] - scale * y) <= 2
    peaks = {(row["method"], row["index"]): row["peak"] for row in rows}
    assert near(peaks["c-mwp", 0], 20, 20)
    assert near(peaks["c-mwp", 1], 70, 15)


def test_lines_for_people(run, folder, tmp_path):
    code, lines, errors = run("compare", folder / "a.png", *NAMED, "--target", "2", "--methods", " mwp, cam ", "--out",
                              tmp_path)  # fmt: skip
    assert code == 0
    first, second = lines.splitlines()
    assert first.startswith(f"{folder / 'a.png'}: mwp: blue thing: score ")
    assert ", mass 1, all in " in first
    assert second.startswith(f"{folder / 'a.png'}: cam: blue thing: ")
    assert "mass" not in second  # it has no unit
    assert errors == f"excitation: figure {tmp_path / 'a.compare.png'}, raw maps in {tmp_path / 'a'}.\n"
    with Image.open(tmp_path / "a.compare.png") as drawn:
        assert drawn.height > 1.5 * drawn.width


def test_explain_and_compare_keep_each_others_files(run, folder, tmp_path):
    words = (folder / "a.png", *NAMED, "--target", "0", "--out", tmp_path / "o")
    assert run("explain", *words)[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "o").glob("*.*")}
    assert sorted(path.name for path in before) == ["a.npz", "a.png"]
    assert run("compare", *words, "--methods", "mwp")[0] == 0
    compared = (tmp_path / "o" / "a.compare.png").read_bytes()
    assert {path: path.read_bytes() for path in before} == before
    assert run("explain", *words, "--layer", "pool")[0] == 2
    assert run("explain", *words)[0] == 0
    assert (tmp_path / "o" / "a.compare.png").read_bytes() == compared


def test_a_method_that_does_not_apply_is_told_with_its_reason(run, folder, tmp_path, monkeypatch):
    drawn = []
    whole = views.comparison
    monkeypatch.setattr(views, "comparison", lambda *args, **more: drawn.append(args[2]) or whole(*args, **more))
    words = ("compare", folder / "a.png", "--model", "toy_models:flattening", "--target", "1", "--out", tmp_path)
    code, lines, errors = run(*words, "--methods", "cam,gradient", "--json")
    assert (code, errors) == (0, "")
    cam, gradient = map(json.loads, lines.splitlines())
    assert "CAM does not apply to this network" in cam["problem"]
    assert set(cam) == {"image", "method", "layer", "figure", "problem"}
    assert gradient["mass"] > 0
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["gradient.npz"]
    ((full, empty),) = drawn
    assert (empty.name, len(empty.maps), empty.reason) == ("CAM", 0, cam["problem"])
    assert len(full.maps) == 1
    code, lines, errors = run(*words, "--methods", "cam")
    assert (code, lines) == (2, "")
    assert "none of the methods applies. cam: CAM does not apply" in errors


def test_an_invalid_option_of_a_method_is_an_error(run, folder, tmp_path):
    words = ("compare", folder / "a.png", *NAMED, "--target", "0", "--out", tmp_path)
    code, lines, errors = run(*words, "--methods", "mwp:spatial=zzz,mwp")
    assert (code, lines) == (2, "")
    assert len(errors.splitlines()) == 1
    assert "'zzz'" in errors


def test_an_empty_map_has_no_peak(run, folder, tmp_path):
    """c-Gradient is zero everywhere, and blurring does not change that."""
    words = ("compare", folder / "a.png", *NAMED, "--target", "0", "--methods", "c-gradient,mwp", "--out", tmp_path)
    code, lines, errors = run(*words, "--json")
    assert (code, errors) == (0, "")
    empty, full = map(json.loads, lines.splitlines())
    assert (empty["peak"], empty["mass"]) == (None, 0.0)
    assert near(full["peak"], 20, 20)
    first, second = run(*words)[1].splitlines()
    assert ", no peak, all in " in first
    assert ", peak (" in second
    empty, full = (Result.load(tmp_path / f"a/{name}.npz").empty.tolist() for name in ("c-gradient", "mwp"))
    assert (empty, full) == ([True], [False])


def test_what_an_earlier_run_found_is_not_done_again(run, folder, tmp_path, toys):
    words = ("compare", folder / "a.png", *NAMED, "--target", "0", "--out", tmp_path)
    assert run(*words, "--methods", "mwp")[0] == 0
    before = (tmp_path / "a" / "mwp.npz").read_bytes()
    toys.calls.clear()
    assert run(*words, "--methods", "mwp")[0] == 0
    assert toys.calls == []
    code, lines, _ = run(*words, "--methods", "mwp,gradient")
    assert code == 0
    assert len(lines.splitlines()) == 2
    assert (tmp_path / "a" / "mwp.npz").read_bytes() == before
    code, lines, errors = run(*words[:-2], "--target", "1", *words[-2:], "--methods", "mwp")
    assert (code, lines) == (2, "")
    assert "made with targets " in errors


def test_layers(run, folder, tmp_path):
    """--layer is Excitation Backprop's; any method can have one of its own."""
    code, lines, _ = run("compare", folder / "a.png", *NAMED, "--target", "0", "--layer", "conv", "--out", tmp_path,
                         "--methods", "mwp,c-mwp@pool,gradient,grad-cam@conv", "--json")  # fmt: skip
    assert code == 0
    sizes = {}
    for row in map(json.loads, lines.splitlines()):
        with np.load(row["maps"]) as stored:
            sizes[row["method"], row["layer"]] = stored["maps"].shape[1:]
    assert sizes == {("mwp", "conv"): (16, 16), ("c-mwp", "pool"): (8, 8), ("gradient", None): (64, 64),
                     ("grad-cam", "conv"): (16, 16)}  # fmt: skip


ERRORS = {
    "no picture": (["nowhere.png"], "no such file"),
    "no class": (["a.png", "--target", "red thong"], "'red thing'"),
    "no method": (["a.png", "--methods", "mwp,gradeint"], "Nearest: 'gradient'"),
    "none": (["a.png", "--methods", " , "], "no method is given"),
    "twice": (["a.png", "--methods", "mwp,eb"], "'eb' is given twice"),
    "no layer": (["a.png", "--layer", "pol"], "'pool'"),
    "no own layer": (["a.png", "--methods", "grad-cam@pol"], "'pool'"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_are_one_line_before_any_work(run, folder, monkeypatch, case):
    monkeypatch.chdir(folder)
    words, expected = ERRORS[case]
    target = () if "--target" in words else ("--target", "0")
    code, lines, errors = run("compare", *words, *target, *NAMED, "--out", "o")
    assert (code, lines) == (2, "")
    assert len(errors.splitlines()) == 1
    assert expected in errors
    assert not (folder / "o").exists()
