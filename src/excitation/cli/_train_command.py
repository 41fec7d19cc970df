"""`excitation train`: classifiers from labels and from tags."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._console import ProgressDisplay, answer, report_line
from ._options import ModelSpec

if TYPE_CHECKING:
    from ..training import Options, Recipe

train = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Train classifiers on labels or on tags.")


class Precision(str, Enum):
    """The precision of the computation."""

    float32 = "float32"
    bfloat16 = "bfloat16"


class Pad(str, Enum):
    """The padding of pictures that are not square."""

    mirror = "mirror"
    none = "none"


Out = Annotated[Path, typer.Option("--out", metavar="RUN", help="Folder for the run.", show_default=False)]
Rate = Annotated[float, typer.Option("--rate", help="Initial learning rate. It is multiplied by 0.1 at each plateau.")]
Batch = Annotated[int, typer.Option("--batch", min=1, help="Number of pictures per step.")]
Every = Annotated[
    int | None,
    typer.Option(
        "--every", min=1, help="Steps between evaluations on held-out pictures. Default: one pass.", show_default=False
    ),
]
Patience = Annotated[
    int, typer.Option("--patience", min=1, help="Number of evaluations without a lower loss that make a plateau.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of weights, order, flips and crops.")]
Side = Annotated[
    int | None,
    typer.Option("--side", min=1, help="Size in pixels to which pictures are resized. Default: 8/7 of the network"
        " input.",
                 show_default=False),
]  # fmt: skip
Padding = Annotated[
    Pad,
    typer.Option(
        "--pad", help="mirror pads pictures to squares; none keeps their shapes and makes batches of equal shapes."
    ),
]
Device = Annotated[str, typer.Option("--device", help="Where to compute: cpu or cuda. Use torchrun for several GPUs.")]
Numbers = Annotated[Precision, typer.Option("--precision", help="Precision of the computation.")]


@train.command("labels")
def labels_command(
    data: Annotated[
        str,
        typer.Option("--data", metavar="SPEC", help="coco:ROOT, voc:ROOT, imagenet:ROOT, or folder:ROOT with a"
                     " subfolder of pictures for each class.", show_default=False),
    ],
    model: ModelSpec,
    out: Out,
    layers: Annotated[
        str, typer.Option("--layers", metavar="NAMES", help="Comma-separated layers to train in addition to the"
            " output layer, or all.")
    ] = "",
    test: Annotated[
        str | None, typer.Option("--test", metavar="SPEC", help="Test data.", show_default=False)
    ] = None,
    held_out: Annotated[
        int, typer.Option("--held-out", metavar="K", min=2, help="Hold out one of K pictures, to find plateaus.")
    ] = 5,
    views: Annotated[
        int,
        typer.Option("--views", metavar="N", min=0, help="Number of flips and crops of each picture, whose features are"
                     " computed once. 0 makes new ones in each step."),
    ] = 8,
    rate: Rate = 0.01,
    batch: Batch = 64,
    passes: Annotated[int, typer.Option("--passes", min=1, help="Maximum number of passes through the data.")] = 30,
    every: Every = None,
    patience: Patience = 2,
    seed: Seed = 0,
    side: Side = None,
    pad: Padding = Pad.mirror,
    device: Device = "cpu",
    precision: Numbers = Precision.float32,
) -> None:  # fmt: skip
    """Fine-tune a classifier on labels of pictures (Sec. 4.1): the output layer, or more layers.

    Writes RUN/model.safetensors, for --model trained:RUN/model.safetensors. The same command continues an interrupted
    run.
    """
    from ..training import train_labels

    options = _options(rate, batch, passes, every, patience, seed, precision)
    chosen = tuple(name.strip() for name in layers.split(",") if name.strip())
    with ProgressDisplay("training") as display:
        found = train_labels(
            data, model, out, layers=chosen, test=test, held_out=held_out, views=views,
            recipe=_recipe(model, side, pad), options=options, device=device, progress=display.show_training,
        )  # fmt: skip
    for sentence in found.problems:
        report_line(sentence)
    if found.empty:
        report_line(f"left out, because no training picture has them: {', '.join(found.empty)}.")
    report_line(f"{found.fitted.steps} steps, the best after step {found.fitted.best_step}; {found.file} written.")
    answer([f"held out: {found.held_out}", *([f"test: {found.test}"] if found.test else [])])


@train.command("tags")
def tags_command(
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="Output folder of `excitation tags clean`.")],
    images: Annotated[Path, typer.Option("--images", metavar="DIR", help="Folder of the pictures of the uploads.")],
    model: ModelSpec,
    out: Out,
    scratch: Annotated[bool, typer.Option("--scratch", help="Start with random weights.")] = False,
    held_out: Annotated[
        int, typer.Option("--held-out", metavar="K", min=2, help="Hold out one of K users, to find plateaus.")
    ] = 20,
    rate: Rate = 0.01,
    batch: Batch = 64,
    passes: Annotated[int, typer.Option("--passes", min=1, help="Maximum number of passes through the data.")] = 3,
    every: Every = None,
    patience: Patience = 2,
    seed: Seed = 0,
    side: Side = None,
    pad: Padding = Pad.mirror,
    device: Device = "cpu",
    precision: Numbers = Precision.float32,
) -> None:
    """Train a whole network on the first five tags of cleaned uploads (Sec. 4.3).

    Writes RUN/model.safetensors, for --model trained:RUN/model.safetensors. The same command continues an interrupted
    run.
    """
    from ..training import train_tags

    with ProgressDisplay("training") as display:
        found = train_tags(
            data, images, model, out, scratch=scratch, held_out=held_out, recipe=_recipe(model, side, pad),
            options=_options(rate, batch, passes, every, patience, seed, precision), device=device,
            progress=display.show_training,
        )  # fmt: skip
    report_line(f"{found.fitted.steps} steps, the best after step {found.fitted.best_step}; {found.file} written.")
    answer([f"held out, against noisy tags: {found.held_out}"])


def _options(
    rate: float, batch: int, passes: int, every: int | None, patience: int, seed: int, precision: Precision
) -> Options:  # fmt: skip
    from ..training import Options

    return Options(
        rate=rate, batch=batch, passes=passes, every=every, patience=patience, seed=seed, precision=precision.value
    )


def _recipe(model: str, side: int | None, pad: Pad) -> Recipe | None:
    """Return the recipe; `None` for the default of the network."""
    from ..models import load_model
    from ..training import Recipe

    if side is None and pad is Pad.mirror:
        return None
    own = Recipe.of(load_model(model).preprocessing)
    side = side or (own.side if pad is Pad.mirror else own.crop)
    return Recipe(pad.value, side, min(own.crop, side) if pad is Pad.mirror else max(side * 15 // 16, 1))
