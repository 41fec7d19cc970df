"""Class activation maps: the scores of a linear classifier on pooled features, evaluated at each position."""

from __future__ import annotations

import torch

from .._errors import NotApplicableError
from .._precision import own_precision
from ..core import Maps, Request, find_place, working
from ..engine import Entry, Record, Value
from ..engine.operations import Activation, Affine, Arrangement, Average
from ._contrast import contrasted
from ._registry import method

ZHOU = "Zhou et al., CVPR 2016"
IDENTITIES = frozenset({"dropout", "alpha_dropout", "feature_dropout", "dropout2d", "contiguous", "clone", "detach"})
ON_TOP = frozenset({"softmax", "log_softmax", "sigmoid", "relu"})


def _refuse(found: str) -> NotApplicableError:
    return NotApplicableError(
        "CAM does not apply to this network: it needs one linear layer (or 1x1 convolution) on globally averaged"
        f" features, or scores at each position, but {found}. Use Grad-CAM, which generalises it, or c-MWP."
    )


def classifier(record: Record) -> tuple[Entry, Value]:
    """Find the classifying operation of a network for CAM, and the value of its features before pooling.

    Raises:
        NotApplicableError: the network does not end in a linear classifier on pooled features.
    """
    makers = {value.serial: entry for entry in record.entries for value in entry.outputs}
    assert record.top is not None
    pooled = False
    value = record.top
    while True:
        entry = makers.get(value.serial)
        if entry is None:
            raise _refuse("its scores do not come from a weighted operation")
        if isinstance(entry.operation, Affine):
            break
        if isinstance(entry.operation, Average):
            pooled = True
        elif not _passes(entry, ON_TOP | IDENTITIES):
            raise _refuse(f"{entry.address!r} stands between its classifier and its scores")
        value = entry.inputs[0]
    features = entry.inputs[0]
    if len(entry.outputs[0].shape) > 2 and (pooled or _positions(entry.outputs[0]) > 1):
        return entry, features
    while True:
        below = makers.get(features.serial)
        if below is None:
            raise _refuse("the input of its classifier is the image itself")
        if isinstance(below.operation, Average) and _positions(below.inputs[0]) > 1:
            if _positions(below.outputs[0]) > 1 or len(below.inputs[0].shape) < 3:
                raise _refuse(f"{below.address!r} passes more than one position to the classifier")
            return entry, below.inputs[0]
        if not _passes(below, IDENTITIES):
            raise _refuse(f"{below.address!r} stands between the features and its classifier")
        features = below.inputs[0]


def features_layer(record: Record, features: Value) -> str:
    """The name of the layer that outputs the features."""
    # Use the last of several names: prefer a module to the operation inside it, which finishes first.
    names = [name for name, place in record.places.items() if place.value is features]
    return names[-1] if names else features.address


def _passes(entry: Entry, names: frozenset[str]) -> bool:
    """Whether an operation keeps neurons separate and in order: reshaping, or a named elementwise function."""
    if isinstance(entry.operation, Arrangement):
        return len(entry.inputs) == 1 and entry.name in {"flatten", "view", "reshape", "squeeze", "unsqueeze"}
    return isinstance(entry.operation, Activation) and entry.name in names


def _positions(value: Value) -> int:
    return value.shape[2:].numel() if len(value.shape) > 2 else 1


def require_classifier(request: Request) -> None:
    """Raise an error for networks without a classifier on pooled features, and for other layers than its features.

    Raises:
        NotApplicableError: the network does not end in such a classifier, or another layer is requested.
    """
    _at_features(request, request.first)


def _at_features(request: Request, record: Record) -> tuple[Entry, Value]:
    """Find the classifier (`classifier`) and check that the requested layer is that of its features."""
    entry, features = classifier(record)
    if request.layer is not None and find_place(record, request.layer).value is not features:
        name = next((name for name, place in record.places.items() if place.value is features), features.address)
        raise NotApplicableError(
            f"CAM's features are the output of {name!r}, but layer {request.layer!r} was given; leave `layer` out."
        )
    return entry, features


@method(
    "cam",
    "The class's weights applied to the features at each position.",
    family="class activation",
    place="features",
    source=ZHOU,
    cost="1 F",
    needs="one linear layer on globally averaged features, or scores at each position",
    applies=require_classifier,
)
def cam(request: Request) -> Maps:
    """Signed maps without the bias. For networks that score positions, the score map itself."""
    record = request.record(None)
    entry, features = _at_features(request, record)
    request.seen.layer = features_layer(record, features)
    operation = entry.operation
    assert isinstance(operation, Affine)
    assert record.scores is not None
    scores = working(record.scores)
    weights = request.class_weights(scores)
    matrix = operation.weight.to(scores.dtype)
    with own_precision(scores):
        if _positions(entry.outputs[0]) > 1:
            every = operation.forward(operation.input.to(scores.dtype), matrix)
        else:
            makers = {value.serial: made for made in record.entries for value in made.outputs}
            below = makers[entry.inputs[0].serial]
            while not isinstance(below.operation, Average):
                below = makers[below.inputs[0].serial]
            every = torch.einsum("kc,bc...->bk...", matrix.flatten(1), below.operation.input.to(scores.dtype))
        return torch.einsum("tbk,bk...->bt...", weights, every)


@method(
    "c-cam",
    "CAM minus CAM of the dual unit, each with absolute sum one: equal to CAM up to a factor.",
    family="class activation",
    place="features",
    source="Table 2 of the paper (c-CAM)",
    cost="1 F",
    needs="one linear layer on globally averaged features, or scores at each position",
    applies=require_classifier,
)
def contrastive_cam(request: Request, *, signed: bool = False) -> Maps:
    """The weights of the dual have the opposite sign, and so does its map."""
    maps = cam(request)
    return contrasted(maps, -maps, signed=signed)
