"""Networks, or parts of them, that `torch.compile` has compiled run as they were written while they are recorded.

Compiled code runs no operation that a recording could see, and the compiler would try to compile the recording itself.
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
    """A block in which nothing runs compiled; what other threads have compiled is slower meanwhile, no more."""
    global _recordings, _stance
    with _lock:
        _recordings += 1
        # Nothing can have been compiled before the compiler was imported; PyTorch before 2.6 has no such switch.
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
