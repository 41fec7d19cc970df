"""`verify`: tests whether the record of a network contains everything that the network computes."""

from __future__ import annotations

import io
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from rich.console import Console
from rich.table import Table
from torch.nn.modules.module import register_module_forward_hook

from .._checks import check_model
from .._errors import ExcitationError, LayerError, UnsupportedOperationError
from ..core import Layer, OutputChoice, Settings, check_images, pick_scores
from ..engine import INPUT, Kind, Policies, Record
from ..engine._names import nth
from ..engine._network_state import NetworkState
from ..engine._record import Opaque
from ..engine._running import as_written, hook
from ..engine._tape import Replay, ReplayError, Tape
from ..engine._values import tensor_list
from ..engine.operations import Affine, Average, Product, Scaled, Sum
from ..models._loaded import LoadedModel
from ._mass_balance import measure_balance

ROUNDING = 1000
"""Allowed difference between two computations of the same value, in units of the rounding error of the precision."""

SCORES = "the class scores"


@dataclass(frozen=True)
class Verification:
    """Result of `verify`: whether the replayed record and the network give the same outputs for other pictures.

    Attributes:
        agrees: whether class scores and the outputs of all modules agree.
        difference: largest absolute difference.
        relative: largest difference divided by the largest absolute value of the same tensor.
        first: the first layer that differs, in the order of the forward pass; empty if none differs.
        reason: what differs and what this means; empty if nothing differs.
        tolerance: relative differences up to this value count as rounding.
        pictures: the kinds of test pictures, derived from the given ones.
        layers: number of module outputs compared for each kind.
        rules: number of executed operations, by family of rules and by name.
        without_rule: addresses of operations without a rule on a path from the images to the class scores.
        steering: addresses at which the network branches on values computed from the images. The control flow can
            differ for other images; a map describes the path of its own images.
        layer: the layer at which `mass` is measured.
        mass: mean share of the mass of the highest-scoring class at the layer; `None` if no signal can reach it.
        lost: mean share lost above the layer, at winners without a normaliser; `None` like `mass`.
        refused: why no signal reaches the layer; empty if one does.
        choices: number of operations that need more than the paper's rules, by active policy.
    """

    agrees: bool
    difference: float
    relative: float
    first: str
    reason: str
    tolerance: float
    pictures: tuple[str, ...]
    layers: int
    rules: Mapping[str, Mapping[str, int]]
    without_rule: tuple[str, ...]
    steering: tuple[str, ...]
    layer: str
    mass: float | None
    lost: float | None
    refused: str
    choices: Mapping[str, int]

    def check(self) -> None:
        """Raise an error unless the record agrees with the network.

        Raises:
            ExcitationError: the record disagrees; the message states the reason.
        """
        if not self.agrees:
            raise ExcitationError(self.reason)

    def __str__(self) -> str:
        """The result as a table."""
        table = Table("family", "operations", box=None, pad_edge=False)
        for family, names in self.rules.items():
            counts = [f"{name} x {count}" if count > 1 else name for name, count in names.items()]
            table.add_row(family, ", ".join(counts))
        for address in self.without_rule:
            table.add_row("no rule", address)
        text = io.StringIO()
        console = Console(file=text, width=120, color_system=None, highlight=False, markup=False)
        console.print(table)
        for policy, count in self.choices.items():
            console.print(f"policy beyond the paper: {policy} ({count} operations)")
        if self.steering:
            console.print(f"control flow depends on the images: {', '.join(dict.fromkeys(self.steering))}")
        if self.mass is not None:
            console.print(f"layer {self.layer}: share of the mass {self.mass:.4f}, lost above it {self.lost:.4f}")
        else:
            console.print(f"layer {self.layer}: no map. {self.refused}")
        tried = f"on {', '.join(self.pictures)} pictures, at {self.layers} layers and the scores"
        difference = f"largest relative difference {self.relative:.1e}, rounding is {self.tolerance:.0e}"
        console.print(f"{'agrees' if self.agrees else 'DIFFERS'} {tried} ({difference})")
        if self.reason:
            console.print(self.reason)
        return text.getvalue().rstrip()


