"""ONNX files: `onnx:FILE`. They are checked, and PyTorch's functions compute their nodes; no code is made of them."""

from ._file import FORM
from ._load import load_onnx, onnx_files

__all__ = ["FORM", "load_onnx", "onnx_files"]
