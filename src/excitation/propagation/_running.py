"""Running a network: hooks for the length of a block, and whether it runs at all without a recording."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ._eager import uncompiled
from ._holdings import Holdings
from ._inputs import Inputs


class hook:  # noqa: N801 - used as a function
    """A module hook for the length of a `with` block."""

    def __init__(self, register: Callable[..., Any], hook: Callable[..., Any], **options: Any) -> None:
        self._register, self._hook, self._options = register, hook, options

    def __enter__(self) -> None:
        self._handle = self._register(self._hook, **self._options)

    def __exit__(self, *exception: object) -> None:
        self._handle.remove()


def runs_by_itself(model: torch.nn.Module, inputs: Inputs, read: Callable[[Any], object], holdings: Holdings) -> bool:
    """Whether an error under a recording was the recording's: the network runs without one.

    Args:
        model: the network.
        inputs: what it takes in.
        read: called with what the network returns.
        holdings: of the network.
    """
    if inputs.images.is_cuda and (torch.cuda.get_sync_debug_mode() or torch.cuda.is_current_stream_capturing()):
        return False  # such errors tell that a call cannot be captured
    try:
        with holdings.restored(), uncompiled(), torch.inference_mode(False), torch.no_grad():
            read(inputs.run(model, [tensor.detach().clone() for tensor in inputs.tensors.values()]))
    except Exception:  # noqa: BLE001 - whatever it is, it is the network's own
        return False
    return True
