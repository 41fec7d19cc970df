"""ONNX files: `onnx:FILE`. Files are validated, and PyTorch functions compute the nodes; no code is generated."""

from ._file import FORM
from ._load import load_onnx, onnx_files

__all__ = ["FORM", "load_onnx", "onnx_files"]
