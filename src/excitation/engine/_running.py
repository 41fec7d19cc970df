"""Runs a network: hooks that are active within a block, and a check that it runs without a recording."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ._eager import uncompiled
from ._inputs import Inputs
from ._network_state import NetworkState


class hook:  # noqa: N801 - used as a function
    """Context manager for a module hook. The hook is removed at the end of the block."""

    def __init__(self, register: Callable[..., Any], hook: Callable[..., Any], **options: Any) -> None:
        self._register, self._hook, self._options = register, hook, options

    def __enter__(self) -> None:
        self._handle = self._register(self._hook, **self._options)

    def __exit__(self, *exception: object) -> None:
        self._handle.remove()


@contextmanager
def as_written(state: NetworkState) -> Iterator[None]:
    """Context manager that runs a network in eager mode without gradients, and restores its state at the end."""
    with state.restored(), uncompiled(), torch.inference_mode(False), torch.no_grad():
        yield


def runs_by_itself(model: torch.nn.Module, inputs: Inputs, read: Callable[[Any], object], state: NetworkState) -> bool:
    """Whether a network runs without a recording. If so, the recording caused the error.

    Args:
        model: the network.
        inputs: inputs of the network.
        read: function that is called with the network's output.
        state: state of the network, which is restored at the end.
    """
    if inputs.images.is_cuda and (torch.cuda.get_sync_debug_mode() or torch.cuda.is_current_stream_capturing()):
        return False  # such errors mean that a call cannot be captured
    try:
        with as_written(state):
            read(inputs.run(model, [tensor.detach().clone() for tensor in inputs.tensors.values()]))
    except Exception:  # noqa: BLE001 - whatever it is, it is the network's own
        return False
    return True
