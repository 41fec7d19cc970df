"""The registry of methods: name, description, source, cost and requirements of each."""

from __future__ import annotations

import difflib
import inspect
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch

from .._checks import check_text
from .._errors import ExcitationError, UnsupportedOperationError
from ..core import (
    Explanation,
    Frame,
    Maps,
    Request,
    Settings,
    Targets,
    check_images,
    make_request,
    single_images,
    target_labels,
)
from ..engine import INPUT, Images, MassRecorder, policies_or_default
from ..models._loaded import LoadedModel
from ._sweeps import UncheckedResult

FAMILIES = ("excitation", "gradient", "relevance", "class activation", "perturbation", "selection", "control")
"""Families of methods, in the order of the documentation."""

OwnPlace = Literal["engine", "last", "features", "input"]
"""The default layer of a method: `"engine"` is the model's own layer, else the engine's default; `"last"` the last
spatial layer; `"features"` the features pooled for the classifier; `"input"` the image."""

Function = Callable[..., Any]
"""`function(request, **options)`: returns maps, padded to the longest list of targets, or an `UncheckedResult`."""

COMMON = ("layer", "spatial", "class_names", "output", "constants")
"""Settings shared by all methods."""


@dataclass(frozen=True)
class Method:
    """An attention method. It can be called as a function of network, images and targets.

    Attributes:
        name: the value for `method=`.
        family: a name in `FAMILIES`.
        sentence: one-sentence description.
        source: reference.
        cost: passes through the network; `T` is the number of targets, `F` a forward pass, `B` a backward pass or
            sweep.
        needs: requirements on the network.
        place: default layer; `None` if the method uses no layer.
        function: computes the maps of a validated request.
        steps: post-processing steps in the paper, by name (`methods.post_process`).
        aliases: other names.
        options: names and defaults of the method's own keyword arguments.
        choices: allowed values of options with few values.
        applies: raises an error if the method does not apply to a network; runs one forward pass of the first image.
        sweeps: whether the method is a single sweep of the engine, which serves several layers and measures the mass.
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
    applies: Callable[[Request], None] | None = field(default=None, repr=False)
    sweeps: bool = False

    def __call__(self, model: torch.nn.Module | LoadedModel, images: Images, targets: Targets, **settings: Any) -> Maps:
        """Compute the maps of each target on each image at one layer.

        Args:
            model: the network in evaluation mode; no call changes it.
            images: `(image, channel, height, width)`, preprocessed as the network takes them.
            targets: what to explain, as in `explain`.
            **settings: `layer`, `spatial`, `class_names`, `output` and `constants` as in `explain`, and the options of
                the method.

        Returns:
            `(image, target, height, width)`; zeros if an image has fewer targets than others.

        Raises:
            ExcitationError: an unsupported network, or an invalid layer, target or option.
        """
        common = {key: settings.pop(key) for key in COMMON if key in settings}
        asked = Settings(**common, method=self.name, options=self.check_options(settings))
        request = make_request(model, images, targets, asked)
        if self.sweeps:
            return self.explain(request, asked.options).maps
        (maps,) = self._by_layer(request, asked.options).values()
        return maps

    def check_options(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Validate options and return them unchanged.

        Raises:
            ExcitationError: an option that the method does not have, or a value of the wrong type.
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
        return options

    def explain(self, request: Request, options: Mapping[str, Any]) -> Explanation:
        """Compute the maps of a request at each of its layers.

        For a batch of several images, the first image alone decides whether the method applies to the network.

        Args:
            request: settings, network, images and targets.
            options: options of the method, validated by `check_options`.

        Raises:
            ExcitationError: an unsupported network or layer, or a map that is not finite.
        """
        if self.sweeps:
            return self.sweep(request, options).validate()
        images = request.images
        return Explanation(
            by_layer=self._by_layer(request, options),
            targets=target_labels(request.per_image, request.scores(), request.class_names),
            scores=request.target_scores(),
            method=self.name,
            frames=(Frame(tuple(images.shape[2:])),) * len(images),
        )

    def sweep(
        self, request: Request, options: Mapping[str, Any], balance: MassRecorder | None = None
    ) -> UncheckedResult:
        """Compute unchecked maps of a request, for a method that is a single sweep of the engine.

        Args:
            request: settings, network, images and targets.
            options: options of the method, validated by `check_options`.
            balance: receives the rows of the mass balance.

        Raises:
            ExcitationError: the method is not a sweep; or an error of `explain`.
        """
        if not self.sweeps:
            names = ", ".join(item.name for item in list_methods() if item.sweeps)
            raise ExcitationError(f"method {self.name!r} has no mass; methods that have: {names}.")
        # A sweep needs no gradients, so the caller's grad and inference modes are overridden.
        with _rules_needed(self), torch.inference_mode(False), torch.no_grad():
            result: UncheckedResult = self.function(request, balance=balance, **options)
        if result.explanation.method != self.name:
            result = replace(result, explanation=replace(result.explanation, method=self.name))
        return result

    def _by_layer(self, request: Request, options: Mapping[str, Any]) -> dict[str, Maps]:
        check_images(request.model, single_images(request))
        if request.layers is not None:
            return {layer: self._maps(request.at(layer), options) for layer in request.layers}
        maps = self._maps(request, options)
        return {INPUT if request.seen.layer is None else request.seen.layer: maps}

    def _maps(self, request: Request, options: Mapping[str, Any]) -> Maps:
        """Compute the maps at one layer."""
        # Methods enable gradients themselves. The caller's modes are overridden, and no graph is returned.
        with _rules_needed(self), torch.inference_mode(False), torch.no_grad():
            # For a single image, the method raises the same error equally early.
            if self.applies is not None and len(request.images) > 1:
                self.applies(request)
            maps: Maps = self.function(request, **options)
        if not bool(torch.isfinite(maps).all()):
            raise ExcitationError(
                f"the map of method {self.name!r} is not finite: an activation or a gradient is too large for"
                f" {str(maps.dtype).removeprefix('torch.')}."
            )
        if request.ragged is None:
            return maps
        counts = torch.tensor(request.counts, device=maps.device)
        asked = torch.arange(maps.shape[1], device=maps.device) < counts[:, None]
        return torch.where(asked.reshape(*asked.shape, *(1,) * (maps.dim() - 2)), maps, 0)


@contextmanager
def _rules_needed(method: Method) -> Iterator[None]:
    """Extend the error for an operation without a rule by the methods that need no rule."""
    try:
        yield
    except UnsupportedOperationError as error:
        raise UnsupportedOperationError(
            f"{error} Method {method.name!r} needs {method.needs}; gradient, grad-cam and others need no rules."
        ) from error


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
    applies: Callable[[Request], None] | None = None,
) -> Callable[[Function], Function]:
    """Register a function as a method.

    Args:
        name: the value for `method=`.
        sentence: one-sentence description.
        family: a name in `FAMILIES`.
        source: reference.
        cost: number of passes.
        needs: requirements on the network.
        place: default layer; `None` if the method uses no layer.
        steps: post-processing steps by name.
        aliases: other names.
        fixed: options with fixed values under this name; they cannot be passed.
        hidden: options without effect under this name.
        applies: checks on the first image that the network has what the method `needs`.
    """
    assert (applies is None) == (needs == "any network"), name
    assert family in FAMILIES, family
    fixed = fixed or {}

    def register(function: Function) -> Function:
        def fitted(request: Request, **options: Any) -> Any:
            return function(request, **fixed, **options)

        parameters = list(inspect.signature(function).parameters.values())[1:]
        sweeps = "balance" in {p.name for p in parameters}
        options = {p.name: p.default for p in parameters if p.name not in {*fixed, *hidden, "balance"}}
        for key in (name, *aliases):
            assert key not in _METHODS, f"two methods are called {key}"
        hints = get_type_hints(function)
        choices = {key: _choices(hints[key]) for key in options if _choices(hints[key])}
        registered = Method(
            name,
            family,
            sentence,
            source,
            cost,
            needs,
            place,
            fitted,
            steps,
            aliases,
            options,
            choices,
            applies,
            sweeps,
        )
        _METHODS.update(dict.fromkeys((name, *aliases), registered))
        return function

    return register


def list_methods() -> list[Method]:
    """All methods, in the order of the documentation."""
    unique = {item.name: item for item in _METHODS.values()}.values()
    return sorted(unique, key=lambda item: FAMILIES.index(item.family))


def _choices(hint: object) -> tuple[Any, ...]:
    """The values of a `Literal` annotation, with `None` if the annotation includes it."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    parts = [(None,) if part is type(None) else _choices(part) for part in get_args(hint)]
    return tuple(value for part in parts for value in part) if parts and all(parts) else ()


