"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ModelSpec = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="SPEC",
        help="symbols, symbols:resnet or symbols:tags, which are bundled; lite, lite1 or lite2 (extra lite);"
        " torchvision:NAME[@WEIGHTS]; timm:NAME[@WEIGHTS];"
        " hf:REPO_OR_FOLDER; onnx:FILE; caffe:PROTOTXT,CAFFEMODEL[,MEAN.binaryproto]; paper:NAME@WEIGHTS;"
        " trained:FILE, from `excitation train`; or"
        " package.module:factory, called without arguments, with @weights.safetensors after it where it needs them."
        " Before any of these, convolutional: lets its head slide over larger pictures, pool-first: pools before it"
        " classifies.",
        show_default=False,
    ),
]
Targets = Annotated[
    list[str],
    typer.Option(
        "--target",
        metavar="CLASS",
        help="Class index or name, or a word for several classes, such as dog; may be repeated.",
        show_default=False,
    ),
]
ClassNames = Annotated[
    Path | None,
    typer.Option(
        "--class-names",
        metavar="FILE",
        help="Names of the classes, one per line, for models that bring none along, such as Caffe's.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object per line, for machines.")]
