"""The measured parts as Markdown: all of them, run by run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Part = dict[str, Any]
Run = dict[str, Any]


def parts_of_kind(run: Run, kind: str) -> dict[str, Part]:
    """A run's parts of one kind, by what stands behind it in their names."""
    found = run["parts"].items()
    return {name[len(kind) :].strip(): part for name, part in found if name == kind or name.startswith(f"{kind} ")}


def as_markdown(found: dict[str, Any]) -> str:
    """One table for each kind of part; entries are medians with the middle half's ends."""
    settings = found["settings"]
    titles = {
        "network": f"Batch {settings['batch']}", "one image": "One image", "others": "Side by side, over U",
        "all classes": "All 1000 classes of one image", "fixed": "Fixed cost, microseconds per operation",
        "classes": "One image, so many classes in one call", "batch": "So many images in one call",
        "size": "One image of so many pixels", "threads": f"Wall time by threads, batch {settings['batch']}",
        "rates": "Whole networks",
    }  # fmt: skip
    lines = [
        f"`make bench`: {settings['device']}, {settings['size']} x {settings['size']} pixels, batch"
        f" {settings['batch']} unless said. Medians over turns, the middle half in brackets.",
    ]
    for name, run in found["runs"].items():
        for kind, title in titles.items():
            parts = parts_of_kind(run, kind)
            if parts:
                lines += ["", f"**{title}** ({name})", "", *table(parts)]
    return "\n".join(lines) + "\n"


def table(parts: dict[str, Part]) -> list[str]:
    """Parts as columns, whatever they measured as rows, and under what conditions."""
    rows = list(dict.fromkeys(row for part in parts.values() for row in [*part["rows"], *part["refused"]]))
    lines = header(["", *(name or "small network" for name in parts)])
    for row in rows:
        lines.append(line([row, *(cell(part, row) for part in parts.values())]))
    loads = [f"{min(part['load']):.1f} to {max(part['load']):.1f}" for part in parts.values()]
    lines.append(line(["machine's load", *loads]))
    if any("cores" in part for part in parts.values()):
        cores = [f"{part['cores']:.2f}" if "cores" in part else "" for part in parts.values()]
        lines.append(line(["cores this process had", *cores]))
    lines.append(line(["turns", *(str(part["turns"]) for part in parts.values())]))
    return lines


def header(names: Sequence[str]) -> list[str]:
    """The first two lines of a table."""
    return [line(names), "|" + " --- |" * len(names)]


def line(cells: Sequence[str]) -> str:
    """One line of a table."""
    return "| " + " | ".join(cells) + " |"


def cell(part: Part, row: str) -> str:
    """A number with its middle half, or that it was refused."""
    if row in part["refused"]:
        return f"refused ({part['refused'][row].split(':')[0]})"
    if row not in part["rows"]:
        return ""
    median, low, high = part["rows"][row]
    return f"{number(median)} ({number(low)} to {number(high)})"


def number(value: float) -> str:
    """As many digits as a time deserves."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.2f}"
