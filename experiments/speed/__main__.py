"""`make bench`: the engine's speed as median ratios, as JSON and as a table.

Each part is kept as soon as it is measured; a run that was cut off goes on with the parts that are missing.
"""

from __future__ import annotations

import json
import os
import platform
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from excitation._files import write_whole
from experiments.speed.all_classes import all_classes
from experiments.speed.networks import CHOICES
from experiments.speed.others import side_by_side
from experiments.speed.rows import fixed_cost, network_rows
from experiments.speed.table import as_markdown
from experiments.speed.timing import Ratio, use_clock


def main(
    out: Annotated[Path, typer.Option(help="The JSON file; the table goes beside it.")] = Path("runs/speed/cpu.json"),
    threads: Annotated[int, typer.Option(help="Of torch.")] = 2,
    turns: Annotated[int, typer.Option(help="How often each contender runs.")] = 9,
    batch: Annotated[int, typer.Option(help="Images.")] = 8,
    size: Annotated[int, typer.Option(help="Their height and width.")] = 224,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    clock: Annotated[str, typer.Option(help="wall; processor on a busy machine, with one thread.")] = "wall",
    only: Annotated[str, typer.Option(help="A part of the parts' names.")] = "",
) -> None:
    """Measure what is not yet in the file, and write the table."""
    torch.set_num_threads(threads)
    use_clock(clock)
    warnings.filterwarnings("ignore", category=UserWarning)  # other packages' remarks on their own hooks
    where = torch.device(device)
    settings: dict[str, Any] = {"threads": threads, "batch": batch, "size": size, "device": _device(where)}
    settings["clock"] = clock
    found: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {"settings": settings, "parts": {}}
    if found["settings"] != settings:
        raise SystemExit(f"{out} was measured with {found['settings']}; name another file with --out.")
    common: dict[str, Any] = {"turns": turns, "size": size, "device": where}
    parts: dict[str, Callable[[], Any]] = {"fixed": lambda: _plain(fixed_cost(20 * turns))}
    for choice in CHOICES:
        parts[f"network {choice.title}"] = lambda c=choice: _plain(network_rows(c, batch=batch, **common))
        parts[f"one image {choice.title}"] = lambda c=choice: _plain(network_rows(c, batch=1, **common))
        parts[f"others {choice.title}"] = lambda c=choice: _plain(*side_by_side(c, batch=batch, **common))
    for choice in CHOICES:
        if choice.name in {"googlenet", "resnet50"}:
            parts[f"all classes {choice.title}"] = lambda c=choice: _plain(all_classes(c, size=size, device=where))
    for name, part in parts.items():
        if name not in found["parts"] and only in name:
            print(f"{name} ...", flush=True)
            before = os.getloadavg()[0]
            result = part()
            load = [round(before, 1), round(os.getloadavg()[0], 1)]
            found["parts"][name] = {**result, "turns": turns, "load": load, "torch": torch.__version__}
            write_whole(out, json.dumps(found, indent=1) + "\n")
    table = as_markdown(found)
    write_whole(out.with_suffix(".md"), table)
    print(table)


def _plain(ratios: dict[str, Ratio], refused: dict[str, str] | None = None) -> dict[str, Any]:
    rows = {name: [round(r.median, 3), round(r.low, 3), round(r.high, 3)] for name, r in ratios.items()}
    return {"rows": rows, "refused": refused or {}}


def _device(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu {platform.machine()}"


if __name__ == "__main__":
    typer.run(main)
