"""Train a classifier of the symbol world on image-level labels: `python -m experiments.symbols.train`.

Seeded; stopped at any moment, the same command goes on from the last checkpoint. Writes the weights, the record of the
run and the curve.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from excitation._files import whole_file, write_whole
from excitation.data.symbols import SYMBOL_NAMES
from excitation.models.symbols import SymbolNet, SymbolResNet, folded
from experiments.symbols.allocation import keep_memory
from experiments.symbols.curve import draw_curve
from experiments.symbols.evaluate import evaluation
from experiments.symbols.norm import quicken
from experiments.symbols.precision import PAIRED, mean_average_precision, predict
from experiments.symbols.scenes import CLASSES, Scenes, render

BATCH = 32
WARM_UP = 200  # steps in which the step size rises
EVERY = 250  # steps between checkpoints
WATCHED = 2  # of the five formats of picture: the curve is measured on unseen scenes of these only, to save time
STEPS = {"googlenet": 5000, "resnet": 6500}  # each within 45 minutes of two cores, rendering included

# Forty shapes are learned much sooner from pictures of one object: twice as many of them at half the size in a step,
# often at first, seldom later. Since just one symbol is there, they are also told apart by a softmax; with the
# multi-label loss alone, whose easiest answer is "none of them", 250 steps gave 13 % of the symbols, so 72 %.
# The members of the pairs are only ever seen in whole scenes, so that a pair stays one.
EASY_SEED, EASY_SCENES = 1, 6000
OFTEN, SELDOM, LESS = 0.9, 0.1, 0.4  # share of steps with them: at first, in the end, and when it has come down


def train(
    network: Annotated[Literal["googlenet", "resnet"], typer.Option(help="Which of the two networks.")] = "googlenet",
    steps: Annotated[
        int | None, typer.Option(help="Batches.", show_default="5000; 6500 for resnet, whose steps are shorter")
    ] = None,
    scenes: Annotated[int, typer.Option(help="Different training scenes.")] = 12000,
    rate: Annotated[float, typer.Option(help="Largest step size.")] = 2e-3,
    seed: Annotated[int, typer.Option(help="Of weights, order and augmentation.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/symbols"),
    threads: Annotated[int, typer.Option(help="Of torch.")] = 2,
    device: Annotated[str, typer.Option(help="cpu or cuda; a run may go on on the other.")] = "cpu",
) -> None:
    """Train, evaluate and write `NETWORK.safetensors`, `NETWORK.json` and `NETWORK.png`."""
    torch.set_num_threads(threads)
    keep_memory()
    steps = STEPS[network] if steps is None else steps
    configuration = {
        "network": network, "steps": steps, "scenes": scenes, "rate": rate, "seed": seed, "batch": BATCH,
        "classes": list(CLASSES),
    }  # fmt: skip
    begun_at = time.perf_counter()
    groups = render("train", scenes, 0, out / "scenes", threads)
    easy = [_unpaired(group) for group in render("dominant", EASY_SCENES, EASY_SEED, out / "scenes", threads)]
    watched = render("val", 1000, 0, out / "scenes", threads)[:WATCHED]
    torch.manual_seed(seed)
    model: nn.Module = (
        SymbolNet(len(CLASSES), batch_norm=True) if network == "googlenet" else SymbolResNet(len(CLASSES))
    )
    quicken(model)
    nn.init.constant_(model.get_submodule("classifier").bias, -2.5)  # most classes are absent from most pictures
    model = model.to(device, memory_format=torch.channels_last)  # made on the CPU: the same weights on any device
    optimiser = torch.optim.AdamW(_groups(model), lr=rate, fused=True)
    place = out / f"{network}.checkpoint.pt"
    begun, history, seconds = _resume(place, model, optimiser, configuration)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        task = progress.add_task("training", total=steps, completed=begun)
        for step in range(begun, steps):
            start = time.perf_counter()
            for group in optimiser.param_groups:
                group["lr"] = _rate(step, steps, rate)
            rng = np.random.default_rng([seed, step])
            if rng.random() < SELDOM + (OFTEN - SELDOM) * max(0.0, 1 - step / (LESS * steps)):
                loss = _step(model, optimiser, easy, 2 * BATCH, rng, single=True)
            else:
                loss = _step(model, optimiser, groups, BATCH, rng, single=False)
            seconds += time.perf_counter() - start
            history["loss"].append(loss)
            if (step + 1) % EVERY == 0 or step + 1 == steps:
                precision = mean_average_precision(*predict(model, watched), [0, 0.05, 1])
                history["precision"].append([step + 1, precision["0.05-1"]])
                _save(place, model, optimiser, configuration, step + 1, history, seconds)
                progress.console.print(f"step {step + 1}: loss {loss:.4f}, precision {precision}")
            progress.update(task, advance=1)
    model.eval()
    plain = folded(model) if isinstance(model, SymbolNet) else model
    report = {
        "configuration": configuration,
        "torch": torch.__version__,
        "minutes of steps": seconds / 60,
        "minutes of this process": (time.perf_counter() - begun_at) / 60,
        "processor minutes of this process": time.process_time() / 60,
        "threads": threads,
        "device": device,
        **evaluation(plain, out / "scenes", threads),
    }
    weights = {name: tensor.cpu().contiguous() for name, tensor in plain.state_dict().items()}
    write_whole(out / f"{network}.safetensors", safetensors.torch.save(weights, {"classes": json.dumps(CLASSES)}))
    write_whole(out / f"{network}.json", json.dumps(report, indent=1) + "\n")
    draw_curve(history, out / f"{network}.png")
    print(json.dumps(report["precision"], indent=1), report["precision over 5 %"])


def _groups(model: nn.Module) -> list[dict[str, object]]:
    """Weights decay; biases and normalisations do not."""
    decayed = [p for p in model.parameters() if p.dim() > 1]
    rest = [p for p in model.parameters() if p.dim() <= 1]
    return [{"params": decayed, "weight_decay": 0.02}, {"params": rest, "weight_decay": 0.0}]


def _rate(step: int, steps: int, rate: float) -> float:
    """A linear rise, then half a cosine down to zero."""
    if step < WARM_UP:
        return rate * (step + 1) / WARM_UP
    return rate * 0.5 * (1 + math.cos(math.pi * (step - WARM_UP) / max(steps - WARM_UP, 1)))


def _unpaired(scenes: Scenes) -> Scenes:
    """The pictures without members of the pairs."""
    kept = (scenes.shares[:, PAIRED] == 0).all(1)
    return Scenes(scenes.images[kept], scenes.shares[kept])


def _step(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    groups: list[Scenes],
    batch: int,
    rng: np.random.Generator,
    *,
    single: bool,
) -> float:
    """One step on pictures of one size, with a single symbol in each or with many; its mean multi-label loss."""
    counts = np.array([len(group.images) for group in groups])
    group = groups[rng.choice(len(groups), p=counts / counts.sum())]
    chosen = np.sort(rng.choice(len(group.images), batch, replace=False))
    device = next(model.parameters()).device
    labels = torch.from_numpy((group.shares[chosen] > 0).astype(np.float32)).to(device)
    model.train()
    optimiser.zero_grad(set_to_none=True)
    images = _augmented(group.images[chosen], rng, device)
    logits = model(F.avg_pool2d(images, 2) if single else images)
    multi_label = F.binary_cross_entropy_with_logits(logits, labels, reduction="sum") / batch
    symbols = slice(len(SYMBOL_NAMES))
    softmax = F.cross_entropy(logits[:, symbols], labels[:, symbols].argmax(1)) if single else 0
    (multi_label + softmax).backward()
    optimiser.step()
    return float(multi_label.detach()) / len(CLASSES)


def _augmented(pictures: np.ndarray, rng: np.random.Generator, device: torch.device) -> torch.Tensor:
    """Turned, mirrored, zoomed, shifted and exposed a little differently; -1 to 1, channels last."""
    images = torch.from_numpy(pictures).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
    count, _, height, width = images.shape
    angle = torch.from_numpy(rng.uniform(-0.25, 0.25, count))
    zoom = torch.from_numpy(np.exp(rng.uniform(-0.25, 0.2, count)))
    flip = torch.from_numpy(rng.choice([-1.0, 1.0], count))
    ratio = height / width
    maps = torch.zeros(count, 2, 3)
    maps[:, 0, 0], maps[:, 0, 1] = flip * torch.cos(angle) / zoom, -torch.sin(angle) * ratio / zoom
    maps[:, 1, 0], maps[:, 1, 1] = flip * torch.sin(angle) / ratio / zoom, torch.cos(angle) / zoom
    maps[:, :, 2] = torch.from_numpy(rng.uniform(-0.08, 0.08, (count, 2)))
    grid = F.affine_grid(maps.to(device), [count, 3, height, width], align_corners=False)
    images = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    gain = torch.from_numpy(rng.uniform(0.85, 1.15, (count, 1, 1, 1))).float().to(device)
    shift = torch.from_numpy(rng.uniform(-0.1, 0.1, (count, 1, 1, 1))).float().to(device)
    return (images * gain + shift).clamp(-1, 1).contiguous(memory_format=torch.channels_last)


def _save(
    place: Path, model: nn.Module, optimiser: torch.optim.Optimizer, configuration: dict[str, object], step: int,
    history: dict[str, list], seconds: float,
) -> None:  # fmt: skip
    state = {
        "model": model.state_dict(), "optimiser": optimiser.state_dict(), "configuration": configuration,
        "step": step, "history": history, "seconds": seconds,
    }  # fmt: skip
    with whole_file(place) as file:
        torch.save(state, file)


def _resume(
    place: Path, model: nn.Module, optimiser: torch.optim.Optimizer, configuration: dict[str, object]
) -> tuple[int, dict[str, list], float]:
    if not place.exists():
        return 0, {"loss": [], "precision": []}, 0.0
    state = torch.load(place, map_location="cpu", weights_only=True)
    if state["configuration"] != configuration:
        raise typer.BadParameter(f"{place} belongs to a run with other options; take another --out or remove it.")
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    return state["step"], state["history"], state["seconds"]


if __name__ == "__main__":
    typer.run(train)
