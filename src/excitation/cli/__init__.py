"""The command line, `excitation`."""

from ._app import main

__all__ = ["main"]
