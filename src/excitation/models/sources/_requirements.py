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
        raise missing(module, extra, error) from error
    except RuntimeError as error:
        if not _blames_torchvision(error):
            raise
        raise missing(module, extra, error) from error


def missing(module: str, extra: str, error: Exception) -> ModelError:
    """What to do about a package that cannot be imported, also if it only finds out later (see `needed`)."""
    if _blames_torchvision(error):
        return ModelError(
            f"{module} needs torchvision, whose compiled operators do not load beside this build of torch (operator"
            " torchvision::nms does not exist); install torch and torchvision of matching releases from the same index."
        )
    return ModelError(f"{module} cannot be imported ({error}); install it with: pip install 'excitation[{extra}]'.")


def _blames_torchvision(error: BaseException | None) -> bool:
    """Whether an error, or one it came from, is about torchvision's operators."""
    while error is not None:
        if "torchvision::" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
