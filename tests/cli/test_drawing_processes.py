"""Drawing in worker processes: the same files as without, also if a worker or the whole command ends early."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from excitation.cli import _drawing
from excitation.cli._drawing import Drawing, Drawings, worker_count
from excitation.cli._explain_command import batches_of
from excitation.cli._results import Job, Result
from excitation.core import FigureOptions

NAMED = ("--model", "toy_models:named")


def drawing(folder, name, picture=None):
    job = Job(Path(f"{name}.jpg"), folder / f"{name}.png", folder / f"{name}.npz", {"picture": name})
    maps = np.random.default_rng(0).random((2, 6, 8), dtype=np.float32)
    result = Result(
        maps=maps, targets=("0", "1"), names=("a", "b"), scores=np.ones(2, np.float32), masses=maps.sum((1, 2), float),
        peaks=np.array([[1, 2], [3, 4]]), empty=np.array([False, False]), layer="pool", box=(0.0, 0.0, 90.0, 60.0),
        picture_size=(60, 90), configuration=job.configuration, method="mwp", top=np.ones(2, np.float32),
    )  # fmt: skip
    return Drawing(result, job, picture or Image.new("RGB", (90, 60), "grey"), FigureOptions())


def test_batches_are_formed_over_the_whole_list():
    sizes = dict(enumerate("abababbbcb"))
    batches = list(batches_of(sizes, 3))
    assert batches == [[0, 2, 4], [1, 3, 5], [6, 7, 9], [8]]
    assert sorted(i for batch in batches for i in batch) == list(range(10))


def test_the_number_of_workers():
    assert worker_count(3, 0) == 3
    assert worker_count(None, _drawing.FEWEST - 1) == 0
    assert 0 <= worker_count(None, 100) <= _drawing.MOST


def test_workers_write_the_same_files_and_one_that_is_killed_loses_nothing(tmp_path, capsys):
    here, there = tmp_path / "here", tmp_path / "there"
    with Drawings(0) as drawings:
        for i in range(3):
            drawings.add(i, drawing(here, str(i)))
        assert sorted(drawings.finished()) == [(0, None), (1, None), (2, None)]
    with Drawings(1) as drawings:
        drawings.add(0, drawing(there, "0"))
        assert list(drawings.finished(wait_for_all=True)) == [(0, None)]
        assert capsys.readouterr().err == ""
        (process,) = drawings._pool._processes
        drawings.add(1, drawing(there, "1"))
        os.kill(process, signal.SIGKILL)
        drawings.add(2, drawing(there, "2"))
        assert sorted(drawings.finished(wait_for_all=True)) == [(1, None), (2, None)]
    assert "ended unexpectedly" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in here.iterdir()} == {
        path.name: path.read_bytes() for path in there.iterdir()
    }


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="needs signal masks")
def test_a_worker_that_still_imports_leaves_interruptions_to_its_parent(tmp_path, capfd):
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with Drawings(1) as drawings:
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask
        (process,) = drawings._pool._processes
        for _ in range(10):  # from before the start of Python to the import of torch
            os.kill(process, signal.SIGINT)
            time.sleep(0.1)
        drawings.add(0, drawing(tmp_path, "0"))
        assert list(drawings.finished(wait_for_all=True)) == [(0, None)]
        assert list(drawings._pool._processes) == [process]
    assert capfd.readouterr().err == ""


def test_a_worker_that_cannot_write_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with Drawings(1) as drawings:
        drawings.add(0, drawing(tmp_path / "file", "0"))
        with pytest.raises(OSError, match="file"):
            list(drawings.finished(wait_for_all=True))


def test_a_picture_that_cannot_be_drawn_is_reported_and_the_others_are_finished(run, folder, tmp_path, monkeypatch):
    whole = _drawing.draw

    def some(explanation, *words, **more):
        if explanation.pictures[0].stem == "b":
            raise _drawing.ExcitationError("cannot be drawn.")
        return whole(explanation, *words, **more)

    monkeypatch.setattr(_drawing, "draw", some)
    code, lines, errors = run("explain", folder, *NAMED, "--target", "0", "--out", tmp_path / "o")
    assert code == 2
    assert [Path(line.partition(": ")[0]).stem for line in lines.splitlines()] == ["a", "c", "d"]
    assert f"{folder / 'b.png'}: cannot be drawn." in errors
    assert sorted(path.stem for path in (tmp_path / "o").glob("*.npz")) == ["a", "c", "d"]


def test_a_full_disk_keeps_what_is_finished(run, folder, tmp_path, monkeypatch):
    saved = Result.save

    def full(self, path):
        if path.stem == "c":
            raise OSError(28, "No space left on device")
        saved(self, path)

    monkeypatch.setattr(Result, "save", full)
    words = ("explain", folder, *NAMED, "--target", "0", "--out", tmp_path / "o")
    code, _, errors = run(*words)
    assert code == 2
    assert "No space left on device" in errors
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "o").iterdir()}
    assert {"a.npz", "a.png"} <= set(before)
    assert not [name for name in before if name.endswith(".part")]
    monkeypatch.setattr(Result, "save", saved)
    code, lines, _ = run(*words)
    assert (code, len(lines.splitlines())) == (0, 4)
    assert (tmp_path / "o" / "a.npz").stat().st_mtime_ns == before["a.npz"]


def alive(group):
    """Processes of a group, without those that have ended and wait for their parent."""
    listed = subprocess.run(["ps", "-eo", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if line.split()[0] == str(group) and "Z" not in line.split()[1]]


@pytest.mark.skipif(not hasattr(os, "killpg") or shutil.which("ps") is None, reason="needs process groups and ps")
def heed_ctrl_c():
    """A test run in the background of a shell ignores Ctrl-C, and its processes would inherit this."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_an_interruption_leaves_whole_files_and_no_process(toys, tmp_path):
    """Ctrl-C reaches all processes of the terminal; the command continues later and ends with all files."""
    photos, out = tmp_path / "photos", tmp_path / "o"
    photos.mkdir()
    for i in range(60):
        toys.scene((96, 96), (20, 20), (70, 15), (30 + i % 30, 45)).save(photos / f"{i:02}.png")
    program = [sys.executable, "-c", "from excitation.cli import main; main()"]
    words = [*program, "explain", str(photos), *NAMED, "--target", "0",
             "--workers", "1", "--batch", "2", "--out", str(out)]  # fmt: skip
    place = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    started = subprocess.Popen(
        words, env=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, preexec_fn=heed_ctrl_c
    )
    limit = time.monotonic() + 240
    while not list(out.glob("*.npz")):
        assert started.poll() is None, started.stderr.read()
        assert time.monotonic() < limit
        time.sleep(0.05)
    os.killpg(started.pid, signal.SIGINT)
    lines, errors = started.communicate(timeout=120)
    assert started.returncode == 130
    assert b"interrupted" in errors
    assert b"Traceback" not in errors
    while alive(started.pid):  # the helper of multiprocessing ends a moment later
        assert time.monotonic() < limit
        time.sleep(0.05)
    assert not list(out.glob(".*"))
    for path in out.glob("*.npz"):
        Result.load(path)
        Image.open(path.with_suffix(".png")).load()
    found = len(list(out.glob("*.npz")))
    assert 0 < found < 60
    assert len(lines.splitlines()) <= found


