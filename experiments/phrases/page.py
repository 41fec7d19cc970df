"""Tables of phrases as JSON and as a page of the documentation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from excitation.evaluation import Results, Table
from excitation.grounding import phrase_tables


def tables_of(
    run: Results, *, paper: bool = False, against: Sequence[str] = (), only: Sequence[int] | None = None
) -> list[Table]:
    """The tables of a run, or some of them by their places."""
    tables = phrase_tables(run, paper=paper, against=against)
    return tables if only is None else [tables[place] for place in only]


def tables_json(tables: Mapping[str, Sequence[Table]]) -> str:
    """All numbers in full precision, with the ends of their intervals, in percent."""
    told = {
        name: [
            {
                "title": table.title,
                "rows": {
                    row: {
                        f"{group}, {column}" if group else column: [cell.value, cell.low, cell.high]
                        for (group, column), cell in zip(table.columns, cells, strict=True)
                        if cell.text
                    }
                    for row, cells in table.rows
                },
                "notes": list(table.notes),
            }
            for table in own
        ]
        for name, own in tables.items()
    }
    return json.dumps(told, indent=1, ensure_ascii=False) + "\n"


def page(title: str, introduction: str, commands: Sequence[str], tables: Mapping[str, Sequence[Table]]) -> str:
    """A Markdown page: title, introduction, and under each command its tables."""
    parts = [f"# {title}", introduction.strip()]
    for command, own in zip(commands, tables.values(), strict=True):
        parts.append(f"```\n{command}\n```")
        parts += [table.as_markdown().strip() for table in own]
    return "\n\n".join(parts) + "\n"
