"""The training loop: it learns, goes on after a kill with the same weights, stops when it should, and says why."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from excitation import ExcitationError
from excitation.training import Options, TensorExamples, TrainingError, fit, predict
from excitation.training._examples import plan_pass
from excitation.training._plateau import Plateau
from excitation.training._precision import average_precisions

ROOT = Path(__file__).resolve().parents[2]


def problem(count, seed, features=6, classes=3):
    """Labels that a linear layer can learn."""
    rng = np.random.default_rng(seed)
    true = np.random.default_rng(99).normal(size=(features, classes))
    inputs = rng.normal(size=(count, 2, features)).astype(np.float32)
    inputs[:, 1] = inputs[:, 0] + 0.01
    labels = (inputs[:, 0] @ true > 0).astype(np.float32)
    names = [f"example {i}" for i in range(count)]
    return TensorExamples(torch.from_numpy(inputs), torch.from_numpy(labels), "abc"[:classes], names, f"{seed} {count}")


def read_log(folder):
    return list(csv.DictReader((folder / "log.csv").read_text().splitlines()))


def network(seed=0, dropout=0.2):
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Linear(6, 16), torch.nn.ReLU(), torch.nn.Dropout(dropout), torch.nn.Linear(16, 3)
    )


def test_the_last_interval_can_be_shorter(tmp_path):
    """160 examples in batches of 16 are 10 steps: intervals of 8 and 2. The loss is a mean over steps in both."""
    options = Options(rate=1e-9, batch=16, passes=1, every=8)
    fit(network(dropout=0.0), problem(160, 0), problem(80, 1), tmp_path, options)
    rows = read_log(tmp_path)
    assert [int(row["step"]) for row in rows] == [8, 10]
    assert float(rows[1]["loss"]) == pytest.approx(float(rows[0]["loss"]), rel=0.2)


def test_it_learns_and_says_what_it_did(tmp_path):
    model, told = network(), []
    options = Options(rate=0.1, batch=16, passes=20, every=10)
    found = fit(model, problem(160, 0), problem(80, 1), tmp_path, options, progress=told.append)
    assert min(found.precisions) > 0.95
    assert not model.training
    scores, labels = predict(model, problem(80, 1))
    assert np.allclose(average_precisions(scores, labels), found.precisions)
    rows = read_log(tmp_path)
    assert [int(row["step"]) for row in rows] == list(range(10, found.steps + 1, 10))
    assert float(rows[0]["loss"]) > float(rows[-1]["loss"])
    losses = [float(row["held_out_loss"]) for row in rows]
    assert found.loss == pytest.approx(min(losses), rel=2e-3)
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    said = json.loads((tmp_path / "run.json").read_text())
    assert said["configuration"]["options"]["rate"] == 0.1
    assert said["configuration"]["classes"] == list("abc")
    assert said["versions"]["torch"] == torch.__version__
    assert [state.step for state in told] == list(range(1, found.steps + 1))
    # A finished run is not made again, and gives the same.
    again = network(5)
    assert fit(again, problem(160, 0), problem(80, 1), tmp_path, options, progress=told.append) == found
    assert len(told) == found.steps
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), model.state_dict().values(), strict=True))


COMMAND = """
import sys
from pathlib import Path
sys.path[:0] = [str(Path(sys.argv[1])), str(Path(sys.argv[1]) / "tests" / "training")]
import torch
torch.set_num_threads(1)
from test_fit import network, problem
from excitation.training import Options, fit
import time
model = network()
slow = (lambda state: time.sleep(0.01)) if sys.argv[3] == "slow" else None
fit(model, problem(160, 0), problem(80, 1), Path(sys.argv[2]), Options(rate=0.05, batch=16, passes=12, every=7),
    progress=slow)
