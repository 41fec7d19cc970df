"""Optional packages: imported when a spec asks for them, missed in one sentence."""

from __future__ import annotations

import importlib
from types import ModuleType

from .._loaded import ModelError


def needed(module: str, extra: str) -> ModuleType:
    """Import a package that an extra brings.

    Args:
        module: dotted name of what is imported.
        extra: the extra of this package that installs it.

    Raises:
        ModelError: it is not installed, or does not load beside this build of torch.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if error.name is not None and error.name.partition(".")[0] == "excitation":
            raise
        raise ModelError(
            f"{module} cannot be imported ({error}); install it with: pip install 'excitation[{extra}]'."
        ) from error
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        raise ModelError(
            f"{module} needs torchvision, whose compiled operators do not load beside this build of torch ({error});"
            " install torch and torchvision of matching releases from the same index."
        ) from error
