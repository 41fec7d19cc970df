"""Conversion of a prototxt to the layers of its TEST network, with resolved blobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .._loaded import ModelError
from ._inputs import DATA, checked_size, data_inputs, declared_inputs
from ._text import Text
from ._written import Item, included, written_layers

NOT_COMPUTED = frozenset(
    {"Accuracy", "Silence", "HDF5Output", "SoftmaxWithLoss", "EuclideanLoss", "HingeLoss", "InfogainLoss"}
    | {"SigmoidCrossEntropyLoss", "MultinomialLogisticLoss", "ContrastiveLoss"}
)
"""Layers that evaluate or discard results; they are removed from the network."""

PLACES = "ArgMax"
"""The layer that returns indices into a blob."""


@dataclass(frozen=True)
class Layer(Item):
    """One layer of the network.

    Attributes:
        inputs: indices of its input blobs. A blob that is changed in place gets a new index.
        outputs: indices of its output blobs.
        batch: batch size in the prototxt.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    batch: int


@dataclass(frozen=True)
class Plan:
    """The network to build.

    Attributes:
        shape: shape of the input, without the batch axis.
        layers: the layers in order.
        outputs: by name, blobs that no layer uses, except an ArgMax.
        scores: name of the last output; outputs of an ArgMax are skipped if there are others.
        source: the layer that reads the images; `None` if the prototxt declares its input.
    """

    shape: tuple[int, ...]
    layers: tuple[Layer, ...]
    outputs: dict[str, int]
    scores: str
    source: Any


def make_plan(text: Text) -> Plan:
    """Select the layers of the TEST network and resolve their blobs.

    Raises:
        ModelError: no input, no layers, a blob that no earlier layer computes, or a duplicate name.
    """
    layers = [item for item in written_layers(text) if included(item.message, text.net)]
    declared = [*declared_inputs(text), *(blob for item in layers if item.kind in DATA for blob in data_inputs(item))]
    if not declared:
        if text.net.input:
            raise ModelError(
                f"prototxt {text.path} names {len(text.net.input)} inputs and gives 0 sizes; each input needs one"
                " input_shape or four input_dim."
            )
        raise ModelError(f"prototxt {text.path} has no input: neither `input` nor an Input or data layer.")
    chosen = next((blob for blob in declared if blob.shape is not None and len(blob.shape) > 2), declared[0])
    batch, *shape = checked_size(chosen)
    blobs = {blob.name: -1 for blob in declared} | {chosen.name: 0}
    if len(blobs) != len(declared):
        raise ModelError(f"prototxt {text.path}: two inputs have one name, among {[blob.name for blob in declared]}.")
    gone: dict[str, str] = {}
    planned: list[Layer] = []
    used: set[int] = set()
    places: dict[int, Item] = {}
    count = 1
    for item in layers:
        if item.kind in DATA:
            continue
        if item.kind in NOT_COMPUTED:
            gone |= {top: item.where for top in item.message.top if top not in blobs}
            if item.kind == "Silence":
                used |= {blobs[name] for name in item.message.bottom if name in blobs}
            continue
        inputs = tuple(_find(item, name, blobs, gone, layers) for name in item.message.bottom)
        for number in inputs:
            if number in places:
                item.fail(
                    f"its input is the result of {places[number].where}, which are indices, not activations; only an"
                    f" ArgMax at the end of the network is read."
                )
        tops = tuple(item.message.top)
        if not tops:
            item.fail("it has no top.")
        for place, top in enumerate(tops):
            in_place = item.message.bottom[place : place + 1] == [top]
            if top in blobs and not in_place:
                item.fail(f"its top {top!r} is already made by another layer; give it another name.")
        if len(set(tops)) < len(tops):
            item.fail("two of its tops have one name.")
        outputs = tuple(range(count, count + len(tops)))
        count += len(tops)
        blobs |= dict(zip(tops, outputs, strict=True))
        if item.kind == PLACES:
            # The input of an ArgMax holds the scores, so it remains an output.
            places |= dict.fromkeys(outputs, item)
        else:
            used |= set(inputs)
        planned.append(Layer(**vars(item), inputs=inputs, outputs=outputs, batch=batch))
    results = {name: number for name, number in blobs.items() if number > 0 and number not in used}
    if not results:
        raise ModelError(f"prototxt {text.path} holds no layer of a TEST network whose result is an output.")
    scores = max(results, key=lambda name: (results[name] not in places, results[name]))
    return Plan(tuple(shape), tuple(planned), results, scores, chosen.source)


def _find(item: Item, name: str, blobs: dict[str, int], gone: dict[str, str], layers: Sequence[Item]) -> int:
    number = blobs.get(name)
    if number == -1:
        item.fail(f"its input is {name!r}, which a picture does not give; only networks of one picture are read.")
    if number is not None:
        return number
    if name in gone:
        item.fail(f"its input is {name!r} of {gone[name]}, which is not computed here.")
    later = next((other for other in layers if name in other.message.top), None)
    reason = "which nothing makes."
    if later is not None:
        reason = f"which only {later.where} makes, at or after it; layers run in file order."
    raise ModelError(f"{item.where}: its input is {name!r}, {reason}")
