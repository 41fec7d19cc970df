"""`excitation bench pointing`, `layers` and `contrast`: the pointing game and what the paper draws from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .._errors import ExcitationError
from ._bench_options import (
    DataSpec,
    LayerNames,
    Limit,
    Mapping,
    MethodNames,
    MixtureName,
    Network,
    Out,
    Parts,
    Shard,
    Shortest,
    Spatial,
    read_methods,
    read_shard,
    split,
)  # fmt: skip
from ._console import answer, report_line
from ._options import ModelSpec
from ._progress import ProgressDisplay

if TYPE_CHECKING:
    from ..evaluation import Progress, Results

bench = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

CONTRAST = "mwp,c-mwp,eb-without-norm,eb-post-norm,gradient,c-gradient,deconv,c-deconv,cam,c-cam"
"""The paper's Table 2."""

LISTED = 20
"""Problems that are told at the end of a run; `excitation report --problems` tells all."""


class Truth(str, Enum):
    """What counts as an instance's place."""

    segments = "segments"
    boxes = "boxes"


class Frame(str, Enum):
    """Whose pixels a tolerance is in."""

    picture = "picture"
    input = "input"


class Shape(str, Enum):
    """Of the tolerance."""

    disc = "disc"
    square = "square"


Difficult = Annotated[
    Path | None,
    typer.Option("--difficult", metavar="FILE", help="A list of difficult images instead of the paper's rule: id, then"
                 " 0 or 1 per category.", show_default=False),
]  # fmt: skip
Places = Annotated[
    Truth | None, typer.Option("--truth", help="Segments or boxes; the data set's own.", show_default=False)
]
Radius = Annotated[float, typer.Option("--tolerance", metavar="PIXELS", min=0, help="How far a point may be off.")]
InFrame = Annotated[Frame, typer.Option("--frame", help="Whose pixels the tolerance is in.")]
InShape = Annotated[Shape, typer.Option("--shape", help="Disc: Euclidean distance.")]
Crowds = Annotated[bool, typer.Option("--crowds/--no-crowds", help="Whether COCO's crowds count as instances that a"
                      " point can hit. For what is difficult they always count: the paper's rule takes the whole area"
                      " of a category in the picture.")]  # fmt: skip


@bench.callback()
def _bench() -> None:
    """Measure methods on annotated images.

    A run that was stopped goes on only under the same options, with the same weights and the same data: annotations,
    choice of images, and names and sizes in bytes of their pictures. What is in the pictures is not compared; where
    one was replaced by another of the same size, begin a new run.
    """


def _add_pointing(game: str, usual: str, told: str) -> None:
    """Add a command that plays the pointing game.

    Args:
        game: its name.
        usual: methods that are asked if none are named.
        told: what it does, for the help.
    """

    @bench.command(game, help=told)
    def command(
        data: DataSpec,
        model: ModelSpec,
        out: Out,
        methods: MethodNames = usual,
        layer: LayerNames = None,
        spatial: Spatial = "response",
        mapping: Mapping = None,
        mixture: MixtureName = Parts.equal,
        shortest: Shortest = 224,
        limit: Limit = None,
        shard: Shard = None,
        network: Network = None,
        difficult: Difficult = None,
        truth: Places = None,
        tolerance: Radius = 15,
        frame: InFrame = Frame.picture,
        shape: InShape = Shape.disc,
        crowds: Crowds = True,
    ) -> None:
        _point(game, data, model, out, methods, layer, spatial, mapping, mixture, shortest, limit, shard, network,
               difficult, truth, tolerance, frame, shape, crowds)  # fmt: skip


_add_pointing(
    "pointing",
    "mwp,c-mwp,gradient,grad-cam,centre",
    """Play the pointing game: does each map's maximum lie on an object of its category, or within 15 pixels?

    Stopped at any moment, the same command goes on and repeats nothing. Bad images are listed and left out.
    """,
)
_add_pointing(
    "contrast",
    CONTRAST,
    "Contrast analysis (the paper's Table 2): the pointing game with and without the dual unit, method by method.",
)


