"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

ModelSpec = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="SPEC",
        help="package.module:factory, called without arguments, or package.module:factory@weights.safetensors.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object per line, for machines.")]
