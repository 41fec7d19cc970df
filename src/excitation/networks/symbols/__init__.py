"""The classifiers of the symbol world."""

from ._architecture import SymbolNet, SymbolResNet, folded

__all__ = ["SymbolNet", "SymbolResNet", "folded"]
