"""The short tables of docs/results/speed.md: what a reader wants to know first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from experiments.speed.table import Run, cell, header, line, number, parts_of_kind, table

FOUR = ("VGG16", "GoogLeNet", "SqueezeNet 1.0", "ResNet-50")
ORDER = (*FOUR, "MobileNetV2")


def reached(found: dict[str, Any]) -> str:
    """What was wanted beside what was measured, run by run."""
    runs: dict[str, Run] = found["runs"]
    lines = header(["what", "wanted", *runs])
    deep = ("ResNet-50", "VGG16", "GoogLeNet", "SqueezeNet 1.0")
    wishes: list[tuple[str, str, tuple[str, str, Iterable[str]], str]] = [
        ("one MWP map, batch 8: VGG16, GoogLeNet, SqueezeNet, ResNet-50", "3.0 U",
         ("network", "one MWP map / U", FOUR), " U"),
        ("the same, MobileNetV2", "5 U", ("network", "one MWP map / U", ("MobileNetV2",)), " U"),
        ("c-MWP over MWP, same order, MobileNetV2 last", "1.05", ("network", "c-MWP / MWP", ORDER), ""),
        ("a further class, batch 8: ResNet-50, VGG16, GoogLeNet, SqueezeNet", "0.12, 0.2, 0.5, 0.9 U",
         ("network", "further class / U", deep), " U"),
        ("a further class, one image, same order", "0.12, 0.2, 0.5, 0.9 U",
         ("one image", "further class / U", deep), " U"),
        ("all 1000 classes of one image, MWP and c-MWP: GoogLeNet, ResNet-50", "50, 40 U",
         ("all classes", "MWP and c-MWP", ("GoogLeNet", "ResNet-50")), " U"),
        ("any question after that", "1 ms", ("all classes", "a mixture", ("GoogLeNet", "ResNet-50")), " ms"),
        ("fixed cost over a plain forward pass", "20 us per operation", ("fixed", "over a plain", ("",)), " us"),
        ("peak memory over a plain forward pass, MobileNetV2 last", "activations above, twice",
         ("network", "peak memory", ORDER), " times"),
        ("the audit, over without, MobileNetV2 last", "said", ("network", "with audit", ORDER), ""),
    ]  # fmt: skip
    for what, wanted, (kind, row, titles), unit in wishes:
        cells = [_several(run, kind, row, titles, unit) for run in runs.values()]
        if any(cells):
            lines.append(line([what, wanted, *cells]))
    return "\n".join(lines)


def _several(run: Run, kind: str, row: str, titles: Iterable[str], unit: str = "") -> str:
    """Medians of one row in several parts of a kind, a dash for one that is missing; nothing if all are."""
    parts = parts_of_kind(run, kind)
    numbers = [number(_median(parts[title], row)) if title in parts else "-" for title in titles]
    return ", ".join(numbers) + unit if any(item != "-" for item in numbers) else ""


def _median(part: dict[str, Any], row: str) -> float:
    """The median of the row whose name begins so."""
    (found,) = (item for name, item in part["rows"].items() if name.startswith(row))
    return float(found[0])


def others(found: dict[str, Any]) -> str:
    """Methods as rows, networks as columns; below, why some refused."""
    lines: list[str] = []
    for name, run in found["runs"].items():
        parts = parts_of_kind(run, "others")
        if not parts:
            continue
        rows = [row for part in parts.values() for row in [*part["rows"], *part["refused"]]]
        order = sorted(
            dict.fromkeys(rows), key=lambda row: (not row.startswith("excitation"), not row.startswith("gradient"), row)
        )
        lines += ["", *header([f"over U, {name}", *parts])]
        for row in order:
            marks = ["refused" if row in part["refused"] else cell(part, row) for part in parts.values()]
            lines.append(line([row, *marks]))
    reasons: dict[tuple[str, str], list[str]] = {}
    for run in found["runs"].values():
        for title, part in parts_of_kind(run, "others").items():
            for method, reason in part["refused"].items():
                titles = reasons.setdefault((method, reason), [])
                titles += [title] if title not in titles else []
    lines += ["", *(f"- {method}, {', '.join(titles)}: {reason}" for (method, reason), titles in reasons.items())]
    return "\n".join(lines).strip("\n")


def scaling(found: dict[str, Any]) -> str:
    """A few points of each curve."""
    lines: list[str] = []
    rows = {
        "MWP / U: 1, 10, 100 classes in one call": ("classes", "MWP / U, {} classes", (1, 10, 100)),
        "gradient / U: 1, 10, 100 classes": ("classes", "gradient / U, {} classes", (1, 10, 100)),
        "MWP / U: batch 1, 4, 32": ("batch", "MWP / U, batch {}", (1, 4, 32)),
        "U per image, ms: batch 1, 4, 32": ("batch", "U per image, ms, batch {}", (1, 4, 32)),
        "MWP / U: 160, 224, 448 pixels": ("size", "MWP / U, {} pixels", (160, 224, 448)),
        "two threads, times as fast: U": ("threads", "U, times as fast, {} threads", (2,)),
        "two threads, times as fast: gradient": ("threads", "gradient, times as fast, {} threads", (2,)),
        "two threads, times as fast: MWP": ("threads", "MWP, times as fast, {} threads", (2,)),
    }
    lines = header(["", *ORDER])
    for what, (kind, pattern, points) in rows.items():
        cells = []
        for title in ORDER:
            parts = [parts_of_kind(run, kind).get(title) for run in found["runs"].values()]
            part = next((part for part in parts if part is not None), None)
            cells.append(
                "" if part is None else ", ".join(number(part["rows"][pattern.format(at)][0]) for at in points)
            )
        lines.append(line([what, *cells]))
    return "\n".join(lines)


def compiled(found: dict[str, Any]) -> str:
    """What `torch.compile` would gain, as it was measured."""
    parts = next((kept for run in found["runs"].values() if (kept := parts_of_kind(run, "compile"))), {})
    return "\n".join(table(parts)) if parts else ""


def precision(found: dict[str, Any]) -> str:
    """The worst map of each network; in half precision by weights or by autocast, whichever is worse."""
    parts = next((kept for run in found["runs"].values() if (kept := parts_of_kind(run, "precision"))), {})
    if not parts:
        return ""
    kinds = ("bfloat16", "float16")
    lines = header(
        ["largest error; correlation; maxima moved", *(f"{m}, {k}" for m in ("MWP", "c-MWP") for k in kinds)]
    )
    for title, part in parts.items():
        rows = part["rows"]
        cells = []
        for method in ("MWP", "c-MWP"):
            for kind in kinds:
                both = [f"{method}, {way}" for way in (kind, f"{kind} by autocast")]
                both = [way for way in both if way not in part["refused"]]
                largest = max(rows[f"{way}, largest"][2] for way in both)
                correlation = min(rows[f"{way}, correlation"][1] for way in both)
                moved = max(rows[f"{way}, maps whose maximum moved"][0] for way in both)
                count = rows[f"{both[0]}, maps"][0]
                cells.append(f"{_percent(largest)}; {_like(correlation)}; {moved:.0f} of {count:.0f}")
        lines.append(line([title, *cells]))
    every = [(name, row) for part in parts.values() for name, row in part["rows"].items()]
    single = max(row[2] for name, row in every if name.endswith("float32, largest"))
    mass = {
        method: max(row[2] for name, row in every if name.startswith(method) and name.endswith("mass"))
        for method in ("MWP", "c-MWP")
    }
    far = max(row[2] for name, row in every if name.endswith("moved") and "maximum" not in name)
    lines += [
        "",
        f"The sum of an MWP map is wrong by at most {_percent(mass['MWP'])} of it, that of a signed c-MWP map by"
        f" {_percent(mass['c-MWP'])} of its absolute sum. No maximum moved by more than {far:.0f} cells. In float32 no"
        f" map is wrong by more than {_percent(single)} of its largest value anywhere.",
    ]
    return "\n".join(lines)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def _like(correlation: float) -> str:
    """Four digits, never rounded up to one."""
    return f"{correlation:.4f}" if correlation < 0.99995 else "over 0.9999"
