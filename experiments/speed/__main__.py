"""`make bench`: the engine's speed as median ratios, as JSON and as a table.

Each part is kept as soon as it is measured; a run that was cut off goes on with the parts that are missing.
"""

from __future__ import annotations

import json
import os
import platform
import time
import warnings
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from excitation._files import write_whole
from experiments.speed.parts import Part, Plan, parts
from experiments.speed.table import as_markdown
from experiments.speed.timing import CLOCKS, use_clock


def main(
    out: Annotated[Path, typer.Option(help="The JSON file; the table goes beside it.")] = Path("runs/speed/cpu.json"),
    threads: Annotated[str, typer.Option(help="Of torch, one number or several: everything is measured with each.")] = (
        "1,2"
    ),
    turns: Annotated[int, typer.Option(help="How often each contender runs.")] = 5,
    batch: Annotated[int, typer.Option(help="Images.")] = 8,
    size: Annotated[int, typer.Option(help="Their height and width.")] = 224,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    clock: Annotated[
        str, typer.Option(help="wall, processor, or auto: one thread's processor time, wall time with more.")
    ] = "auto",
    only: Annotated[str, typer.Option(help="Parts whose names have this in them.")] = "",
) -> None:
    """Measure what is not yet in the file, and write the table."""
    warnings.filterwarnings("ignore", category=UserWarning)  # other packages' remarks on their own hooks
    where = torch.device(device)
    counts = _counts(threads)
    settings: dict[str, Any] = {"device": _device(where), "batch": batch, "size": size}
    found: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {"settings": settings, "runs": {}}
    if found["settings"] != settings:
        raise SystemExit(f"{out} was measured with {found['settings']}; name another file with --out.")
    for count in counts:
        plan = Plan(
            threads=count, clock=_clock(clock, count, where), turns=turns, batch=batch, size=size, device=where,
            once=count == counts[0], rates=where.type == "cuda" or "rates" in only,
        )  # fmt: skip
        torch.set_num_threads(count)
        use_clock(plan.clock)
        kept = found["runs"].setdefault(plan.name, {"threads": count, "clock": plan.clock, "parts": {}})["parts"]
        for name, part in parts(plan).items():
            if name not in kept and only in name:
                print(f"{plan.name}: {name} ...", flush=True)
                kept[name] = {**_watched(part), "turns": turns, "torch": torch.__version__}
                write_whole(out, json.dumps(found, indent=1) + "\n")
    table = as_markdown(found)
    write_whole(out.with_suffix(".md"), table)
    print(table)


def _watched(part: Part) -> dict[str, Any]:
    """A part's result, with what else there was to do: the load, and how many cores this process got meanwhile."""
    before, wall, processor = os.getloadavg()[0], time.perf_counter(), time.process_time()
    result = part()
    spent = time.perf_counter() - wall
    cores = (time.process_time() - processor) / spent
    load = [round(before, 1), round(os.getloadavg()[0], 1)]
    return {**result, "load": load, "cores": round(cores, 2), "seconds": round(spent, 1)}


def _counts(threads: str) -> list[int]:
    try:
        counts = [int(item) for item in threads.split(",")]
    except ValueError:
        counts = []
    if not counts or min(counts) < 1:
        raise SystemExit(f"--threads is {threads!r}; give one number or several, such as 1,2.")
    return counts


def _clock(clock: str, threads: int, device: torch.device) -> str:
    if clock != "auto" and clock not in CLOCKS:
        raise SystemExit(f"--clock is {clock!r}; choose one of auto, {', '.join(CLOCKS)}.")
    if clock == "auto":
        return "processor" if threads == 1 and device.type == "cpu" else "wall"
    if clock == "processor" and (threads > 1 or device.type != "cpu"):
        raise SystemExit("--clock processor counts what all threads did, and nothing of a GPU; use it with one thread.")
    return clock


def _device(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu {platform.machine()}"


if __name__ == "__main__":
    typer.run(main)
