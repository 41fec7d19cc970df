"""`excitation report` on runs of the pointing game: choosing rows, comparisons, the difficult subset, CSV."""

from __future__ import annotations

import csv
import io

import pytest
from test_bad_data import bench, changed, make_world

pytest.importorskip("pycocotools", reason="pycocotools is not installed", exc_type=ImportError)


@pytest.fixture
def played(run, tmp_path):
    """Six pictures, two of which hold a second colour, so that their pairs are difficult."""
    world, out = make_world(tmp_path / "world"), tmp_path / "run.sqlite"

    def second(content):
        for number in (0, 1):
            content["annotations"].append({**content["annotations"][number], "id": 10 + number, "category_id": 3})

    changed(world, second)
    words = bench("pointing", world, out)
    words[words.index("mwp,c-mwp,centre")] = "mwp@conv+pool,c-mwp@pool,centre"
    code, _, err = run(*words)
    assert code == 0, err
    return out


def test_the_difficult_pairs_alone(run, played):
    words = ["report", played, "--no-main", "--categories", "--against", "centre", "--against", "mwp@conv"]
    plain, hard = run(*words), run(*words, "--difficult")
    assert plain[0] == hard[0] == 0
    assert plain[1].count("all pairs") == hard[1].count("difficult pairs") == 3
    assert "Pointing game: accuracy" not in plain[1] + hard[1]
    for text, pairs in ((plain[1], "8"), (hard[1], "4")):
        against = text[text.index("methods against mwp @ conv") :].splitlines()
        (row,) = [line.split() for line in against if line.strip().startswith("c-mwp")]
        assert row[-1] == pairs
    code, both, _ = run("report", played, "--held-out", 2, "--difficult")
    assert code == 0
    assert "Pointing game: accuracy" in both
    assert "difficult pairs" in both[both.index("Layers chosen") :]
    assert "--difficult" in " ".join(run("report", "--help")[1].split())


def test_figures_of_the_difficult_pairs_have_names_of_their_own(run, played, tmp_path):
    for more in ([], ["--difficult"]):
        assert run("report", played, "--figures", tmp_path / "drawn", *more)[0] == 0
    drawn = sorted(item.name for item in (tmp_path / "drawn").iterdir())
    assert drawn == ["run_categories.png", "run_categories_difficult.png"]


def test_the_paper_s_figures_stand_beside(run, played):
    code, out, err = run("report", played, "--paper", "--form", "markdown")
    assert code == 0, err
    (row,) = [line for line in out.splitlines() if line.startswith("| c-MWP (paper) ")]
    assert row.endswith("| 78.7 | 61.7 | 80.0 | 66.8 | 85.1 | 72.3 | 43.0 | 37.0 | 49.6 | 44.2 | 53.8 | 48.3 |")
    assert "72.3 in Table 1 and 70.6 in Table 2" in out


def test_options_that_would_change_nothing_are_refused(run, played, tmp_path):
    only_grid = tmp_path / "grid.json"
    only_grid.write_text('{"grid": {"A": {"D": {"Hits": 1.0}}}}')
    for words, said in (
        (["--difficult"], "--difficult changes nothing here"),
        (["--no-main"], "--no-main leaves nothing to print"),
        (["--methods", "mwpp"], "has no method 'mwpp'"),
        (["--methods", "mwp@conv,mwp@pool"], "'mwp' is given twice"),
        (["--methods", ","], "--methods is empty"),
        (["--layer", "fire"], "has no layer 'fire'; its layers: conv, pool"),
        (["--paper", "--no-main", "--categories"], "to print are: none, since --no-main leaves the main tables out"),
        (["--published", only_grid], "the published figures are for grid; the games to print are: pointing."),
        (["--paper", "--published", only_grid], "--paper and --published were both given"),
        (["--against", "mwp"], "has no row 'mwp'; its rows: centre, mwp @ conv, mwp @ pool, c-mwp"),
    ):
        code, out, err = run("report", played, *words)
        assert (code, out) == (2, "")
        assert said in err
        assert err.count("\n") == 1


def test_options_for_other_games_are_refused(run, tmp_path):
    world, out = make_world(tmp_path / "world"), tmp_path / "run.sqlite"
    code, _, err = run(*bench("deletion", world, out))
    assert code == 0, err
    for words, said in (
        (
            ["--categories"],
            "--categories is for runs of pointing or contrast or layers; the given ones are of deletion.",
        ),
        (["--against", "mwp"], "--against is for runs of"),
        (["--held-out", 2], "--held-out is for runs of pointing;"),
        (["--figures", tmp_path / "drawn"], "--figures is for runs of pointing or contrast or layers or localization;"),
    ):
        code, out_text, err = run("report", out, *words)
        assert (code, out_text) == (2, "")
        assert said in err
    code, text, err = run("report", out, "--problems")
    assert (code, text) == (0, "")
    assert "no problems with the data, and no pair was left out" in err


def test_rows_are_chosen(run, played):
    text = run("report", played, "--layer", "pool", "--form", "markdown", "--categories")[1]
    assert "| Category | Pairs | centre | mwp @ pool | c-mwp |" in text
    assert "mwp @ conv" not in text
    text = run("report", played, "--layer", "pool", "--methods", "c-mwp, mwp @ conv", "--form", "markdown")[1]
    names = [line.split(" | ")[0].removeprefix("| ") for line in text.splitlines() if line.startswith("| ")]
    assert names == ["Method", "---", "mwp @ conv", "c-mwp"] * 2  # points, and shares of the attention


def test_csv_is_one_table_however_many_there_are(run, played):
    text = run("report", played, "--form", "csv", "--categories", "--against", "centre", "--held-out", 2)[1]
    lines = list(csv.DictReader(io.StringIO(text)))
    assert text.count("table,row,group,column") == 1
    assert "\n\n" not in text
    assert len({line["table"] for line in lines}) == 5
    for line in lines:
        assert [float(line[name]) for name in ("value", "low", "high") if line[name]] or line["text"]
    (points,) = [
        line for line in lines if line["row"] == "c-mwp" and line["column"] == "All" and "Energy" not in line["table"]
    ]
    assert float(points["low"]) <= float(points["value"]) <= float(points["high"])