def test_figure_formats(run, folder, tmp_path, toys):
    words = ("explain", folder / "a.png", *NAMED, "--target", "0", "--json", "--out", tmp_path / "o")
    code, lines, errors = run(*words, "--format", "none")
    assert (code, errors) == (0, "")
    assert json.loads(lines)["figure"] is None
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["a.npz"]
    toys.calls.clear()
    code, lines, _ = run(*words, "--format", "pdf")  # from the stored maps
    assert code == 0
    assert toys.calls == []
    assert (tmp_path / "o" / "a.pdf").read_bytes().startswith(b"%PDF")
    assert json.loads(lines)["figure"].endswith("a.pdf")


def test_the_classes_with_the_highest_scores(run, folder, tmp_path):
    words = ("explain", folder / "a.png", *NAMED, "--json", "--out", tmp_path / "o")
    code, lines, _ = run(*words, "--target", "top2")
    rows = [json.loads(line) for line in lines.splitlines()]
    assert code == 0
    assert len(rows) == 2
    assert rows[0]["score"] >= rows[1]["score"]
    assert {row["name"] for row in rows} < {"red thing", "green thing", "blue thing"}
    code, _, errors = run(*words[:-1], tmp_path / "p", "--target", "top4")
    assert code == 2
    assert "'top4' needs at least as many classes" in errors


def test_policies_and_options_of_methods(run, folder, tmp_path):
    words = ("explain", folder / "a.png", *NAMED, "--target", "0", "--out")
    assert run(*words, tmp_path / "o", "--policy", "normaliser=spread", "--policy", "threshold=0.01")[0] == 0
    assert "made with policies" in run(*words, tmp_path / "o")[2]
    for more, said in {
        ("--policy", "normalizer=spread"): "not of the form NAME=VALUE; the names: residual,",
        ("--policy", "normaliser=gain"): "policy normaliser",
        ("--policy", "residual=branch", "--method", "cam"): "no option 'policies'",
        ("--method", "mwp@conv"): "give it as --layer conv",
        ("--method", "lrp:gain=2"): "has no option 'gain'",
        ("--device", "abacus"): "choose one of cpu",
        ("--workers", "-1"): "--workers",
    }.items():
        code, lines, errors = run(*words, tmp_path / "p", *more)
        assert (code, lines) == (2, ""), more
        assert said in errors
        assert len(errors.splitlines()) == 1
    assert run(*words, tmp_path / "q", "--method", "lrp-epsilon:epsilon=0.5")[0] == 0
    with np.load(tmp_path / "q" / "a.npz") as stored:
        assert json.loads(str(stored["configuration"]))["method"] == "lrp-epsilon:epsilon=0.5"


def test_folders_without_their_subfolders(run, folder, tmp_path):
    (folder / "sub").mkdir()
    Image.open(folder / "a.png").save(folder / "sub" / "e.png")
    words = ("explain", folder, *NAMED, "--target", "0", "--format", "none", "--out")
    assert len(run(*words, tmp_path / "o")[1].splitlines()) == 5
    code, lines, _ = run(*words, tmp_path / "p", "--no-recursive")
    assert code == 0
    assert [Path(line.partition(": ")[0]).stem for line in lines.splitlines()] == list("abcd")
