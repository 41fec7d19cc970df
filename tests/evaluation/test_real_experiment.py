"""What `make real` writes below a pointing game: methods in pairs and by category, on scenes of the symbol world."""

from __future__ import annotations

import contextlib
import io
import shlex
import sys

import pytest
from experiments import real
from experiments.real import RUNS, write_pairs, write_report

pytest.importorskip("pycocotools", reason="pycocotools is not installed", exc_type=ImportError)

CHOICE = ["--layer", "inception_3b", "--methods", "mwp,c-mwp,grad-cam@inception_4c,centre"]
REFERENCES = ("mwp @ inception_3b", "grad-cam @ inception_4c")


def call(words):
    """As `real.call`, in this process, which has imported torch already."""
    from excitation.cli import main

    page = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(page):
        patch.setattr(sys, "path", list(sys.path))
        with pytest.raises(SystemExit) as left:
            main(words)
    assert left.value.code == 0
    return page.getvalue()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    call(["symbols", "--count", "4", "--out", str(folder / "world")])
    words = ["--methods", "mwp,c-mwp,grad-cam@inception_3b+inception_4c,centre", "--layer", "inception_3b,inception_4c"]
    played = folder / "run.sqlite"
    call(["bench", "pointing", "--data", f"coco:{folder / 'world'}", "--model", "symbols", "--shortest", "160", *words,
          "--out", str(played)])  # fmt: skip
    return played


def commands(text):
    return [line.strip("`") for line in text.splitlines() if line.startswith("`excitation report")]


def test_pairs_and_categories_of_all_pairs_and_the_difficult(run, tmp_path, monkeypatch):
    monkeypatch.setattr(real, "call", call)
    write_pairs(tmp_path, "small", run, CHOICE, REFERENCES)
    pages = {kind: (tmp_path / f"{kind}_small.md").read_text() for kind in ("compared", "categories")}
    for kind, text in pages.items():
        plain, hard = commands(text)
        assert hard.replace(" --difficult", "") == plain
        # The command on top prints what stands below it.
        assert call(shlex.split(hard)[1:]).rstrip("\n") == text.split(f"`{hard}`\n\n")[1].rstrip("\n")
        titles = [line.strip("*") for line in text.splitlines() if line.startswith("**")]
        assert len(titles) == (4 if kind == "compared" else 2)
        half = len(titles) // 2
        assert all("all pairs" in title for title in titles[:half])
        assert all("difficult pairs" in title for title in titles[half:])
    compared = pages["compared"]
    for reference in REFERENCES:
        assert compared.count(f"methods against {reference}, ") == 2
    rows = [line.split(" | ")[0].strip("| ") for line in compared.splitlines() if line.startswith("| ")]
    assert {row for row in rows if row not in {"Method", "---"}} == {
        "centre", "grad-cam @ inception_4c", "mwp @ inception_3b", "c-mwp @ inception_3b",
    }  # fmt: skip
    heads = [line for line in pages["categories"].splitlines() if line.startswith("| Category")]
    assert (
        heads
        == ["| Category | Pairs | centre | grad-cam @ inception_4c | mwp @ inception_3b | c-mwp @ inception_3b |"] * 2
    )
    assert "| best alone |" in pages["categories"]


def test_a_page_carries_the_commands_that_made_it(run, tmp_path):
    write_report(tmp_path / "page.md", run, [["--held-out", "2"]], above="`excitation bench ...`")
    lines = (tmp_path / "page.md").read_text().splitlines()
    assert lines[0] == "`excitation bench ...`"
    assert lines[2] == f"`excitation report {run} --held-out 2 --form markdown`"
    assert any("Layers chosen on 2 held-out images" in line for line in lines)


def test_the_rows_that_are_compared_are_played():
    for name, words in RUNS.items():
        if name.startswith("pointing_"):
            assert "grad-cam@pool4+fire6/concat+fire8/concat+pool8+fire9/concat" in words[words.index("--methods") + 1]
            assert words[words.index("--layer") + 1].startswith("pool4,")
