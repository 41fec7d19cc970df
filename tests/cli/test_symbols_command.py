"""`excitation symbols` as a person calls it."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("pycocotools", reason="pycocotools is not installed", exc_type=ImportError)


def test_scenes_appear_and_a_second_call_finds_them(run, tmp_path):
    out = tmp_path / "world"
    code, _, err = run("symbols", "--count", 2, "--seed", 5, "--out", out)
    assert (code, "2 scenes" in err) == (0, True)
    assert len(json.loads((out / "annotations" / "instances.json").read_text())["images"]) == 2
    before = (out / "annotations" / "instances.json").stat().st_mtime_ns
    assert run("symbols", "--count", 2, "--seed", 5, "--out", out)[0] == 0
    assert (out / "annotations" / "instances.json").stat().st_mtime_ns == before


def test_other_scenes_and_splits_are_refused_in_one_line(run, tmp_path):
    out = tmp_path / "world"
    run("symbols", "--count", 1, "--out", out)
    code, _, err = run("symbols", "--count", 1, "--seed", 1, "--out", out)
    assert code == 2
    assert "holds other scenes" in err
    code, _, err = run("symbols", "--count", 1, "--split", "tests", "--out", tmp_path / "other")
    assert code == 2
    assert err.count("\n") == 1
    assert "choose one of train, val, test, dominant" in err
    assert not (tmp_path / "other").exists()
