"""`excitation layers`, `excitation methods`: what a network and the package offer."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from ..core import list_layers
from ..data._pictures import read_picture
from ..explainers import one_batch
from ..methods import list_methods
from ._console import print_columns
from ._options import AsJson, Device, ModelSpec, load_network


def layers_command(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A picture. The shapes depend on its size.")],
    model: ModelSpec,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """List the layers of a network: names for --layer, kinds, shapes and strides.

    In the last column, "all" means that every path through the network passes through the layer. A map at another
    layer shows only a part of the evidence.
    """
    picture = read_picture(image)
    loaded = load_network(model, device=device)
    found = list_layers(loaded.model, one_batch(loaded, picture), output=loaded.output)
    if as_json:
        for info in found:
            values = dataclasses.asdict(info)
            print(json.dumps({"layer": values.pop("name"), **values}))
        return
    rows = [("layer", "kind", "shape", "stride", "evidence")]
    for info in found:
        stride = "-" if info.stride is None else " x ".join(f"{step:g}" for step in info.stride)
        shape = " x ".join(map(str, info.shape[1:]))
        rows.append((info.name, info.kind, shape, stride, "all" if info.is_cut else "part"))
    print_columns(rows)


def methods_command(as_json: AsJson = False) -> None:
    """List the methods: name, cost, description. In the cost, F is a forward pass, B a backward pass, T a target."""
    if as_json:
        keys = ("name", "aliases", "family", "sentence", "source", "cost", "needs", "steps")
        for item in list_methods():
            options = {key: repr(value) for key, value in item.options.items()}
            print(json.dumps({**{key: getattr(item, key) for key in keys}, "options": options}))
        return
    rows = [("method", "cost", "what it does"), *((item.name, item.cost, item.sentence) for item in list_methods())]
    print_columns(rows)
