"""The networks of the paper's experiments: CNN-S, VGG16 and GoogLeNet, as in Caffe."""

from ._googlenet import GOOGLENET_ATTENTION, GOOGLENET_LAYERS, GoogLeNet
from ._load import load_paper_network, load_spec
from ._straight import CNN_S_ATTENTION, CNNS, VGG16, VGG16_ATTENTION

__all__ = [
    "CNNS",
    "CNN_S_ATTENTION",
    "GOOGLENET_ATTENTION",
    "GOOGLENET_LAYERS",
    "VGG16",
    "VGG16_ATTENTION",
    "GoogLeNet",
    "load_paper_network",
    "load_spec",
]
