"""A classifier from tags, and the commands around it."""

from __future__ import annotations

import json

import pytest

from excitation.data import DataError
from excitation.models import load_model
from excitation.training import Options, TrainingError, clean_uploads, train_tags

MODEL = "training_networks:pooled"


@pytest.fixture
def uploads(colours):
    """Each picture by a user of its own, with the colour's name, the letter of it, and noise."""
    lines = []
    for i, path in enumerate(sorted(colours.rglob("*.png"))):
        colour = path.parent.name
        tags = [colour, f"rare{i}", f"a{i}", f"z{i}", f"b{i}", "stock"]
        lines.append(json.dumps({"image": str(path.relative_to(colours)), "user": f"user{i}", "tags": tags}))
    place = colours.parent / "uploads.jsonl"
    place.write_text("\n".join(lines) + "\n")
    return place


def test_words_are_learned_from_the_first_five_tags(uploads, colours, tmp_path):
    cleaned = clean_uploads([uploads], tmp_path / "clean", threshold=10)
    assert cleaned.dictionary == 4  # and "stock", which is no one's among the first five
    options = Options(rate=0.2, batch=8, passes=20)
    found = train_tags(tmp_path / "clean", colours, MODEL, tmp_path / "run", held_out=4, options=options)
    assert {name: value > 0.9 for name, (value, _) in found.held_out.by_class.items()} == dict.fromkeys(
        ("red", "green", "blue"), True
    )
    loaded = load_model(f"trained:{found.file},{MODEL}")
    assert set(loaded.class_names) == {"red", "green", "blue", "stock"}
    assert found.uploads + json.loads((tmp_path / "run" / "report.json").read_text())["held out uploads"] == 60


def test_scratch_forgets_what_the_network_knew(uploads, colours, tmp_path):
    clean_uploads([uploads], tmp_path / "clean", threshold=10)
    options = Options(rate=1e-9, batch=8, passes=1)
    files = [
        train_tags(tmp_path / "clean", colours, MODEL, tmp_path / str(scratch), scratch=scratch, options=options).file
        for scratch in (False, True)
    ]
    before, kept, forgotten = (load_model(s).model.state_dict()["0.0.weight"] for s in (
        MODEL, *(f"trained:{file},{MODEL}" for file in files)))  # fmt: skip
    assert abs(kept - before).max() < 1e-6
    assert abs(forgotten - before).max() > 0.1


def test_what_cannot_be_learned_from_is_refused(uploads, colours, tmp_path):
    with pytest.raises(DataError, match=r"holds no dictionary\.tsv"):
        train_tags(tmp_path, colours, MODEL, tmp_path / "run")
    clean_uploads([uploads], tmp_path / "none", threshold=1000)
    with pytest.raises(TrainingError, match="dictionary is empty"):
        train_tags(tmp_path / "none", colours, MODEL, tmp_path / "run")
    clean_uploads([uploads], tmp_path / "clean", threshold=10)
    with pytest.raises(TrainingError, match="pictures are missing"):
        train_tags(tmp_path / "clean", tmp_path, MODEL, tmp_path / "run")


def test_the_commands_go_from_uploads_to_a_network(uploads, colours, tmp_path, run):
    code, out, err = run("tags", "clean", uploads, "--out", tmp_path / "clean", "--threshold", 10)
    assert code == 0
    assert [line.split() for line in out.splitlines()] == [
        ["step", "removed"], ["unreadable", "0"], ["few", "0"], ["alphabetical", "0"], ["near-duplicate", "0"],
        ["unknown", "0"], ["kept", "60"],
    ]  # fmt: skip
    assert "60 uploads read; 4 of 244 tags" in err
    code, out, err = run("train", "tags", "--data", tmp_path / "clean", "--images", colours, "--model", MODEL, "--out",
                         tmp_path / "run", "--batch", 8, "--passes", 1)  # fmt: skip
    assert code == 0
    assert out.startswith("held out, against noisy tags: mean average precision")
    pytest.importorskip("wordcloud", reason="wordcloud is not installed")
    code, _, _ = run("tags", "report", tmp_path / "clean", "--out", tmp_path / "report", "--images", colours)
    assert code == 0
    for name in ("figure_9.png", "figure_10.png"):
        assert (tmp_path / "report" / name).read_bytes().startswith(b"\x89PNG")
    assert "| few | fewer than 5 tags | 0 | 60 |" in (tmp_path / "report" / "report.md").read_text()
    code, _, err = run("tags", "report", tmp_path, "--out", tmp_path / "report")
    assert code == 2
    assert "holds no cleaned uploads" in err
