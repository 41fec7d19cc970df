"""`excitation ground` with files that are missing or of another kind."""

from __future__ import annotations

import inspect
import json
import os

import pytest

import excitation as eb

NAMED = ("--model", "toy_models:named")


def refused(run, *words):
    code, lines, errors = run("ground", *words, "--text", "A red thing.", *NAMED)
    assert (code, lines) == (2, "")
    assert len(errors.splitlines()) == 1
    assert "Errno" not in errors
    assert "codec" not in errors
    return errors


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pictures_that_are_none(run, folder, tmp_path):
    assert "no such file" in refused(run, folder / "nowhere.png", "--out", tmp_path / "o")
    os.mkfifo(tmp_path / "pipe.png")
    assert "is not a file" in refused(run, tmp_path / "pipe.png", "--out", tmp_path / "o")
    assert not (tmp_path / "o").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_class_names_that_are_none(run, folder, tmp_path, monkeypatch):
    from excitation.cli import _options

    names = tmp_path / "names.txt"
    os.mkfifo(tmp_path / "pipe")
    words = ("--target", "0", *NAMED, "--out", tmp_path / "o", "--class-names")

    def said(path):
        ground = refused(run, folder / "a.png", "--out", tmp_path / "o", "--class-names", path)
        assert run("explain", folder / "a.png", *words, path) == (2, "", ground)
        assert f"--class-names {path} " in ground
        return ground

    assert "cannot be read: No such file" in said(names)
    assert "not a plain file" in said(tmp_path / "pipe")
    names.write_bytes(b"\xff\xfe\x00")
    assert "is not text in UTF-8; give a text file" in said(names)
    monkeypatch.setattr(_options, "MAX_NAMES", 2)
    assert "has more than 2 bytes; give a text file" in said(names)
    assert not (tmp_path / "o").exists()


def test_maps_with_other_class_names_are_not_used(run, folder, tmp_path):
    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    words = ("explain", folder / "a.png", "--target", "0", *NAMED, "--format", "none", "--out", tmp_path / "o")
    assert run(*words, "--class-names", tmp_path / "names.txt")[0] == 0
    code, _, errors = run(*words)
    assert code == 2
    assert "was made with class_names" in errors


def test_options_are_checked_as_in_explain(run, folder, tmp_path):
    for more, expected in {
        ("--device", "abacus"): "choose one of cpu",
        ("--policy", "normalizer=spread"): "not of the form NAME=VALUE",
        ("--policy", "residual=branch", "--method", "cam"): "no option 'policies'",
        ("--method", "mwp@conv"): "give it as --layer conv",
    }.items():
        assert expected in refused(run, folder / "a.png", "--out", tmp_path / "o", *more)
    assert not (tmp_path / "o").exists()


def test_maps_with_a_policy_and_without_a_figure(run, folder, tmp_path):
    pytest.importorskip("simplemma", reason="simplemma (extra 'grounding') is not installed")
    words = ("ground", folder / "a.png", "--text", "A red thing.", *NAMED, "--no-boxes", "--format", "none", "--out")
    code, _, errors = run(*words, tmp_path / "o", "--policy", "normaliser=spread")
    assert code == 0, errors
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == ["a.ground.json", "a.ground.npz"]
    assert "was made with policies" in run(*words, tmp_path / "o")[2]
    details = json.loads((tmp_path / "o" / "a.ground.json").read_text())
    assert details["configuration"]["method"] == inspect.signature(eb.ground).parameters["method"].default
