"""Caffe networks, read from prototxt and caffemodel files."""

import importlib

from .._loaded import ModelError

try:
    importlib.import_module("google.protobuf")
except ImportError as error:
    raise ModelError(
        "Caffe models are read with the protobuf package, which is not installed: pip install excitation[caffe]."
    ) from error

from ._load import load_caffe
from ._module import CaffeNet
from ._pictures import read_mean

__all__ = ["CaffeNet", "load_caffe", "read_mean"]
