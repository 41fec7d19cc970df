"""`excitation bench pointing` and `excitation report` on scenes of the symbol world."""

from __future__ import annotations

import pytest

pytest.importorskip("pycocotools", reason="pycocotools is not installed", exc_type=ImportError)


def test_a_run_is_made_continued_and_reported(run, tmp_path):
    world, out = tmp_path / "world", tmp_path / "run.sqlite"
    run("symbols", "--count", 3, "--out", world)
    words = ["bench", "pointing", "--data", f"coco:{world}", "--model", "symbols", "--shortest", 160, "--out", out]
    words += ["--methods", "c-mwp,centre,grad-cam@inception_4c", "--layer", "inception_3b"]
    code, table, err = run(*words)
    assert code == 0
    assert all(name in table for name in ("c-mwp", "centre", "grad-cam"))
    assert "0 problems" in err
    again = run(*words)
    assert again[:2] == (0, table)
    code, text, _ = run("report", out, "--form", "markdown")
    assert code == 0
    assert "| centre |" in text
    code, _, err = run(*words, "--limit", 2)
    assert code == 2  # another configuration
    assert err.count("\n") == 1


def test_wrong_words_are_refused_in_one_line(run, tmp_path):
    words = ["bench", "pointing", "--model", "symbols", "--out", tmp_path / "run.sqlite"]
    for more, said in (
        (["--data", "coco:nowhere"], "nowhere"),
        (["--data", "tiff:x"], "not of the form"),
        (["--data", "coco:x", "--methods", "mwpp"], "mwp"),
        (
            ["--data", "coco:x", "--methods", "gradient,mwp@a", "--layer", "b"],
            "--layer b applies to no method: it is for methods of Excitation Backprop",
        ),
    ):
        code, _, err = run(*words, *more)
        assert code == 2
        assert said in err
        assert err.count("\n") == 1
    assert run("report", tmp_path / "none.sqlite")[0] == 2