torch.save(model.state_dict(), Path(sys.argv[2]) / "weights.pt")
"""


def start(out, pace):
    return subprocess.Popen([sys.executable, "-c", COMMAND, str(ROOT), str(out), pace])


def test_a_killed_run_ends_with_the_same_weights(tmp_path):
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    assert start(alone, "quick").wait() == 0
    process = start(killed, "slow")
    deadline = time.monotonic() + 120
    while not (killed / "checkpoint.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.002)
    time.sleep(0.15)  # between two checkpoints
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert 0 < torch.load(killed / "checkpoint.pt", weights_only=True)["step"] < 120
    assert start(killed, "quick").wait() == 0
    states = [torch.load(out / "weights.pt", weights_only=True) for out in (alone, killed)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    rows = [read_log(out) for out in (alone, killed)]
    assert [{**row, "seconds": 0} for row in rows[0]] == [{**row, "seconds": 0} for row in rows[1]]


DISTRIBUTED = """
import sys
from pathlib import Path
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/tests/training"]
import torch
torch.set_num_threads(1)
from test_fit import network, problem
from excitation.training import Options, fit
model = network(dropout=0)
fit(model, problem(161, 0), problem(80, 1), Path(sys.argv[2]), Options(rate=0.05, batch=15, passes=3, every=7))
"""


def test_two_processes_do_what_one_does(tmp_path):
    """Started as `torchrun` does. The views drawn differ by process, and here by 0.01 only."""
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = tmp_path / "script.py"
    script.write_text(DISTRIBUTED)
    common = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    words = [sys.executable, str(script), str(ROOT), str(tmp_path / "two")]
    running = [subprocess.Popen(words, env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in (0, 1)]
    assert [process.wait(timeout=240) for process in running] == [0, 0]
    model = network(dropout=0)
    fit(model, problem(161, 0), problem(80, 1), tmp_path / "one", Options(rate=0.05, batch=15, passes=3, every=7))
    one, two = (torch.load(tmp_path / name / "checkpoint.pt", weights_only=True) for name in ("one", "two"))
    assert one["step"] == two["step"] == 30
    for name, item in one["model"].items():
        torch.testing.assert_close(two["model"][name], item, rtol=0.02, atol=0.01)
    assert [row["loss"] for row in two["rows"]] == pytest.approx([row["loss"] for row in one["rows"]], rel=0.02)


def test_a_loss_that_is_not_finite_stops_with_its_batch(tmp_path):
    inputs = torch.zeros(12, 1, 6)
    inputs[7] = torch.nan
    names = [f"picture{i}.jpg" for i in range(12)]
    bad = TensorExamples(inputs, torch.zeros(12, 3), "abc", names, "bad")
    with pytest.raises(TrainingError, match=r"loss of step \d+ is nan; its batch: .*picture7\.jpg.*last checkpoint"):
        fit(network(), bad, problem(8, 1), tmp_path, Options(batch=4, passes=1))


def test_a_diverging_run_keeps_its_checkpoint(tmp_path):
    good = problem(16, 0)
    with pytest.raises(TrainingError, match="lower rate"):
        fit(network(), good, problem(8, 1), tmp_path, Options(rate=1e30, batch=8, passes=9, every=1, clip=None))
    assert not list(tmp_path.glob(".*.part"))


def test_a_full_disk_is_told_and_loses_nothing(tmp_path, monkeypatch):
    options = Options(batch=8, passes=3, every=2)
    calls = []
    import excitation.training._run as run

    real = torch.save

    def full(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        real(*arguments)

    monkeypatch.setattr(run.torch, "save", full)
    with pytest.raises(TrainingError, match=r"No space left on device.*continues from them"):
        fit(network(), problem(32, 0), problem(8, 1), tmp_path, options)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 2
    assert not list(tmp_path.glob(".*.part"))
    monkeypatch.undo()
    resumed, alone = network(), network()
    fit(resumed, problem(32, 0), problem(8, 1), tmp_path, options)
    fit(alone, problem(32, 0), problem(8, 1), tmp_path / "alone", options)
    assert all(torch.equal(a, b) for a, b in zip(resumed.parameters(), alone.parameters(), strict=True))


def test_a_folder_keeps_its_own_run(tmp_path):
    options = Options(batch=8, passes=1)
    fit(network(), problem(16, 0), problem(8, 1), tmp_path, options)
    with pytest.raises(TrainingError, match="with another examples; choose another folder"):
        fit(network(), problem(24, 0), problem(8, 1), tmp_path, options)
    with pytest.raises(TrainingError, match="with another options"):
        fit(network(), problem(16, 0), problem(8, 1), tmp_path, Options(batch=4, passes=1))
    (tmp_path / "checkpoint.pt").write_bytes(b"half")
    with pytest.raises(TrainingError, match="is damaged"):
        fit(network(), problem(16, 0), problem(8, 1), tmp_path, options)


def test_only_what_asks_for_gradients_is_trained(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.BatchNorm1d(5), torch.nn.Linear(5, 3))
    before = {name: item.clone() for name, item in model.state_dict().items()}
    for part in model[:2]:
        part.requires_grad_(False)
    fit(model, problem(32, 0), problem(8, 1), tmp_path, Options(batch=8, passes=2))
    changed = {name for name, item in model.state_dict().items() if not torch.equal(item, before[name])}
    assert changed == {"2.weight", "2.bias"}  # and so not the statistics of the normalisation
    model.requires_grad_(False)
    with pytest.raises(TrainingError, match="nothing to train"):
        fit(model, problem(32, 0), problem(8, 1), tmp_path / "b", Options())


def test_the_rate_falls_at_a_plateau_and_the_next_one_ends():
    plateau, options = Plateau(), Options(rate=1.0, patience=2, drops=1, least=0.01, warm_up=4)
    assert [plateau.rate(step, options) for step in range(5)] == [0.25, 0.5, 0.75, 1, 1]
    lowest = [plateau.look(loss, options) for loss in (2.0, 1.0, 0.995, 0.995)]
    assert lowest == [True, True, False, False]
    assert plateau.rate(9, options) == pytest.approx(0.1)
    assert not plateau.ended
    assert [plateau.look(loss, options) for loss in (0.9, 0.9, 0.95)] == [True, False, False]
    assert plateau.ended


def test_a_plateau_ends_the_run_early(tmp_path):
    noise = TensorExamples(torch.zeros(8, 1, 6), torch.zeros(8, 3), "abc", ["x"] * 8, "none")
    found = fit(network(), problem(64, 0), noise, tmp_path, Options(rate=1.0, batch=8, passes=50, every=2, patience=2))
    assert found.steps < 400
    assert found.rows[0]["rate"] == pytest.approx(1.0)
    assert found.rows[-1]["rate"] == pytest.approx(0.1)


def test_a_pass_holds_each_example_once_and_groups_apart():
    groups = np.array([0] * 10 + [1] * 3 + [2] * 8)
    batches = plan_pass(groups, 4, [0, 1])
    seen = np.concatenate(batches)
    assert len(seen) == len(set(seen.tolist())) == 8 + 3 + 8
    assert all(len(set(groups[batch])) == 1 for batch in batches)
    orders = [np.concatenate(plan_pass(groups, 4, [0, number])).tolist() for number in (1, 1, 2)]
    assert orders[0] == orders[1] == seen.tolist()
    assert orders[0] != orders[2]


@pytest.mark.parametrize("levels", [3, 1000])
def test_average_precision_agrees_with_scikit_learn(levels):
    rng = np.random.default_rng(0)
    scores = rng.integers(0, levels, (40, 6)).astype(float)
    labels = rng.random((40, 6)) < 0.3
    labels[:, 5] = False
    found = average_precisions(scores, labels)
    assert np.isnan(found[5])
    expected = [average_precision_score(labels[:, i], scores[:, i]) for i in range(5)]
    np.testing.assert_allclose(found[:5], expected, rtol=1e-12)


def test_autocast_learns_too(tmp_path):
    options = Options(rate=0.1, batch=16, passes=8, precision="bfloat16")
    assert min(fit(network(), problem(160, 0), problem(80, 1), tmp_path, options).precisions) > 0.9


@pytest.mark.parametrize(
    "wrong", [{"rate": 0}, {"batch": 0}, {"passes": -1}, {"factor": 2}, {"clip": -1.0}, {"every": 0}, {"patience": 0}]
)
def test_wrong_options_are_refused(wrong):
    with pytest.raises(ExcitationError, match=next(iter(wrong))):
        Options(**wrong)


def test_examples_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(TrainingError, match="do not fit together"):
        TensorExamples(torch.zeros(3, 1, 2), torch.zeros(3, 2), "abc", "xyz", "")
    with pytest.raises(TrainingError, match="no example"):
        TensorExamples(torch.zeros(0, 1, 2), torch.zeros(0, 3), "abc", "", "")
    with pytest.raises(TrainingError, match="other classes"):
        fit(network(), problem(16, 0), problem(16, 0, classes=2), tmp_path)
