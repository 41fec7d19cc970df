"""The methods by name: what each does, where it comes from, what it costs and needs."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch

from .._checks import check_text
from .._errors import ExcitationError, UnsupportedOperationError
from .._forward import OutputChoice
from .._layers import Layer
from ..networks._loaded import LoadedModel
from ..propagation import policies_or_default
from ..signals import Reading, Target
from ._question import Maps, Question, ask

FAMILIES = ("excitation", "gradient", "relevance", "class activation", "perturbation", "selection", "control")
"""Kinds of methods, in the order of the documentation."""

OwnPlace = Literal["engine", "last", "features", "input"]
"""Where a method takes its map if no layer is named: the model's own layer, else the engine's; the last with space;
what is pooled for the classifier; the image."""

Function = Callable[..., Maps]
"""`function(question, **options)`: maps, with room for the longest list of targets."""


@dataclass(frozen=True)
class Method:
    """An attention method. Call it as a function of network, images and targets.

    Attributes:
        name: as `method=` takes it.
        family: one of `FAMILIES`.
        sentence: what it does.
        source: where it is described.
        cost: passes through the network; `T` stands for the number of targets, `F` for a forward and `B` for a
            backward pass or sweep.
        needs: what a network must have for it.
        place: where it takes its map if no layer is named; `None` if it looks at no layer at all.
        function: computes the maps from a checked question.
        steps: post-processing the paper gives it, by name (`methods.post_process`).
        aliases: other names.
        options: names and defaults of its own keyword arguments.
        choices: the values an option can have, where they are few.
        applies: raises an error for networks the method does not apply to, with one forward pass of the first image.
    """

    name: str
    family: str
    sentence: str
    source: str
    cost: str
    needs: str
    place: OwnPlace | None
    function: Function = field(repr=False)
    steps: tuple[str, ...] = ("bicubic",)
    aliases: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    choices: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    applies: Callable[[Question], None] | None = field(default=None, repr=False)

    def __call__(
        self,
        model: torch.nn.Module | LoadedModel,
        images: torch.Tensor,
        targets: Target | Sequence[Target] | Sequence[Sequence[Target]],
        *,
        layer: Layer | None = None,
        signal: Reading = "response",
        class_names: Sequence[str] | None = None,
        output: OutputChoice = None,
        constants: Sequence[str] = (),
        **options: Any,
    ) -> Maps:
        """Maps of each target on each image.

        Whether the method applies to the network is seen on the first image, before a batch of several runs.

        Args:
            model: the network in evaluation mode, untouched by the call.
            images: `(image, channel, height, width)`, preprocessed as the network takes them.
            targets: what to look for (see `signals.Target`): one, a list for all images, or a list for each image.
            layer: where to take the maps; the method's own choice if not given.
            signal: how a class's signal is spread over a score map.
            class_names: for targets by name.
            output: which part of the network's output holds the class scores.
            constants: names of constant tensors the network keeps outside parameters and buffers.
            **options: the method's own, see `options`.

        Returns:
            `(image, target, height, width)`; zeros where an image has fewer targets than another.

        Raises:
            ExcitationError: the network, the layer, a target or an option does not fit.
        """
        unknown = sorted(set(options) - set(self.options))
        if unknown:
            known = ", ".join(self.options) or "none"
            raise ExcitationError(f"method {self.name!r} has no option {unknown[0]!r}; its options: {known}.")
        for key, value in options.items():
            if key in self.choices:
                if value not in self.choices[key]:
                    named = ", ".join(map(repr, self.choices[key]))
                    raise ExcitationError(f"{key} is {value!r}; choose one of {named}.")
            else:
                _check_kind(key, value, self.options[key])
        question = ask(
            model, images, targets, layer=layer, signal=signal, class_names=class_names, output=output,
            constants=constants,
        )  # fmt: skip
        # Gradients, where a method needs them, are its own: the caller's modes do not reach in, no graph gets out.
        with torch.inference_mode(False), torch.no_grad():
            # Of one image the method itself says so as early.
            try:
                if self.applies is not None and len(images) > 1:
                    self.applies(question)
                maps = self.function(question, **options)
            except UnsupportedOperationError as error:
                raise UnsupportedOperationError(
                    f'method {self.name!r} needs {self.needs}: {error} Methods that need "any network", such as'
                    " gradient or grad-cam, need no rules."
                ) from error
        if not bool(torch.isfinite(maps).all()):
            raise ExcitationError(
                f"the map of method {self.name!r} is not finite: an activation or a gradient is too large for"
                f" {str(maps.dtype).removeprefix('torch.')}."
            )
        counts = torch.tensor(question.counts, device=maps.device)
        asked = torch.arange(maps.shape[1], device=maps.device) < counts[:, None]
        return torch.where(asked.reshape(*asked.shape, *(1,) * (maps.dim() - 2)), maps, 0)


_METHODS: dict[str, Method] = {}


def method(
    name: str,
    sentence: str,
    *,
    family: str,
    source: str,
    cost: str,
    needs: str = "any network",
    place: OwnPlace | None = "input",
    steps: tuple[str, ...] = ("bicubic",),
    aliases: tuple[str, ...] = (),
    fixed: dict[str, Any] | None = None,
    hidden: tuple[str, ...] = (),
    applies: Callable[[Question], None] | None = None,
) -> Callable[[Function], Function]:
    """Register a function as a method.

    Args:
        name: as `method=` takes it.
        sentence: what it does.
        family: one of `FAMILIES`.
        source: where it is described.
        cost: in passes.
        needs: what a network must have for it.
        place: where it takes its map if no layer is named; `None` if it looks at no layer at all.
        steps: post-processing by name.
        aliases: other names.
        fixed: options this name stands for; they can no longer be given.
        hidden: options without a meaning under this name.
        applies: looks at the first image and refuses networks without what the method `needs`.
    """
    assert (applies is None) == (needs == "any network"), name
    assert family in FAMILIES, family
    fixed = fixed or {}

    def register(function: Function) -> Function:
        def fitted(question: Question, **options: Any) -> Maps:
            return function(question, **fixed, **options)

        parameters = list(inspect.signature(function).parameters.values())[1:]
        options = {p.name: p.default for p in parameters if p.name not in {*fixed, *hidden}}
        for key in (name, *aliases):
            assert key not in _METHODS, f"two methods are called {key}"
        hints = get_type_hints(function)
        choices = {key: _choices(hints[key]) for key in options if _choices(hints[key])}
        found = Method(
            name, family, sentence, source, cost, needs, place, fitted, steps, aliases, options, choices, applies
        )
        _METHODS.update(dict.fromkeys((name, *aliases), found))
        return function

    return register


def list_methods() -> list[Method]:
    """All methods, in the order of the documentation."""
    unique = {item.name: item for item in _METHODS.values()}.values()
    return sorted(unique, key=lambda item: FAMILIES.index(item.family))


def _choices(hint: object) -> tuple[Any, ...]:
    """The values of an annotation by literals, with `None` if that is one of them."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    parts = [(None,) if part is type(None) else _choices(part) for part in get_args(hint)]
    return tuple(value for part in parts for value in part) if parts and all(parts) else ()