def verify(
    model: torch.nn.Module | LoadedModel,
    images: Float[torch.Tensor, "image channels *pixels"],
    *,
    layer: Layer = f":{INPUT}",
    policies: Policies | None = None,
    output: OutputChoice = None,
    constants: Sequence[str] = (),
    seed: int = 0,
) -> Verification:
    """Replay the record of a network for other pictures and compare the results with the network's own outputs.

    Values that pass through NumPy, threads or text leave the recording without a trace and come back as constants. In
    the record they are the same for all pictures, but not in the network. The test pictures are derived from the given
    ones: flipped, with pixels in random order, with noise, and negated. The function keeps all activations of one
    forward pass. It costs about ten forward passes and one mass balance.

    Args:
        model: the network, in evaluation mode.
        images: a batch `(image, channels, *pixels)` in the format that the network takes.
        layer: the layer at which the mass is measured; the images if not given.
        policies: choices that the paper leaves open; `Policies()` if not given.
        output: which part of the network output holds the class scores, as in `explain`.
        constants: names of constant tensors that are neither parameters nor buffers, as in `explain`.
        seed: random seed of the pixel order, the noise, and the random numbers of the network.

    Returns:
        The result of the comparison; printing it gives a table. A disagreement raises no error here, only in
        `Verification.check`.

    Raises:
        ExcitationError: the network cannot be recorded, as in `explain`.
    """
    if isinstance(model, LoadedModel):
        output = model.output if output is None else output
        model = model.model
    check_model(model)
    check_images(model, images)
    policies = policies or Policies()
    outputs: list[torch.Tensor] = []
    count = len(images)
    tape = Tape(model, constants)
    with _seeded(seed, images):
        record = tape.run(images, lambda result: outputs.append(pick_scores(result, count, output)))
    recorded, record.top = tape.final(outputs[-1], rules=False)
    if record.top is None or record.top.kind is not Kind.TRACKED:
        raise ExcitationError(
            "the class scores were made by no recorded operation, or do not depend on the images; replace what makes"
            " them by plain torch operations."
        )
    tolerance = ROUNDING * torch.finfo(recorded.dtype).eps
    comparison = _Comparison(tolerance)
    tried = []
    for kind, pictures in _pictures(images, seed):
        tried.append(kind)
        _compare(model, tape, recorded, kind, pictures, output, seed, constants, comparison)
        if comparison.reason:
            break
    mass, lost, refused = _mass(model, images, recorded, layer, policies, output, constants)
    rules: dict[str, Counter[str]] = {}
    for entry in record.entries:
        if not isinstance(entry.operation, Opaque):
            rules.setdefault(type(entry.operation).__name__.lower(), Counter())[entry.name] += 1
    above = record.ancestors(record.top)
    return Verification(
        agrees=not comparison.reason,
        difference=comparison.difference,
        relative=comparison.relative,
        first=comparison.first,
        reason=comparison.reason,
        tolerance=tolerance,
        pictures=tuple(tried),
        layers=len(tape.outputs),
        rules={family: dict(names.most_common()) for family, names in rules.items()},
        without_rule=tuple(
            entry.address
            for entry in record.entries
            if isinstance(entry.operation, Opaque) and any(value.serial in above for value in entry.outputs)
        ),
        steering=tuple(tape.questions),
        layer=layer.removeprefix(":") if isinstance(layer, str) else type(layer).__name__,
        mass=mass,
        lost=lost,
        refused=refused,
        choices=_choices(record, policies),
    )


class _Comparison:
    """The largest differences so far, and the first layer with a difference beyond rounding."""

    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance
        self.difference = self.relative = 0.0
        self.first = self.reason = ""

    def add(self, name: str, replayed: torch.Tensor, own: torch.Tensor) -> None:
        """Compare the output of a layer in the replay with the output in the network."""
        if replayed.shape != own.shape:
            apart, relative = float("inf"), float("inf")
        elif torch.equal(replayed, own):
            return
        else:
            gap = (replayed.double() - own.double()).abs()
            apart = float(torch.where(replayed.isnan() & own.isnan() | (replayed == own), 0.0, gap).nan_to_num(
                nan=float("inf")).max())  # fmt: skip
            largest = float(own.double().abs().nan_to_num(posinf=0.0).max())
            relative = apart / largest if largest else float("inf")
        self.difference, self.relative = max(self.difference, apart), max(self.relative, relative)
        if relative > self.tolerance and not self.first:
            self.first = name


def _compare(
    model: torch.nn.Module,
    tape: Tape,
    recorded: torch.Tensor,
    kind: str,
    pictures: torch.Tensor,
    output: OutputChoice,
    seed: int,
    constants: Sequence[str],
    comparison: _Comparison,
) -> None:
    """Compare the replay and the network for one kind of pictures."""
    try:
        replay = tape.replay(pictures)
    except ReplayError as error:
        comparison.first = str(error).partition(":")[0]
        comparison.reason = _reason(model, tape, kind, pictures, seed, constants, f"it cannot be replayed: {error}")
        comparison.difference = comparison.relative = float("inf")
        return
    scores = _own_scores(model, replay, pictures, output, seed, comparison)
    comparison.add(SCORES, replay[recorded], scores)
    if comparison.first:
        where = comparison.first if comparison.first == SCORES else f"layer {comparison.first!r}"
        what = (
            f"the first difference from the network's own result is at {where}: {comparison.relative:.1e} of"
            f" its maximum"
        )
        comparison.reason = _reason(model, tape, kind, pictures, seed, constants, what)


