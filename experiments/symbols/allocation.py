"""Memory that stays: a training step asks for the same large blocks again and again."""

from __future__ import annotations

import ctypes

# From glibc's malloc.h; values are 32-bit.
TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4
NEVER, BLOCK = 2**31 - 1, 2**28


def keep_memory() -> bool:
    """Let freed memory stay with the process, which otherwise gives each large block back and gets it anew.

    The system fills fresh pages with zeros, a tenth of a step and more.

    Returns:
        Whether the C library knows how; where it does not, training is slower and otherwise the same.
    """
    tune = getattr(ctypes.CDLL(None), "mallopt", None)
    if tune is None:
        return False
    return all([tune(MMAP_MAX, 0), tune(TRIM_THRESHOLD, NEVER), tune(TOP_PAD, BLOCK)])
