"""Optional packages: imported on demand, with a one-sentence error if missing."""

from __future__ import annotations

import importlib
from types import ModuleType

from .._loaded import ModelError


def needed(module: str, extra: str) -> ModuleType:
    """Import an optional package.

    Args:
        module: dotted name of the module.
        extra: the extra of this package that installs it.

    Returns:
        The imported module.

    Raises:
        ModelError: the package is not installed, or is incompatible with the installed torch.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise missing(module, extra, error) from error
    except RuntimeError as error:
        if not _blames_torchvision(error):
            raise
        raise missing(module, extra, error) from error


def missing(module: str, extra: str, error: Exception) -> ModelError:
    """The error for a package that cannot be imported, possibly only at a later import inside it (see `needed`)."""
    if _blames_torchvision(error):
        return ModelError(
            f"{module} needs torchvision, whose compiled operators do not load beside this build of torch (operator"
            " torchvision::nms does not exist); install torch and torchvision of matching releases from the same index."
        )
    return ModelError(f"{module} cannot be imported ({error}); install it with: pip install 'excitation[{extra}]'.")


def _blames_torchvision(error: BaseException | None) -> bool:
    """Whether an error, or one of its causes, concerns torchvision's operators."""
    while error is not None:
        if "torchvision::" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