@bench.command("layers")
def layers_command(
    data: DataSpec,
    model: ModelSpec,
    out: Out,
    methods: MethodNames = "mwp,c-mwp,gradient",
    layer: Annotated[
        str | None,
        typer.Option("--layer", metavar="NAMES", help="With commas between; all that all evidence passes through if"
                     " left out.", show_default=False),
    ] = None,
    held_out: Annotated[
        int,
        typer.Option("--held-out", metavar="K", min=2, help="Every K-th image chooses the layer; the others judge."),
    ] = 5,
    spatial: Spatial = "response",
    mapping: Mapping = None,
    mixture: MixtureName = Parts.equal,
    shortest: Shortest = 224,
    limit: Limit = None,
    shard: Shard = None,
    network: Network = None,
    difficult: Difficult = None,
    truth: Places = None,
    tolerance: Radius = 15,
    frame: InFrame = Frame.picture,
    shape: InShape = Shape.disc,
    crowds: Crowds = True,
) -> None:  # fmt: skip
    """Layer sweep (Figure 6 of the paper): the pointing game at every layer, one chosen on held-out images."""
    _point("layers", data, model, out, methods, layer, spatial, mapping, mixture, shortest, limit, shard, network,
           difficult, truth, tolerance, frame, shape, crowds, held_out)  # fmt: skip


def _point(
    game: str, data: str, model: str, out: Path, methods: str, layer: str | None, spatial: str, mapping: Path | None,
    mixture: Parts, shortest: int, limit: int | None, shard: str | None, network: str | None, difficult: Path | None,
    truth: Truth | None, tolerance: float, frame: Frame, shape: Shape, crowds: bool, held_out: int | None = None,
) -> None:  # fmt: skip
    from ..data import open_data, read_difficult_list, read_mapping
    from ..evaluation import Tolerance, run_pointing, sweep_layers
    from ..models._catalogue import load_model

    part = read_shard(shard)
    # A sweep takes its layers for all methods alike.
    chosen, places = read_methods(methods, None if game == "layers" else layer, spatial)
    loaded, images = load_model(model), open_data(data)
    if game == "layers":
        every = tuple(split(layer)) if layer else sweep_layers(loaded, images, shortest)
        places = {name: every if item == (None,) else item for name, item in places.items()}
        if held_out is not None and limit is not None and limit < held_out:
            raise ExcitationError(f"--limit {limit} leaves no held-out image; give at least --held-out {held_out}.")
    run_with_bar(
        game,
        lambda show: run_pointing(
            loaded,
            images,
            chosen,
            places,
            out=out,
            mapping=None if mapping is None else read_mapping(mapping),
            mixture=mixture.value,
            difficult=None if difficult is None else read_difficult_list(difficult, images.categories),
            tolerance=Tolerance(tolerance, shape.value, frame.value),
            truth=None if truth is None else truth.value,
            crowds=crowds,
            shortest=shortest,
            limit=limit,
            shard=part,
            network=network,
            name=game,
            extra=None if held_out is None else {"held_out": held_out},
            progress=show,
        ),
    )


def run_with_bar(game: str, run: Callable[[Callable[[Progress], None]], Results]) -> None:
    """Run a game and show how far it is, then print its tables, and what was wrong with the data.

    Raises:
        ExcitationError: there is no result, with the reasons.
    """
    from ..evaluation import report_tables

    with ProgressDisplay(game) as display:
        results = run(display.show)
    if results.rows:
        for table in report_tables([results]):
            answer(table.as_text().splitlines())
    for place, problem in results.problems[:LISTED]:
        report_line(f"{place}: {problem}")
    report_line(
        f"{len(results.rows)} rows in {results.path}; {len(results.left_out)} pairs left out,"
        f" {len(results.problems)} problems."
    )
    if not results.rows:
        reasons = Counter(reason for _, _, reason in results.left_out)
        told = [f"{count} pairs were left out since {reason}" for reason, count in sorted(reasons.items())]
        told += [f"{len(results.problems)} problems with the data are listed above"] if results.problems else []
        said = "; ".join(told) or "no image of this run has an annotated category"
        raise ExcitationError(f"there is no result: {said}.")
