"""`excitation layers`: where maps can be taken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ._console import print_columns
from ._options import AsJson, ModelSpec


def layers_command(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A picture; shapes depend on its size.")],
    model: ModelSpec,
    as_json: AsJson = False,
) -> None:
    """List the layers of a network: names as --layer takes them, shapes, strides.

    "all" says that all evidence passes through the layer; at the others a map is a share of it.
    """
    from ..data._pictures import read_picture
    from ..models._catalogue import load_model
    from ._inputs import list_layers_of

    found = list_layers_of(load_model(model), read_picture(image))
    if as_json:
        for info in found:
            print(json.dumps(info))
        return
    rows = [("layer", "kind", "shape", "stride", "evidence")]
    for info in found:
        stride = "-" if info["stride"] is None else " x ".join(f"{step:g}" for step in info["stride"])
        shape = " x ".join(map(str, info["shape"][1:]))
        rows.append((info["layer"], info["kind"], shape, stride, "all" if info["is_cut"] else "part"))
    print_columns(rows)
