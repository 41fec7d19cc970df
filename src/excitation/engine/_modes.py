"""Checks for active PyTorch modes that can change the computation during a recording."""

from __future__ import annotations

import torch
from torch.overrides import _get_current_function_mode_stack
from torch.utils._device import DeviceContext

from .._errors import ExcitationError


def refuse_modes() -> None:
    """Refuse a recording inside modes that can change the results of operations.

    Function modes inside the model are allowed, because the recording intercepts the functions that they call.

    Raises:
        ExcitationError: such a mode is active.
    """
    refuse_dispatch_modes()
    for mode in _get_current_function_mode_stack():  # type: ignore[no-untyped-call]
        if not isinstance(mode, DeviceContext):  # `torch.set_default_device` does not change values
            raise ExcitationError(
                f"the function mode {type(mode).__name__} is active, which can change operations after the recording"
                " has seen them; call outside of its `with` block."
            )


def refuse_dispatch_modes() -> None:
    """Refuse dispatch modes. They act below the level of the functions that a recording intercepts.

    Raises:
        ExcitationError: a dispatch mode is active.
    """
    if torch._C._len_torch_dispatch_stack():
        mode = torch._C._get_dispatch_stack_at(torch._C._len_torch_dispatch_stack() - 1)
        raise ExcitationError(
            f"the dispatch mode {type(mode).__name__} is active, which can change what operations compute"
            f" without a record of it; call outside of its `with` block, or remove it from the model."
        )
