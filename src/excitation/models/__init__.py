"""Networks, and the functions that load them."""

from __future__ import annotations

import os

from ._catalogue import list_models, load_model, model_files, register_scheme
from ._class_names import ClassNames
from ._convolutional import Convolutional, to_fully_convolutional
from ._loaded import LoadedModel, ModelError, Preprocessing
from ._pool_first import PoolFirst, pool_first

__all__ = [
    "ClassNames",
    "Convolutional",
    "LoadedModel",
    "ModelError",
    "PoolFirst",
    "Preprocessing",
    "list_models",
    "load_caffe",
    "load_model",
    "model_files",
    "pool_first",
    "register_scheme",
    "to_fully_convolutional",
]


def load_caffe(
    prototxt: str | os.PathLike[str],
    caffemodel: str | os.PathLike[str] | None = None,
    *,
    mean_file: str | os.PathLike[str] | None = None,
) -> LoadedModel:
    """Load a Caffe network; see `models.caffe.load_caffe`. Requires the extra `caffe`.

    Raises:
        ModelError: protobuf is not installed, or a file cannot be read or does not match.
    """
    from .caffe import load_caffe as load  # protobuf is optional

    return load(prototxt, caffemodel, mean_file=mean_file)
