"""Tables with two levels of columns, as text, Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from .._errors import ExcitationError
from ._statistics import Interval

LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One figure.

    Attributes:
        text: as it is shown; `""` where there is none.
        best: whether it is the best of its column.
        value: in full precision, for CSV; the text if there is none.
        low: lower end of its interval, if it has one.
        high: upper end.
    """

    text: str
    best: bool = False
    value: float | int | None = None
    low: float | None = None
    high: float | None = None


EMPTY = Cell("")

CSV_COLUMNS = ("table", "row", "group", "column", "value", "low", "high", "text")
"""Of `as_csv`: the table's title, the row's name, both names of the column, the figure."""


def percent(share: float, ends: Interval | None = None, *, best: bool = False) -> Cell:
    """A share from 0 to 1 as a cell in percent, with its interval if there is one."""
    if ends is None:
        return Cell(f"{100 * share:.1f}", best, 100 * share)
    low, high = 100 * ends.low, 100 * ends.high
    return Cell(f"{100 * share:.1f} [{low:.1f}, {high:.1f}]", best, 100 * share, low, high)


@dataclass(frozen=True)
class Table:
    """Rows with a name, columns with two names.

    Attributes:
        title: what is shown.
        corner: what the rows are.
        columns: `(group, name)` of each; neighbours of one group share its heading. The group may be `""`.
        rows: name and one cell per column.
        notes: below the table.
    """

    title: str
    corner: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        """Every row has all columns."""
        for name, cells in self.rows:
            if len(cells) != len(self.columns):
                raise ExcitationError(f"row {name!r} has {len(cells)} cells for {len(self.columns)} columns.")

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Headings of the upper level, with how many columns each spans."""
        return [(name, len(list(items))) for name, items in itertools.groupby(group for group, _ in self.columns)]

    def as_text(self, width: int | None = None) -> str:
        """For a terminal, without colours: the best of a column carries a star.

        Args:
            width: in characters; as wide as needed if not given.
        """
        shown = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, title=None)
        shown.add_column(Text(self.corner), no_wrap=True)
        for group, name in self.columns:
            shown.add_column(Text(f"{group}\n{name}" if group else name), justify="right", no_wrap=True)
        for name, cells in self.rows:
            shown.add_row(Text(name), *(Text(cell.text + ("*" if cell.best else " ")) for cell in cells))
        page = io.StringIO()
        console = Console(file=page, width=width or 10_000, color_system=None, legacy_windows=False)
        console.print(Text(self.title))
        console.print(shown)
        for note in self.notes:
            console.print(Text(note))
        return "\n".join(line.rstrip() for line in page.getvalue().splitlines()).strip() + "\n"

    def as_markdown(self) -> str:
        """For documents; groups and names share one heading, as Markdown has one level only."""
        heads = [self.corner, *(f"{group}, {name}" if group else name for group, name in self.columns)]
        lines = [f"**{_bars(self.title)}**", "", _markdown_row(heads)]
        lines.append(_markdown_row(["---", *["---:"] * len(self.columns)]))
        for name, cells in self.rows:
            lines.append(_markdown_row([name, *(f"**{cell.text}**" if cell.best else cell.text for cell in cells)]))
        for note in self.notes:
            lines += ["", _bars(note)]
        return "\n".join(lines) + "\n"

    def as_latex(self) -> str:
        """For papers, with the package `booktabs`."""
        count = len(self.columns)
        lines = [r"\begin{table}", r"\centering", rf"\caption{{{_latex(self.title)}}}"]
        lines += [rf"\begin{{tabular}}{{l{'r' * count}}}", r"\toprule"]
        if any(group for group, _ in self.columns):
            heads, rules, start = [], [], 2
            for group, span in self.groups:
                heads.append(rf"\multicolumn{{{span}}}{{c}}{{{_latex(group)}}}" if group else " & " * (span - 1))
                if group:
                    rules.append(rf"\cmidrule(lr){{{start}-{start + span - 1}}}")
                start += span
            lines += [" & " + " & ".join(heads) + r" \\", " ".join(rules)]
        lines += [" & ".join(map(_latex, [self.corner, *(name for _, name in self.columns)])) + r" \\", r"\midrule"]
        for name, cells in self.rows:
            texts = [rf"\textbf{{{_latex(cell.text)}}}" if cell.best else _latex(cell.text) for cell in cells]
            lines.append(" & ".join([_latex(name), *texts]) + r" \\")
        lines += [r"\bottomrule", r"\end{tabular}"]
        lines += [rf"\par\smallskip\footnotesize {_latex(note)}" for note in self.notes]
        return "\n".join([*lines, r"\end{table}"]) + "\n"

    def as_csv(self) -> str:
        """For other programs: see `as_csv`."""
        return as_csv([self])


def as_csv(tables: Iterable[Table]) -> str:
    """Tables of any shape as one CSV, a line for each figure, so that it has one header however they differ.

    The columns are `CSV_COLUMNS`. Figures stand in full precision in `value`, the ends of their intervals in `low` and
    `high`; what is no number, such as a layer's name, in `text`. Notes have lines of their own, `note` in `column`.
    """
    page = io.StringIO()
    writer = csv.writer(page, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for table in tables:
        for name, cells in table.rows:
            for (group, column), cell in zip(table.columns, cells, strict=True):
                if cell.text:
                    numbers = [_number(item) for item in (cell.value, cell.low, cell.high)]
                    writer.writerow([table.title, name, group, column, *numbers, "" if any(numbers) else cell.text])
        for note in table.notes:
            writer.writerow([table.title, "", "", "note", "", "", "", note])
    return page.getvalue()


def _number(value: float | int | None) -> str:
    return "" if value is None else repr(value if isinstance(value, int) else float(value))


def _markdown_row(cells: list[str]) -> str:
    return "| " + " | ".join(map(_bars, cells)) + " |"


def _bars(text: str) -> str:
    return text.replace("|", r"\|")


def _latex(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in text)
