"""Figures of runs: what they leave out and where their axes begin is written on them."""

from __future__ import annotations

from test_report import HITS, results

from excitation.evaluation import as_sweep, category_figure, layer_figure


def title_of(figure):
    (legend,) = figure.legends
    return legend.get_title().get_text().replace("\n", " ")


def test_bars_say_which_rows_they_leave_out():
    best = "2 of 5 rows of the table: as given"
    assert title_of(category_figure(results(), ["c-mwp", "centre"])) == best
    shown = category_figure(results())  # c-mwp, mwp's best layer and the best of the others
    assert title_of(shown).startswith("3 of 5 rows of the table: those of Excitation Backprop and the best other")
    names = [text.get_text() for text in shown.legends[0].get_texts()]
    assert names == ["c-mwp (75.0)", "mwp @ pool4 (50.0)", "grad_1 (50.0)"]
    few = {("c-mwp", "pool4"): HITS["c-mwp", "pool4"], ("grad_1", "default"): HITS["grad_1", "default"]}
    assert title_of(category_figure(results(hits=few))) == ""


def test_the_axis_of_a_sweep_begins_at_a_round_number_and_says_so():
    def sweep(misses):
        pairs = [(str(number), "cat", number >= misses) for number in range(40)]
        hits = {("mwp", layer): pairs for layer in ("pool4", "pool2")}
        return as_sweep(results(hits=hits, finished=tuple(map(str, range(40)))), 2)

    (axes,) = layer_figure(sweep(3), samples=200).axes
    lowest = axes.get_ylim()[0]
    assert 60 <= lowest <= 90
    assert lowest % 10 == 0
    assert lowest in axes.get_yticks()
    assert axes.get_ylabel() == f"pointing accuracy, %\naxis from {lowest:g}"
    (axes,) = layer_figure(sweep(38), samples=200).axes
    assert axes.get_ylim()[0] == 0
    assert axes.get_ylabel() == "pointing accuracy, %"
    (axes,) = layer_figure(sweep(3), difficult=True, samples=200).axes
    assert axes.get_ylabel().startswith("pointing accuracy, % (difficult)\naxis from ")
