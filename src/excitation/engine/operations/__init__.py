"""The operations of a network, grouped into families, and the readers that read the arguments of torch functions."""

from . import (
    _activations,
    _affine,
    _arrangement,
    _attention,
    _contraction,
    _linear_maps,
    _maxima,
    _pooling,
    _quantisation,
    _refused,
    _scaling,
    _selection,
    _writing,
)
from ._choices import Selection, Written
from ._elementwise import Activation, Falling, Gated, Magnitude, Product, Scaled
from ._families import Affine, Average, GatedAverage, MixedAttention, Operation, PowerAverage, Reach, Sum, Winner
from ._moving import Arrangement
from ._readers import READERS, CallContext, Parts, Read, Reader, place_of

__all__ = [
    "READERS",
    "Activation",
    "Affine",
    "Arrangement",
    "Average",
    "CallContext",
    "Falling",
    "Gated",
    "GatedAverage",
    "Magnitude",
    "MixedAttention",
    "Operation",
    "Parts",
    "PowerAverage",
    "Product",
    "Reach",
    "Read",
    "Reader",
    "Scaled",
    "Selection",
    "Sum",
    "Winner",
    "Written",
    "place_of",
]

# The imports register the readers.
del _activations, _affine, _arrangement, _attention, _contraction, _linear_maps, _maxima, _pooling, _quantisation
del _refused, _scaling, _selection, _writing
