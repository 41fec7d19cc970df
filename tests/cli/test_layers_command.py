from __future__ import annotations

import json

ROW = {"layer", "kind", "shape", "axes", "stride", "is_cut"}


def test_table(run, folder):
    code, lines, errors = run("layers", folder / "a.png", "--model", "toy_models:named")
    assert (code, errors) == (0, "")
    head, *rows = [line.split("  ") for line in lines.splitlines()]
    assert [cell.strip() for cell in head if cell] == ["layer", "kind", "shape", "stride", "evidence"]
    pool = next([cell.strip() for cell in row if cell] for row in rows if row[0] == "pool")
    assert pool == ["pool", "module", "3 x 8 x 8", "8 x 8", "all"]


def test_every_name_is_one_that_explain_takes(run, folder, tmp_path):
    _, lines, _ = run("layers", folder / "a.png", "--model", "toy_models:named", "--json")
    rows = [json.loads(line) for line in lines.splitlines()]
    assert all(set(row) == ROW for row in rows)
    spatial = [row for row in rows if len(row["shape"]) == 4 and row["is_cut"]]
    assert {"conv", "pool"} <= {row["layer"] for row in spatial}
    for i, row in enumerate(spatial):
        code, _, errors = run("explain", folder / "a.png", "--model", "toy_models:named", "--target", "0", "--layer",
                              row["layer"], "--out", tmp_path / str(i), "--json")  # fmt: skip
        assert (code, errors) == (0, "")


def test_errors(run, folder):
    for words in [("nowhere.png", "--model", "toy_models:named"), (folder / "a.png", "--model", "x")]:
        code, lines, errors = run("layers", *words)
        assert (code, lines) == (2, "")
        assert len(errors.splitlines()) == 1
