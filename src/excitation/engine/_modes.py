"""Modes of PyTorch that stand between a recording and what is computed."""

from __future__ import annotations

import torch
from torch.overrides import _get_current_function_mode_stack
from torch.utils._device import DeviceContext

from .._errors import ExcitationError


def refuse_modes() -> None:
    """Refuse a recording inside modes that could change what its operations compute.

    A function mode inside the model is no obstacle: what it calls is what the recording sees.

    Raises:
        ExcitationError: one is active.
    """
    refuse_dispatch_modes()
    for mode in _get_current_function_mode_stack():  # type: ignore[no-untyped-call]
        if not isinstance(mode, DeviceContext):  # `torch.set_default_device` changes where tensors are, no number
            raise ExcitationError(
                f"the function mode {type(mode).__name__} is active, which can change operations after the recording"
                " has seen them; call outside of its `with` block."
            )


def refuse_dispatch_modes() -> None:
    """Refuse modes that act below the functions a recording sees.

    Raises:
        ExcitationError: one is active.
    """
    if torch._C._len_torch_dispatch_stack():
        mode = torch._C._get_dispatch_stack_at(torch._C._len_torch_dispatch_stack() - 1)
        raise ExcitationError(
            f"the dispatch mode {type(mode).__name__} is active, which can change what operations compute without the"
            " recording's seeing it; call outside of its `with` block, or take it out of the model."
        )