def _check_kind(key: str, value: object, usual: object) -> None:
    """Raise an error for a value of another type than the default: integer, finite number, bool or policies."""
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
    """Find a method by name or alias. Hyphens, underscores, spaces and case are ignored.

    Raises:
        ExcitationError: an unknown method; the message lists the closest names.
    """
    check_text("method", name, "the name of a method")
    if name in _METHODS:
        return _METHODS[name]
    alike = {item.name: item for key, item in _METHODS.items() if _plain(key) == _plain(name)}
    if len(alike) == 1:
        return next(iter(alike.values()))
    if alike:
        raise ExcitationError(f"method {name!r} can be {' or '.join(map(repr, alike))}; write it as one of these.")
    near = difflib.get_close_matches(name, _METHODS, n=3, cutoff=0.5)
    hint = f" Nearest: {', '.join(map(repr, near))}." if near else ""
    raise ExcitationError(f"unknown method {name!r}.{hint} `excitation methods` or `list_methods()` lists all.")


def _plain(name: str) -> str:
    """The name of a method without hyphens, underscores, spaces and case."""
    return re.sub(r"[-_ ]", "", name).casefold()


def methods_table() -> str:
    """The table of all methods in Markdown, for the documentation."""
    rows = ["| method | what it does | source | cost | needs | own options |", "| --- | --- | --- | --- | --- | --- |"]
    for item in list_methods():
        names = ", ".join(f"`{name}`" for name in (item.name, *item.aliases))
        options = ", ".join(f"`{key}={value!r}`" for key, value in item.options.items())
        rows.append(f"| {names} | {item.sentence} | {item.source} | {item.cost} | {item.needs} | {options} |")
    return "\n".join(rows) + "\n"
