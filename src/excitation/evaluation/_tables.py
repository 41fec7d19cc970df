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
    """One cell of a table.

    Attributes:
        text: displayed text; `""` for an empty cell.
        best: whether it is the best value of its column.
        value: value in full precision, for CSV; `None` for text.
        low: lower end of the interval; `None` without an interval.
        high: upper end of the interval; `None` without an interval.
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
    """Return a cell in percent for a share, 0 to 1, with its interval if there is one."""
    if ends is None:
        return Cell(f"{100 * share:.1f}", best, 100 * share)
    low, high = 100 * ends.low, 100 * ends.high
    return Cell(f"{100 * share:.1f} [{low:.1f}, {high:.1f}]", best, 100 * share, low, high)


@dataclass(frozen=True)
class Table:
    """Rows with a name, columns with two names.

    Attributes:
        title: title of the table.
        corner: heading of the row names.
        columns: `(group, name)` of each column. Neighbouring columns of one group share a heading. The group can be
            `""`.
        rows: name and cells of each row, with one cell per column.
        notes: notes below the table.
    """

    title: str
    corner: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        """Check that every row has all columns."""
        for name, cells in self.rows:
            if len(cells) != len(self.columns):
                raise ExcitationError(f"row {name!r} has {len(cells)} cells for {len(self.columns)} columns.")

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Return the group headings, with the number of columns of each."""
        return [(name, len(list(items))) for name, items in itertools.groupby(group for group, _ in self.columns)]

    def as_text(self, width: int | None = None) -> str:
        """Return the table as plain text. A star marks the best value of a column.

        Args:
            width: width in characters; unlimited if `None`.
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
        """Return the table as Markdown. Groups and names share one heading, because Markdown has only one level."""
        heads = [self.corner, *(f"{group}, {name}" if group else name for group, name in self.columns)]
        lines = [f"**{_bars(self.title)}**", "", _markdown_row(heads)]
        lines.append(_markdown_row(["---", *["---:"] * len(self.columns)]))
        for name, cells in self.rows:
            lines.append(_markdown_row([name, *(f"**{cell.text}**" if cell.best else cell.text for cell in cells)]))
        for note in self.notes:
            lines += ["", _bars(note)]
        return "\n".join(lines) + "\n"

    def as_latex(self) -> str:
        """Return the table as LaTeX for the package `booktabs`."""
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
        """Return the table as CSV (see the function `as_csv`)."""
        return as_csv([self])


def as_csv(tables: Iterable[Table]) -> str:
    """Convert tables of any shape to one CSV text in long format, with one line for each cell.

    The columns are `CSV_COLUMNS`. `value` contains numbers in full precision, `low` and `high` the ends of their
    intervals, and `text` other cells such as layer names. Notes have their own lines, with `note` in `column`.
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
