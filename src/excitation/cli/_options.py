"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

ModelSpec = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="SPEC",
        help="symbols, which comes along; caffe:PROTOTXT,CAFFEMODEL; paper:NAME@WEIGHTS; or package.module:factory,"
        " called without arguments, with @weights.safetensors after it where it needs them. Before any of these,"
        " convolutional: lets its head slide over larger pictures, pool-first: pools before it classifies.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object per line, for machines.")]
