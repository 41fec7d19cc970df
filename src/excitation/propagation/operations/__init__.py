"""What the network computed, by families; one file per family reads the arguments of torch's functions."""

from . import _activations, _affine, _arrangement, _pooling, _scaling
from ._families import (
    Activation,
    Affine,
    Arrangement,
    Average,
    Gated,
    Operation,
    Product,
    Reach,
    Scaled,
    SharedMaximum,
    Sum,
    Winner,
    expanded,
)
from ._reading import READERS, Read, Reader, Reading, place_of

__all__ = [
    "READERS",
    "Activation",
    "Affine",
    "Arrangement",
    "Average",
    "Gated",
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
    "expanded",
    "place_of",
]

# The modules are imported for what they register.
del _activations, _affine, _arrangement, _pooling, _scaling
