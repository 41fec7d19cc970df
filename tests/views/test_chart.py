"""Line charts show their numbers, once, and refuse what cannot be told apart."""

from __future__ import annotations

import numpy as np
import pytest

from excitation.views import Line, LinePanel, line_chart, save_figure

VALUES = np.array([1.0, 0.5, np.nan, 0.1])


def test_lines_bands_and_ticks_are_drawn(tmp_path):
    lines = [Line("one", VALUES, VALUES - 0.1, VALUES + 0.1), Line("two", VALUES / 2)]
    panels = [LinePanel(f"panel {i}", lines) for i in range(3)]
    chart = line_chart(panels, ["a", "b", "c", "a long name"], ylabel="likeness", xlabel="layers")
    assert [axes.get_title(loc="left") for axes in chart.axes] == ["panel 0", "panel 1", "panel 2"]
    for axes in chart.axes:
        shown = {line.get_label(): line for line in axes.lines}
        assert shown["one"].get_xdata().tolist() == [0, 1, 3]
        assert shown["two"].get_ydata().tolist() == [0.5, 0.25, 0.05]
        assert len(axes.collections) == 1
        assert [text.get_text() for text in axes.get_legend().get_texts()] == ["one", "two"]
    # Names of the ticks stand below the lowest panel of each column only.
    named = [bool(axes.get_xticklabels()[3].get_text()) for axes in chart.axes]
    assert named == [False, True, True]
    save_figure(chart, tmp_path / "a.png")
    save_figure(
        line_chart(panels, ["a", "b", "c", "a long name"], ylabel="likeness", xlabel="layers"), tmp_path / "b.png"
    )
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_wrong_charts_are_refused():
    with pytest.raises(ValueError, match="no panels"):
        line_chart([], [], ylabel="")
    with pytest.raises(ValueError, match="4 values for 2 ticks"):
        line_chart([LinePanel("", [Line("one", VALUES)])], ["a", "b"], ylabel="")
    with pytest.raises(ValueError, match="10 can be told apart"):
        line_chart([LinePanel("", [Line(str(i), VALUES) for i in range(11)])], list("abcd"), ylabel="")
