"""Networks and where they come from."""

from __future__ import annotations

import os

from ._catalogue import load_model, model_files, register_scheme
from ._convolutional import Convolutional, convolutional
from ._loaded import LoadedModel, ModelError, Preprocessing
from ._pool_first import PoolFirst, pool_first

__all__ = [
    "Convolutional",
    "LoadedModel",
    "ModelError",
    "PoolFirst",
    "Preprocessing",
    "convolutional",
    "load_caffe",
    "load_model",
    "model_files",
    "pool_first",
    "register_scheme",
]


def load_caffe(
    prototxt: str | os.PathLike[str],
    caffemodel: str | os.PathLike[str] | None = None,
    *,
    mean_file: str | os.PathLike[str] | None = None,
) -> LoadedModel:
    """Load a Caffe network; see `networks.caffe.load_caffe`. Needs the extra `caffe`.

    Raises:
        ModelError: protobuf is missing, or a file cannot be read or does not fit.
    """
    from .caffe import load_caffe as load  # protobuf is optional

    return load(prototxt, caffemodel, mean_file=mean_file)
