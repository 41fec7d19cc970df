"""What the network computed, by families; one file per family reads the arguments of torch's functions."""

from . import _activations, _affine, _arrangement, _pooling, _scaling
from ._elementwise import Activation, Gated, Magnitude, Product, Scaled
from ._families import Affine, Arrangement, Average, Operation, Reach, SharedMaximum, Sum, Winner
from ._reading import READERS, Read, Reader, Reading, place_of

__all__ = [
    "READERS",
    "Activation",
    "Affine",
    "Arrangement",
    "Average",
    "Gated",
    "Magnitude",
    "Operation",
    "Product",
    "Reach",
    "Read",
    "Reader",
    "Reading",
    "Scaled",
    "SharedMaximum",
    "Sum",
    "Winner",
    "place_of",
]

# The modules are imported for what they register.
del _activations, _affine, _arrangement, _pooling, _scaling
