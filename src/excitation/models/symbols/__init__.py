"""The classifiers of the symbol world."""

from ._architecture import SymbolNet, SymbolResNet, folded
from ._bundled import CLASS_NAMES, load_symbols

__all__ = ["CLASS_NAMES", "SymbolNet", "SymbolResNet", "folded", "load_symbols"]