def _check_kind(key: str, value: object, usual: object) -> None:
    """Refuse a value of another kind than the default: a whole number, a finite number, a truth value, policies."""
    fits = True
    if isinstance(usual, bool):
        fits, kind = isinstance(value, bool), "True or False is"
    elif isinstance(usual, int):
        fits, kind = not isinstance(value, bool) and isinstance(value, Integral), "a whole number is"
    elif isinstance(usual, float):
        number = not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value)
        fits, kind = number or isinstance(value, torch.Tensor), "a finite number is"
    elif key == "policies":
        policies_or_default(value)
    if not fits:
        raise ExcitationError(f"{key} is {value!r}; {kind} expected.")


def find_method(name: str) -> Method:
    """A method by its name or an alias.

    Raises:
        ExcitationError: there is none, with the nearest names.
    """
    check_text("method", name, "the name of a method")
    try:
        return _METHODS[name]
    except KeyError:
        near = difflib.get_close_matches(name, _METHODS, n=3, cutoff=0.5)
        hint = f" Nearest: {', '.join(map(repr, near))}." if near else ""
        raise ExcitationError(
            f"there is no method {name!r}.{hint} `excitation methods` or `list_methods()` names all."
        ) from None


def methods_table() -> str:
    """The table of all methods in Markdown, as the documentation shows it."""
    rows = ["| method | what it does | source | cost | needs | own options |", "| --- | --- | --- | --- | --- | --- |"]
    for item in list_methods():
        names = ", ".join(f"`{name}`" for name in (item.name, *item.aliases))
        options = ", ".join(f"`{key}={value!r}`" for key, value in item.options.items())
        rows.append(f"| {names} | {item.sentence} | {item.source} | {item.cost} | {item.needs} | {options} |")
    return "\n".join(rows) + "\n"
