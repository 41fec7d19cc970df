"""Running a network: hooks for the length of a block, and whether it runs at all without a recording."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ._eager import uncompiled
from ._inputs import Inputs
from ._network_state import NetworkState


class hook:  # noqa: N801 - used as a function
    """A module hook for the length of a `with` block."""

    def __init__(self, register: Callable[..., Any], hook: Callable[..., Any], **options: Any) -> None:
        self._register, self._hook, self._options = register, hook, options

    def __enter__(self) -> None:
        self._handle = self._register(self._hook, **self._options)

    def __exit__(self, *exception: object) -> None:
        self._handle.remove()


@contextmanager
def as_written(state: NetworkState) -> Iterator[None]:
    """A block in which a network runs as it was written, without gradients, and is afterwards what it was before."""
    with state.restored(), uncompiled(), torch.inference_mode(False), torch.no_grad():
        yield


def runs_by_itself(model: torch.nn.Module, inputs: Inputs, read: Callable[[Any], object], state: NetworkState) -> bool:
    """Whether an error under a recording was the recording's: the network runs without one.

    Args:
        model: the network.
        inputs: what it takes in.
        read: called with what the network returns.
        state: of the network.
    """
    if inputs.images.is_cuda and (torch.cuda.get_sync_debug_mode() or torch.cuda.is_current_stream_capturing()):
        return False  # such errors tell that a call cannot be captured
    try:
        with as_written(state):
            read(inputs.run(model, [tensor.detach().clone() for tensor in inputs.tensors.values()]))
    except Exception:  # noqa: BLE001 - whatever it is, it is the network's own
        return False
    return True
