"""`excitation bench localization`, `grid` and `deletion`: the pointing game's companions."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from ._bench_command import bench, run_with_bar
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
)  # fmt: skip
from ._options import ModelSpec

__all__ = ["bench"]

METHODS = "mwp,c-mwp,gradient,grad-cam"


class Kind(str, Enum):
    """What class scores are."""

    softmax = "softmax"
    sigmoid = "sigmoid"
    score = "score"


ScoreKind = Annotated[
    Kind,
    typer.Option("--probability", help="What makes probabilities of the scores: softmax over classes, sigmoid for"
                 " classes that are independent, score if they are probabilities already."),
]  # fmt: skip


@bench.command("localization")
def localization_command(
    data: DataSpec,
    model: ModelSpec,
    out: Out,
    methods: MethodNames = METHODS,
    layer: LayerNames = None,
    spatial: Spatial = "response",
    mapping: Mapping = None,
    mixture: MixtureName = Parts.equal,
    size: Annotated[
        int, typer.Option("--size", metavar="PIXELS", min=8, help="Pictures are squashed to a square of this side.")
    ] = 224,
    held_out: Annotated[
        int, typer.Option("--held-out", metavar="K", min=2, help="Every K-th image chooses alpha; the others judge.")
    ] = 5,
    limit: Limit = None,
    shard: Shard = None,
    network: Network = None,
) -> None:
    """Localize dominant objects (the paper's Table 3): a box around all values above alpha times the mean.

    Alpha is searched in 0, 0.5, ..., 10 on held-out images and reported; a box is right from an overlap of one half.
    """
    from ..evaluation import run_localization

    part = read_shard(shard)
    given = _common(data, model, methods, layer, spatial, mapping)
    run_with_bar(
        "localization",
        lambda show: run_localization(
            **given,
            out=out,
            mixture=mixture.value,
            side=size,
            held_out=held_out,
            limit=limit,
            shard=part,
            network=network,
            progress=show,
        ),
    )


@bench.command("grid")
def grid_command(
    data: DataSpec,
    model: ModelSpec,
    out: Out,
    methods: MethodNames = METHODS,
    layer: LayerNames = None,
    spatial: Spatial = "response",
    mapping: Mapping = None,
    side: Annotated[
        int, typer.Option("--side", metavar="N", min=2, max=5, help="Cells in a row and a column.")
    ] = 2,
    mosaics: Annotated[int, typer.Option("--mosaics", metavar="N", min=1, help="How many.")] = 100,
    low: Annotated[
        float, typer.Option("--low", metavar="P", min=0, max=1, help="Least probability of a picture's class.")
    ] = 0.9,
    high: Annotated[
        float, typer.Option("--high", metavar="P", min=0, max=1, help="Up to which probability pictures are taken.")
    ] = 1.0,
    probability: ScoreKind = Kind.softmax,
    cell: Annotated[
        int, typer.Option("--cell", metavar="PIXELS", min=8, help="Side of a picture in the mosaic.")
    ] = 224,
    seed: Annotated[int, typer.Option("--seed", metavar="S", min=0, help="Of the draw.")] = 0,
    limit: Limit = None,
    shard: Shard = None,
    network: Network = None,
) -> None:  # fmt: skip
    """Play the grid pointing game: in mosaics of confidently classified pictures, is a class found in its cell?"""
    from ..evaluation import run_grid

    part = read_shard(shard)
    given = _common(data, model, methods, layer, spatial, mapping)
    run_with_bar(
        "grid",
        lambda show: run_grid(
            **given, out=out, side=side, mosaics=mosaics, lowest=low, highest=high, probability=probability.value,
            cell=cell, seed=seed, limit=limit, shard=part, network=network, progress=show,
        ),
    )  # fmt: skip


@bench.command("deletion")
def deletion_command(
    data: DataSpec,
    model: ModelSpec,
    out: Out,
    methods: MethodNames = METHODS,
    layer: LayerNames = None,
    spatial: Spatial = "response",
    mapping: Mapping = None,
    mixture: MixtureName = Parts.equal,
    shortest: Shortest = 224,
    probability: ScoreKind = Kind.softmax,
    steps: Annotated[
        int, typer.Option("--steps", metavar="N", min=1, help="Equal parts of the pixels; two forward passes each.")
    ] = 50,
    limit: Limit = None,
    shard: Shard = None,
    network: Network = None,
) -> None:
    """Delete and insert pixels in the order of each map: how fast does the score fall, and rise?"""
    from ..evaluation import run_deletion

    part = read_shard(shard)
    given = _common(data, model, methods, layer, spatial, mapping)
    run_with_bar(
        "deletion",
        lambda show: run_deletion(
            **given, out=out, mixture=mixture.value, probability=probability.value, steps=steps,
            shortest=shortest, limit=limit, shard=part, network=network, progress=show,
        ),
    )  # fmt: skip


def _common(
    data: str, model: str, methods: str, layer: str | None, spatial: str, mapping: Path | None
) -> dict[str, Any]:  # fmt: skip
    """The arguments of every run, read in the order in which they are cheap."""
    from ..data import open_data, read_mapping
    from ..models._catalogue import load_model

    chosen, places = read_methods(methods, layer, spatial)
    table = None if mapping is None else read_mapping(mapping)
    images = open_data(data)
    return {"model": load_model(model), "data": images, "methods": chosen, "layers": places, "mapping": table}
