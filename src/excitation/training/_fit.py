"""The training loop: steps of SGD, evaluation on held-out examples, checkpoints."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float

from .._checks import check_instance
from ._examples import Examples, plan_pass
from ._options import Options, TrainingError
from ._plateau import Plateau
from ._precision import average_precisions
from ._processes import Processes, processes
from ._run import RunFolder


@dataclass(frozen=True)
class State:
    """The progress of a run.

    Attributes:
        step: number of finished steps.
        steps: maximum number of steps.
        loss: loss of the last step, summed over classes.
        precision: mean average precision at the last evaluation, 0 to 1; NaN before the first evaluation.
        left: remaining seconds if the run makes all steps; `None` before the first step.
    """

    step: int
    steps: int
    loss: float
    precision: float
    left: float | None


@dataclass(frozen=True)
class Fitted:
    """A finished run.

    Attributes:
        steps: number of steps.
        best_step: the step with the lowest held-out loss. The model has the weights of this step.
        loss: held-out loss at this step, summed over classes and averaged over examples.
        precisions: average precision of each class on the held-out examples at this step; NaN for classes without an
            example.
        seconds: time for steps and evaluations, over all sessions.
        rows: rows of the log.
    """

    steps: int
    best_step: int
    loss: float
    precisions: tuple[float, ...]
    seconds: float
    rows: tuple[Mapping[str, Any], ...]


def fit(
    model: torch.nn.Module,
    examples: Examples,
    held_out: Examples,
    out: Path,
    options: Options | None = None,
    *,
    configuration: Mapping[str, Any] | None = None,
    device: str = "cpu",
    progress: Callable[[State], None] | None = None,
) -> Fitted:
    """Train a network with the multi-label cross-entropy. If a run was interrupted, the same call continues it.

    The loss of an example is the sum over classes of the binary cross-entropies of the logits. Only parameters with
    `requires_grad` are trained. The learning rate is reduced when the held-out loss stops decreasing. The run ends at
    the plateau after the last reduction, or after the last pass. With `torchrun`, every process computes its part of
    each batch.

    Args:
        model: network that returns logits, `(example, class)`, or with additional axes of size one. At the end, it has
            the weights with the lowest held-out loss and is in evaluation mode.
        examples: training examples.
        held_out: held-out examples for evaluation.
        out: folder of the run.
        options: training options; the defaults of `Options` if `None`.
        configuration: further data that identify the run, compatible with JSON.
        device: `"cpu"` or `"cuda"`.
        progress: function that is called with a `State` after each step.

    Raises:
        TrainingError: the folder belongs to another run, the loss of a batch is not finite, or the disk is full. A
            later call continues from the last checkpoint.
    """
    options = options or Options()
    check_instance("options", options, Options)
    if examples.classes != held_out.classes:
        raise TrainingError("the held-out examples have other classes than those to learn from.")
    whole = {
        "options": dataclasses.asdict(options), "classes": list(examples.classes), "examples": examples.fingerprint(),
        "held out": held_out.fingerprint(), **(configuration or {}),
    }  # fmt: skip
    with processes(device) as place, _deterministic(options.deterministic):
        run = RunFolder(out, whole, write=place.first)
        model.to(place.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return _Fit(model, examples, held_out, run, options, place, progress).run()


class _Fit:
    """A run in progress."""

    def __init__(
        self, model: torch.nn.Module, examples: Examples, held_out: Examples, run: RunFolder, options: Options,
        place: Processes, progress: Callable[[State], None] | None,
    ) -> None:  # fmt: skip
        self._model, self._examples, self._held_out = model, examples, held_out
        self._folder, self._options, self._place, self._told = run, options, place, progress
        trained = [item for item in model.parameters() if item.requires_grad]
        self._frozen = [module for module in model.modules() if _is_frozen(module)]
        if not trained:
            raise TrainingError("no parameter of the model requires gradients; there is nothing to train.")
        self._optimiser = torch.optim.SGD(trained, options.rate, options.momentum, weight_decay=options.decay)
        self._plateau = Plateau()
        self._rows: list[dict[str, Any]] = []
        self._step, self._seconds = 0, 0.0
        self._best: dict[str, Any] = {"step": 0, "weights": {}, "precisions": [], "loss": float("inf")}
        self._sum: torch.Tensor | float = 0.0
        self._resume()

    def run(self) -> Fitted:
        """Run the remaining steps."""
        wrapped = self._place.wrap(self._model)
        per_pass = len(plan_pass(self._examples.groups, self._options.batch, [0]))
        steps = per_pass * self._options.passes
        every = self._options.every or per_pass
        session, begun, first = time.perf_counter(), self._seconds, self._step
        loss = float("nan")
        while self._step < steps and not self._ended():
            number, at = divmod(self._step, per_pass)
            batches = plan_pass(self._examples.groups, self._options.batch, [self._options.seed, number])
            for batch in batches[at:]:
                loss = self._one(wrapped, batch)
                self._seconds = begun + time.perf_counter() - session
                if self._step % every == 0 or self._step == steps:
                    self._look(number)
                    self._seconds = begun + time.perf_counter() - session
                    self._save(last=self._step == steps or self._ended())
                if self._told is not None and self._place.first:
                    pace = (time.perf_counter() - session) / (self._step - first)
                    seen = self._rows[-1]["held_out_precision"] if self._rows else float("nan")
                    self._told(State(self._step, steps, loss, seen, pace * (steps - self._step)))
                if self._ended():
                    break
        self._model.load_state_dict(self._best["weights"])
        self._model.eval()
        return Fitted(
            self._step, self._best["step"], self._best["loss"], tuple(self._best["precisions"]), self._seconds,
            tuple(self._rows),
        )  # fmt: skip

    def _ended(self) -> bool:
        return self._plateau.ended

    def _one(self, model: torch.nn.Module, batch: np.ndarray) -> float:
        """Run one step and return its loss over all processes."""
        options, place = self._options, self._place
        for group in self._optimiser.param_groups:
            group["lr"] = self._plateau.rate(self._step, options)
        self._model.train()
        for module in self._frozen:
            module.eval()  # batch normalisation without trained parameters keeps its statistics
        torch.manual_seed(hash((options.seed, self._step, place.rank)) % 2**63)  # of dropout
        own = place.own(batch.tolist())
        if not own:
            raise TrainingError(f"a batch of {len(batch)} gives {place.count} processes no example each; take larger.")
        inputs, labels = self._examples.batch(own, [options.seed, self._step, place.rank])
        self._optimiser.zero_grad(set_to_none=True)
        with torch.autocast(place.device.type, torch.bfloat16, enabled=options.precision == "bfloat16"):
            logits = _flat(model(_moved(inputs, place.device)))
        cost = F.binary_cross_entropy_with_logits(logits.float(), labels.to(place.device), reduction="sum") / len(batch)
        # Gradients are averaged over processes, so the loss is multiplied by their number.
        (cost * place.count).backward()  # type: ignore[no-untyped-call]
        if options.clip is not None:
            trained = [item for group in self._optimiser.param_groups for item in group["params"]]
            torch.nn.utils.clip_grad_norm_(trained, options.clip)
        total = float(place.total(cost.detach().clone()))
        if not np.isfinite(total):
            names = ", ".join(self._examples.name(index) for index in own[:8])
            more = f" and {len(own) - 8} more" if len(own) > 8 else ""
            raise TrainingError(
                f"the loss of step {self._step + 1} is {total}; its batch: {names}{more}. The last checkpoint stays;"
                " try a lower rate, or look at these examples."
            )
        self._optimiser.step()
        self._step += 1
        self._sum += total
        return total

    def _look(self, number: int) -> None:
        """Evaluate on the held-out examples, and store the weights if they are the best so far."""
        scores, labels = predict(self._model, self._held_out, self._options.batch, self._place.device)
        loss = float(_cross_entropy(scores, labels))
        if not np.isfinite(loss):
            raise TrainingError(
                f"the held-out loss after step {self._step} is {loss}; the last checkpoint stays. Try a lower rate."
            )
        precisions = average_precisions(scores, labels)
        rate = self._plateau.rate(self._step - 1, self._options)
        if self._plateau.look(loss, self._options):
            weights = {name: item.detach().cpu().clone() for name, item in self._model.state_dict().items()}
            self._best = {"step": self._step, "weights": weights, "precisions": precisions.tolist(), "loss": loss}
        known = precisions[np.isfinite(precisions)]
        taken = self._step - (self._rows[-1]["step"] if self._rows else 0)  # fewer at the end of a run
        self._rows.append(
            {
                "step": self._step, "pass": number + 1, "rate": rate, "loss": self._sum / taken, "held_out_loss": loss,
                "held_out_precision": float(known.mean()) if len(known) else float("nan"),
                "seconds": round(self._seconds, 1),
            }
        )  # fmt: skip
        self._sum = 0.0

    def _save(self, *, last: bool) -> None:
        if self._place.first:
            self._folder.save(
                {
                    "model": self._model.state_dict(), "optimiser": self._optimiser.state_dict(), "step": self._step,
                    "plateau": self._plateau.state(), "best": self._best, "rows": self._rows, "seconds": self._seconds,
                },
                last=last,
            )  # fmt: skip
        self._place.wait()

    def _resume(self) -> None:
        state = self._folder.load()
        if state is None:
            return
        self._model.load_state_dict(state["model"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._plateau = Plateau(**state["plateau"])
        self._best, self._rows = state["best"], state["rows"]
        self._step, self._seconds = state["step"], state["seconds"]


def predict(
    model: torch.nn.Module, examples: Examples, batch: int = 64, device: torch.device | None = None
) -> tuple[Float[np.ndarray, "example class"], np.ndarray]:
    """Return the logits and the labels (booleans) of all examples in order, `(example, class)`, without augmentation.

    The model is set to evaluation mode.
    """
    model.eval()
    count = len(examples.groups)
    scores = np.zeros((count, len(examples.classes)), np.float32)
    labels = np.zeros(scores.shape, np.bool_)
    with torch.inference_mode():
        for group in np.unique(examples.groups):
            members = np.flatnonzero(examples.groups == group)
            for at in range(0, len(members), batch):
                some = members[at : at + batch]
                inputs, there = examples.batch(some.tolist(), None)
                scores[some] = _flat(model(_moved(inputs, device or torch.device("cpu")))).float().cpu().numpy()
                labels[some] = there.numpy() > 0
    return scores, labels


def _cross_entropy(scores: np.ndarray, labels: np.ndarray) -> np.floating[Any]:
    """Return the cross-entropy, summed over classes and averaged over examples."""
    x = scores.astype(np.float64)
    x = np.where(np.isfinite(x), x, np.nan)  # else an infinite logit times a label of 0 would warn
    costs: np.floating[Any] = (np.maximum(x, 0) - np.where(labels, x, 0) + np.log1p(np.exp(-np.abs(x)))).sum(1).mean()
    return costs


def _is_frozen(module: torch.nn.Module) -> bool:
    """Whether a module has own parameters, and none of them is trained."""
    own = list(module.parameters(recurse=False))
    return bool(own) and not any(item.requires_grad for item in own)


def _moved(inputs: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Move inputs to a device. Pictures get the channels-last format, in which convolutions are faster."""
    layout = torch.channels_last if inputs.dim() == 4 else torch.preserve_format
    return inputs.to(device, memory_format=layout)


def _flat(scores: Any) -> torch.Tensor:
    if not isinstance(scores, torch.Tensor) or scores.dim() < 2 or scores[0, 0].numel() != 1:
        raise TrainingError("the network must return one tensor of class scores, one for each example and class.")
    return scores.flatten(1)


@contextmanager
def _deterministic(wanted: bool) -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(wanted or before)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
