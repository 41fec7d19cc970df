"""`make bench` keeps what it measured and goes on; the page's tables are those of the committed figures."""

from __future__ import annotations

import json
import time

import pytest
import torch
from experiments.speed import __main__ as bench
from experiments.speed.compiled import has_compiler
from experiments.speed.memory import peak_bytes
from experiments.speed.page import FIGURES, ON_GPU, PAGE, SUMMARY, page_of, summary_of
from experiments.speed.parts import Plan, parts
from experiments.speed.timing import Times, now, spread, take_turns, use_clock
from tests.conftest import document

import excitation as eb


def test_the_page_holds_what_was_measured():
    page, summary = document(PAGE.name).read_text(), document(SUMMARY.name).read_text()
    measured = [json.loads(path.read_text()) for path in (FIGURES, ON_GPU)]
    assert page_of(*measured) == page, "run python -m experiments.speed.page"
    assert summary_of(summary, measured[0]) == summary, "run python -m experiments.speed.page"
    with pytest.raises(ValueError, match="no place for the table of targets"):
        summary_of(summary.replace("<!-- reached -->", ""), measured[0])


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """Runs the command with parts that say how often they were measured."""
    calls: list[str] = []

    def two_parts(plan):
        def part(name):
            def measure():
                calls.append(f"{plan.name}: {name}")
                return {"rows": {"over a plain forward pass": [1.0, 0.5, 2.0]}, "refused": {}}

            return measure

        return {"fixed": part("fixed"), "network X": part("network X")}

    monkeypatch.setattr(bench, "parts", two_parts)
    threads = torch.get_num_threads()

    def run(**options):
        calls.clear()
        bench.main(**({"out": tmp_path / "cpu.json", "threads": "1,2", "turns": 1, "batch": 2, "size": 32,
                       "device": "cpu", "clock": "auto", "only": ""} | options))  # fmt: skip
        return list(calls), json.loads((tmp_path / "cpu.json").read_text())

    yield run
    torch.set_num_threads(threads)
    use_clock("wall")


def test_a_run_goes_on_where_it_stopped(measured):
    calls, found = measured(only="fixed", threads="1")
    assert calls == ["1 thread, processor time: fixed"]
    calls, found = measured()
    one, two = "1 thread, processor time", "2 threads, wall time"
    assert calls == [f"{one}: network X", f"{two}: fixed", f"{two}: network X"]
    assert measured()[0] == []
    assert list(found["runs"]) == [one, two]
    part = found["runs"][two]["parts"]["fixed"]
    assert part["rows"] == {"over a plain forward pass": [1.0, 0.5, 2.0]}
    assert set(part) >= {"load", "cores", "seconds", "turns", "torch"}


def test_other_settings_need_another_file(measured):
    measured()
    with pytest.raises(SystemExit, match="'size': 32}; name another file with --out"):
        measured(size=64)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": "two"}, "give one number or several, such as 1,2"),
        ({"threads": "0"}, "give one number or several"),
        ({"clock": "sun"}, "--clock is 'sun'; choose one of auto, wall, processor"),
        ({"clock": "processor", "threads": "2"}, "use it with one thread"),
    ],
)
def test_wrong_options_are_refused(measured, options, message):
    with pytest.raises(SystemExit, match=message):
        measured(**options)


def test_what_is_measured_once_and_what_with_each_number_of_threads():
    common = {"turns": 1, "batch": 2, "size": 32, "device": torch.device("cpu"), "rates": False}
    first = set(parts(Plan(threads=1, clock="processor", once=True, **common)))
    second = set(parts(Plan(threads=2, clock="wall", once=False, **common)))
    assert {"fixed", "network VGG16", "others MobileNetV2", "all classes ResNet-50"} <= first & second
    compiled = {"compile"} if has_compiler() else set()
    assert {name.split()[0] for name in first - second} == {"classes", "batch", "size", "precision"} | compiled
    assert {name.split()[0] for name in second - first} == {"threads"}


def test_ratios_are_taken_turn_by_turn():
    times = Times({"a": [2.0, 8.0, 6.0], "b": [1.0, 2.0, 3.0], "c": [1.0, 2.0, 0.0]})
    assert times.ratio("a", "b").median == 2.0
    assert times.ratio("a", "b", less="c", each=3).median == pytest.approx(2 / 3)
    assert times.milliseconds("a", each=2).median == 3000.0
    assert spread([5.0, 1.0, 3.0, 2.0, 4.0]) == spread([1.0, 2.0, 3.0, 4.0, 5.0])


def test_peak_memory_counts_tensors_that_are_alive_at_once():
    def work():
        first = torch.zeros(1000, 250)
        second = first + 1
        del first
        return second + 1

    assert peak_bytes(work) == pytest.approx(2e6, rel=0.01)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 2, 3))
    images = torch.rand(1, 3, 64, 64)
    assert peak_bytes(lambda: eb.explain(network.eval(), images, [1], layer="0")) > 8 * 62 * 62 * 4


def test_each_contender_runs_in_every_turn_and_once_before():
    order: list[str] = []
    times = take_turns({name: lambda name=name: order.append(name) for name in "ab"}, 3)
    assert order == list("ab" * 4)
    assert {name: len(seconds) for name, seconds in times.seconds.items()} == {"a": 3, "b": 3}


def test_processor_time_does_not_count_waiting():
    use_clock("processor")
    try:
        start = now()
        time.sleep(0.05)
        assert now() - start < 0.04
    finally:
        use_clock("wall")
    with pytest.raises(ValueError, match="clock is 'sun'"):
        use_clock("sun")