def _own_scores(
    model: torch.nn.Module,
    replay: Replay,
    pictures: torch.Tensor,
    output: OutputChoice,
    seed: int,
    comparison: _Comparison,
) -> torch.Tensor:
    """Run the network and compare the output of each module immediately, before an in-place operation can change it."""
    state, replayed = NetworkState(model), dict(replay.layers())
    calls: dict[str, int] = {}
    thread = threading.get_ident()

    def leave(module: torch.nn.Module, _: object, result: object) -> None:
        name = state.names.get(id(module), "")
        if not name or threading.get_ident() != thread:
            return
        name = nth(calls, name)
        tensors = tensor_list(result)
        if name in replayed and len(tensors) == 1:
            comparison.add(name, replayed[name], tensors[0])

    with _seeded(seed, pictures), as_written(state), hook(register_module_forward_hook, leave):
        return pick_scores(model(pictures.clone()), len(pictures), output)


def _reason(
    model: torch.nn.Module,
    tape: Tape,
    kind: str,
    pictures: torch.Tensor,
    seed: int,
    constants: Sequence[str],
    what: str,
) -> str:
    """Explain a difference: another path through the network, or information that escaped the recording."""
    other = Tape(model, constants)
    with _seeded(seed, pictures):
        other.run(pictures, lambda result: result)
    start = f"the record of these images was replayed on {kind} pictures, and {what}."
    ours, theirs = tape.path, other.path
    if ours != theirs:
        both = zip(ours, theirs, strict=False)
        at = next((i for i, (a, b) in enumerate(both) if a != b), min(len(ours), len(theirs)))
        here, there = (path[at] if at < len(path) else "the end" for path in (ours, theirs))
        asked = (
            f" It converts tensors to truth values in {', '.join(dict.fromkeys(tape.questions))}."
            if tape.questions
            else ""
        )
        return (
            f"{start} The network's control flow depends on the images: the record continues with {here}, but these"
            f" pictures lead to {there}.{asked} A map is valid for the path that its own images take; explain"
            f" images one by one, so that each takes its own path."
        )
    return (
        f"{start} The network runs the same operations for both, so information escapes the record: through numbers"
        " taken out of tensors (NumPy, shapes of selections, text), code under DisableTorchFunction, another thread, or"
        " another process. Maps would miss this information: use plain torch operations, or choose a layer above it."
    )


def _pictures(images: torch.Tensor, seed: int) -> Iterator[tuple[str, torch.Tensor]]:
    """The given pictures and modified pictures of the same shape, with the name of each kind."""
    images = images.detach()
    generator = torch.Generator().manual_seed(seed)
    pixels = images.flatten(2)
    order = torch.randperm(pixels.shape[2], generator=generator).to(images.device)
    noise = torch.randn(images.shape, generator=generator, dtype=torch.float64).to(images)
    spread = images.double().std().to(images) if images.numel() > 1 else images.new_ones(())
    yield "the given", images
    yield "flipped", images.flip(tuple(range(2, images.dim())))
    yield "shuffled", pixels[:, :, order].reshape(images.shape)
    yield "noisy", images + spread * noise
    yield "negated", -images


@contextmanager
def _seeded(seed: int, images: torch.Tensor) -> Iterator[None]:
    """A context with fixed random numbers. Afterwards the caller's random state is restored."""
    with torch.random.fork_rng([images.device] if images.is_cuda else []):
        torch.manual_seed(seed)
        yield


def _mass(
    model: torch.nn.Module,
    images: torch.Tensor,
    scores: torch.Tensor,
    layer: Layer,
    policies: Policies,
    output: OutputChoice,
    constants: Sequence[str],
) -> tuple[float | None, float | None, str]:
    """Mean shares of the mass of the highest-scoring class: at the layer, and lost above it; or why there is none."""
    classes = scores.flatten(2).mean(2) if scores.dim() > 2 else scores
    targets: list[list[Any]] = [[index] for index in classes.argmax(1).tolist()]
    try:
        settings = Settings(layer=layer, output=output, constants=tuple(constants), options={"policies": policies})
        balance = measure_balance(model, images, targets, settings)
    except (UnsupportedOperationError, LayerError) as error:
        return None, None, str(error)
    return float(balance.share.mean()), float((balance.lost / balance.top).mean()), ""


def _choices(record: Record, policies: Policies) -> dict[str, int]:
    """Count the operations that need more than the paper's rules, by the policy that applies."""
    tests: dict[str, Callable[[Any], bool]] = {
        f"residual={policies.residual!r}": lambda entry: isinstance(entry.operation, Sum),
        f"batch_norm={policies.batch_norm!r}": lambda entry: isinstance(entry.operation, Scaled),
        f"product={policies.product!r}": lambda entry: isinstance(entry.operation, Product),
        f"signed={policies.signed!r}, bounded={policies.bounded!r}": lambda entry: (
            isinstance(entry.operation, (Affine, Average)) and not entry.inputs[0].nonnegative
        ),
    }
    counts = {policy: sum(map(test, record.entries)) for policy, test in tests.items()}
    return {policy: count for policy, count in counts.items() if count}
