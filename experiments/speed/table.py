"""The measured parts as Markdown."""

from __future__ import annotations

from typing import Any


def as_markdown(found: dict[str, Any]) -> str:
    """One table for each kind of part; entries are medians with the middle half's ends."""
    settings = found["settings"]
    lines = [
        f"`make bench`: {settings['device']}, threads: {settings['threads']}, {settings['clock']} time,"
        f" {settings['size']} x {settings['size']} pixels, batch {settings['batch']} unless said."
        " Medians over turns, the middle half in brackets.",
    ]
    titles = {
        "network": f"Batch {settings['batch']}", "one image": "One image", "others": "Side by side, over U",
        "all classes": "All 1000 classes of one image", "fixed": "Fixed cost, microseconds per operation",
    }  # fmt: skip
    for kind, title in titles.items():
        parts = {name[len(kind) :].strip(): part for name, part in found["parts"].items() if name.startswith(kind)}
        if not parts:
            continue
        rows = list(dict.fromkeys(row for part in parts.values() for row in [*part["rows"], *part["refused"]]))
        lines += ["", f"**{title}**", "", f"| | {' | '.join(name or 'small network' for name in parts)} |"]
        lines.append(f"| --- |{' --- |' * len(parts)}")
        for row in rows:
            lines.append(f"| {row} | {' | '.join(_cell(part, row) for part in parts.values())} |")
        loads = [f"{min(part['load']):.1f} to {max(part['load']):.1f}" for part in parts.values()]
        lines.append(f"| machine's load | {' | '.join(loads)} |")
        lines.append(f"| turns | {' | '.join(str(part['turns']) for part in parts.values())} |")
    return "\n".join(lines) + "\n"


def _cell(part: dict[str, Any], row: str) -> str:
    if row in part["refused"]:
        return f"refused ({part['refused'][row].split(':')[0]})"
    if row not in part["rows"]:
        return ""
    median, low, high = part["rows"][row]
    return f"{median:.2f} ({low:.2f} to {high:.2f})"
