"""Sources of models: `load_model`, and the schemes with which its specs begin."""

from __future__ import annotations

import dataclasses
import difflib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .._checks import check_text
from .._errors import ExcitationError
from . import sources
from ._convolutional import to_fully_convolutional
from ._factory import FORM, load_factory, weights_file
from ._loaded import LoadedModel, ModelError
from ._pool_first import pool_first
from ._trained import FORM as TRAINED_FORM
from ._trained import load_trained, trained_files


@dataclass(frozen=True)
class Scheme:
    """A source of models.

    Attributes:
        load: function from the text after `scheme:` to the model. It imports its dependencies when called, because most
            programs use one scheme only. `load_model` adds the full spec to the result.
        form: the form of such a spec, for help and error messages.
        files: function from the same text to the files of the model, used to detect changes.
    """

    load: Callable[[str], LoadedModel]
    form: str
    files: Callable[[str], list[Path]]


SCHEMES: dict[str, Scheme] = {}
"""Schemes by name, without the colon. Any other text with a colon is a Python factory."""


def register_scheme(name: str, scheme: Scheme) -> None:
    """Add a source of models.

    Raises:
        ExcitationError: the name is already registered, or `scheme` is not a `Scheme`.
    """
    check_text("the scheme's name", name, "a text")
    if not isinstance(scheme, Scheme):
        raise ExcitationError(f"scheme is {scheme!r}; a Scheme is expected.")
    if name in SCHEMES:
        raise ExcitationError(f"scheme {name!r} is already registered, for {SCHEMES[name].form}.")
    SCHEMES[name] = scheme


def load_model(spec: str) -> LoadedModel:
    """Load a model by its spec, the value of `--model`.

    Args:
        spec: `SCHEME:REST` for a registered scheme (`SCHEME` alone if it takes no more), or
            `package.module:factory@weights.safetensors`. A `python:` prefix selects a package with the name of a
            scheme.

    Returns:
        The model in evaluation mode, with its preprocessing and class names if known.

    Raises:
        ModelError: an unknown source, or a failure of the source; the message states what is expected.
    """
    scheme, rest = _resolve(spec)
    return dataclasses.replace(scheme.load(rest), spec=spec)


def list_models() -> list[str]:
    """The forms of the specs that `load_model` accepts, such as `"lite"` or `"torchvision:NAME[@WEIGHTS]"`."""
    return [scheme.form for scheme in SCHEMES.values()]


def model_files(spec: str) -> list[Path]:
    """The files from which a model is read.

    Raises:
        ModelError: an unknown source.
    """
    scheme, rest = _resolve(spec)
    return scheme.files(rest)


def _resolve(spec: str) -> tuple[Scheme, str]:
    check_text("the model's spec", spec, "a text such as 'symbols' or 'caffe:PROTOTXT,CAFFEMODEL'")
    head, colon, rest = spec.partition(":")
    if head in SCHEMES:
        return SCHEMES[head], rest
    if not colon:
        forms = "; ".join(scheme.form for scheme in SCHEMES.values())
        raise ModelError(f"model {spec!r} has an unknown form; expected one of: {forms}.")
    meant = difflib.get_close_matches(head.strip().lower(), SCHEMES, n=1)
    if meant and not _is_module(head):
        raise ModelError(
            f"model {spec!r}: there is no source and no Python module {head!r}; did you mean {SCHEMES[meant[0]].form}?"
        )
    return SCHEMES["python"], spec


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # a parent package is missing, or the name is not a module name
        return False


def _factory_files(rest: str) -> list[Path]:
    weights = weights_file(rest)
    return [] if weights is None else [weights]


def _load_symbols(rest: str) -> LoadedModel:
    from .symbols import load_symbols

    return load_symbols(rest)


def _no_files(rest: str) -> list[Path]:
    del rest  # the weights are part of this package, whose version is stored with results
    return []


CAFFE_FORM = "caffe:PROTOTXT,CAFFEMODEL[,MEAN.binaryproto]"


def _load_caffe(rest: str) -> LoadedModel:
    from .caffe import load_caffe

    prototxt, caffemodel, *mean = _caffe_files(rest)
    return load_caffe(prototxt, caffemodel, mean_file=mean[0] if mean else None)


def _caffe_files(rest: str) -> list[Path]:
    files, mean = rest, ""
    if rest.rstrip().endswith(".binaryproto"):
        files, _, mean = rest.rpartition(",")
    prototxt, _, caffemodel = (part.strip() for part in files.rpartition(","))
    if not prototxt or not caffemodel:
        raise ModelError(f"model 'caffe:{rest}' does not name two files; expected {CAFFE_FORM}.")
    return [Path(file) for file in (prototxt, caffemodel, mean.strip()) if file]


def _load_onnx(rest: str) -> LoadedModel:
    from .onnx import load_onnx

    return load_onnx(rest)


def _onnx_files(rest: str) -> list[Path]:
    from .onnx import onnx_files

    return onnx_files(rest)


def _lite_scheme(name: str) -> Scheme:
    def load(rest: str) -> LoadedModel:
        from .lite import load_lite

        return load_lite(_alone(name, rest))

    def find(rest: str) -> list[Path]:
        from .lite import weights_file as file

        return [file(_alone(name, rest))]

    return Scheme(load, name, find)


def _alone(name: str, rest: str) -> str:
    if rest:
        raise ModelError(f"model '{name}:{rest}' is not understood; nothing may follow {name!r}.")
    return name


def _load_paper(rest: str) -> LoadedModel:
    from .paper import load_spec

    return load_spec(rest)


def _load_convolutional(rest: str) -> LoadedModel:
    return to_fully_convolutional(load_model(rest))


def _load_pool_first(rest: str) -> LoadedModel:
    return pool_first(load_model(rest))


register_scheme("symbols", Scheme(_load_symbols, "symbols[:NAME]", _no_files))
for lite in ("lite", "lite1", "lite2"):
    register_scheme(lite, _lite_scheme(lite))
register_scheme("python", Scheme(load_factory, FORM, _factory_files))
register_scheme("caffe", Scheme(_load_caffe, CAFFE_FORM, _caffe_files))
register_scheme("paper", Scheme(_load_paper, "paper:NAME@WEIGHTS", _factory_files))
register_scheme("convolutional", Scheme(_load_convolutional, "convolutional:SPEC", model_files))
register_scheme("pool-first", Scheme(_load_pool_first, "pool-first:SPEC", model_files))
register_scheme("torchvision", Scheme(sources.load_torchvision, sources.TORCHVISION_FORM, sources.torchvision_files))
register_scheme("timm", Scheme(sources.load_timm, sources.TIMM_FORM, sources.timm_files))
register_scheme("hf", Scheme(sources.load_transformers, sources.TRANSFORMERS_FORM, sources.transformers_files))
register_scheme("onnx", Scheme(_load_onnx, "onnx:FILE", _onnx_files))
register_scheme("trained", Scheme(load_trained, TRAINED_FORM, trained_files))
