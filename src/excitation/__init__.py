"""Top-down attention for PyTorch classifiers by Excitation Backprop."""

__version__ = "0.1.0"
