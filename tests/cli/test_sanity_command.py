"""`excitation sanity` on scenes of the symbol world, and on pictures."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("pycocotools", reason="pycocotools is not installed", exc_type=ImportError)


def test_both_checks_on_a_scene(run, tmp_path):
    world, out = tmp_path / "world", tmp_path / "out"
    run("symbols", "--count", 1, "--out", world)
    words = ["sanity", "randomisation", "--data", f"coco:{world}", "--model", "symbols", "--out", out, "--every", 9]
    words += ["--methods", "mwp,centre", "--strip", "mwp", "--expensive", 0]
    code, table, err = run(*words)
    assert code == 0, err
    assert "1 images, 2 methods" in err
    made = {path.name for path in out.iterdir()}
    assert made == {
        "randomisation.json", "randomisation.md", "randomisation-grid.png", "randomisation-absolute.png",
        "randomisation-ssim.png", "randomisation-hog.png", "strip.png",
    }  # fmt: skip
    found = json.loads((out / "randomisation.json").read_text())
    assert found["configuration"]["stages"][0] == "classifier"
    assert len(found["images"]) == 1
    assert all(entry["methods"]["centre"]["9"]["rank"] == 1 for entry in found["images"].values())
    assert run(*words)[1] == table
    code, _, err = run(*words, "--independent", "--methods", "mwp")
    assert code == 0, err
    assert {path.name for path in out.iterdir()} - made == {
        "independent.json", "independent.md", "independent-grid.png", "independent-absolute.png",
        "independent-ssim.png", "independent-hog.png",
    }  # fmt: skip
    assert json.loads((out / "independent.json").read_text())["configuration"]["order"] == "independent"
    words = ["sanity", "convergence", "--data", f"coco:{world}", "--model", "symbols", "--out", out, "--pairs", 1]
    code, table, _ = run(*words, "--methods", "mwp,gradient")
    assert code == 0
    assert "gradient" in table
    assert (out / "convergence.png").exists()
    code, _, err = run(*words, "--methods", "mwp")
    assert code == 2
    assert "another configuration (methods)" in err


def test_pictures_are_asked_for_their_most_likely_class(run, folder, toys, tmp_path):
    words = ["sanity", "randomisation", "--images", folder / "a.png", "--images", folder / "b.png"]
    code, _, err = run(*words, "--model", "toy_models:named", "--methods", "gradient", "--out", tmp_path / "out")
    assert code == 0, err
    assert "left out" not in err
    found = json.loads((tmp_path / "out" / "randomisation.json").read_text())
    assert set(found["images"]) == {"a.png", "b.png"}
    assert set(found["configuration"]["images"]) == {"a.png", "b.png"}


def test_wrong_words_are_refused_in_one_line(run, tmp_path):
    words = ["sanity", "convergence", "--model", "symbols", "--out", tmp_path]
    for more, said in (
        ([], "either --data SPEC or --images PATH"),
        (["--images", tmp_path / "none.png"], "none.png"),
        (["--data", "coco:x", "--images", "y.png"], "either --data SPEC or --images PATH"),
        (["--data", "coco:nowhere"], "nowhere"),
    ):
        code, _, err = run(*words, *more)
        assert code == 2
        assert said in err
        assert err.count("\n") == 1
