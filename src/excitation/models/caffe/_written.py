"""The layers of a prototxt in the terms of the new dialect, and the phases in which they are active."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

from .._loaded import ModelError
from ._schema import ENUMS
from ._text import Text

TEST = ENUMS["Phase"]["TEST"]

_OLD = {
    "ABSVAL": "AbsVal", "ARGMAX": "ArgMax", "BNLL": "BNLL", "ELTWISE": "Eltwise", "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output", "IM2COL": "Im2col", "INNER_PRODUCT": "InnerProduct", "LRN": "LRN", "MVN": "MVN",
    "RELU": "ReLU", "SOFTMAX_LOSS": "SoftmaxWithLoss", "TANH": "TanH",
}  # fmt: skip


@dataclass(frozen=True)
class Item:
    """A layer of a prototxt.

    Attributes:
        name: name in Caffe.
        kind: type, in the new dialect.
        message: its options.
        where: name of the layer in messages.
        params: names of its parameters, in order; `None` for unnamed parameters, which are not shared.
        strange: unknown messages in it.
    """

    name: str
    kind: str
    message: Any
    where: str
    params: tuple[str | None, ...]
    strange: tuple[str, ...]

    def fail(self, reason: str) -> NoReturn:
        """Raise an error about this layer."""
        raise ModelError(f"{self.where}: {reason}")


def written_layers(text: Text) -> list[Item]:
    """All layers of a prototxt, for all phases.

    Raises:
        ModelError: the prototxt uses the dialect older than `layers`.
    """
    items = []
    messages = [*text.net.layer, *text.net.layers]
    for message, line, strange in zip(messages, text.lines, text.strange, strict=True):
        old = message.DESCRIPTOR.name == "OldLayer"
        if old and message.HasField("layer"):
            raise ModelError(
                f"prototxt {text.path}, line {line}: layers inside `layers` are Caffe's dialect before 2014; convert"
                " the file with Caffe's upgrade_net_proto_text."
            )
        kind = _new_type(message.type) if old else message.type
        where = f"layer {message.name!r} ({kind or 'no type'}, line {line} of {text.path.name})"
        names = message.param if old else [param.name for param in message.param]
        params = tuple(name or None for name in names)
        items.append(Item(message.name, kind, message, where, params, strange))
    return items


def _new_type(number: int) -> str:
    name = next(name for name, value in ENUMS["OldType"].items() if value == number)
    return _OLD.get(name) or "".join(part.capitalize() for part in name.split("_"))


def included(message: Any, net: Any) -> bool:
    """Caffe's rules: a layer is active if an `include` rule matches; without such rules, if no `exclude` rule does."""
    if message.include and message.exclude:
        raise ModelError(f"layer {message.name!r} has both include and exclude rules; give one kind.")
    if message.include:
        return any(_met(rule, net.state) for rule in message.include)
    return not any(_met(rule, net.state) for rule in message.exclude)


def _met(rule: Any, state: Any) -> bool:
    return (
        (not rule.HasField("phase") or rule.phase == TEST)
        and (not rule.HasField("min_level") or state.level >= rule.min_level)
        and (not rule.HasField("max_level") or state.level <= rule.max_level)
        and set(rule.stage) <= set(state.stage)
        and not set(rule.not_stage) & set(state.stage)
    )
