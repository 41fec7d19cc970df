"""Runs compiled networks in eager mode during a recording, also networks with compiled parts (`torch.compile`).

A recording cannot intercept the operations of compiled code, and the compiler would try to compile the recording.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_lock = threading.Lock()
_recordings = 0
_stance: Any = None
"""PyTorch's switch, while it is turned: one for all threads, so that the last recording to end turns it back."""


@contextmanager
def uncompiled() -> Iterator[None]:
    """Context manager that runs all code in eager mode. Compiled code of other threads is slower during the block."""
    global _recordings, _stance
    with _lock:
        _recordings += 1
        # Nothing is compiled unless the compiler was imported. PyTorch before 2.6 has no `set_stance`.
        if _stance is None and "torch._dynamo" in sys.modules and hasattr(torch.compiler, "set_stance"):
            _stance = torch.compiler.set_stance("force_eager")
            _stance.__enter__()
    try:
        yield
    finally:
        with _lock:
            _recordings -= 1
            if _stance is not None and _recordings == 0:
                _stance.__exit__(None, None, None)
                _stance = None
