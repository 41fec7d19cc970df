"""A record that stores every call that depends on the images, and can replay the calls on other images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ._functions import Function
from ._recorder import Recorder
from ._values import Kind, mapped_tensors, tensor_list


@dataclass(frozen=True, eq=False)
class Step:
    """One call.

    Attributes:
        where: name of the call for messages.
        function: the function that ran.
        args: positional arguments.
        kwargs: keyword arguments.
        results: the returned tensors.
    """

    where: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    results: list[torch.Tensor]


class ReplayError(Exception):
    """A recorded call cannot run on other images, because its arguments fit only the recorded images."""


class Tape(Recorder):
    """Records a forward pass and stores its calls, its constants and its control flow.

    Attributes:
        steps: the calls in order, with or without a rule.
        outputs: output of each module call by name, in the order in which the calls finished.
        questions: places where the network converted tensors that depend on the images to booleans.
    """

    def __init__(self, model: torch.nn.Module, constants: Sequence[str] = ()) -> None:
        super().__init__(model, None, constants)
        self.steps: list[Step] = []
        self.outputs: dict[str, torch.Tensor] = {}
        self.questions: list[str] = []
        self._begin: torch.Tensor | None = None

    def _information(
        self, how: Function, args: tuple[Any, ...], kwargs: dict[str, Any], tensors: list[torch.Tensor], kind: Kind
    ) -> Any:
        # The network can change its lists after the call.
        args, kwargs = mapped_tensors(args, lambda tensor: tensor), mapped_tensors(kwargs, lambda tensor: tensor)
        result = super()._information(how, args, kwargs, tensors, kind)
        results = tensor_list(result)
        where = self._where(how.name)
        if results:
            self.steps.append(Step(where, how.twin, args, kwargs, results))
        elif isinstance(result, bool) and not how.name.startswith("is_"):
            self.questions.append(where)
        return result

    def _enter(self, module: torch.nn.Module, inputs: object) -> None:
        super()._enter(module, inputs)
        if self._begin is None:
            (self._begin,) = tensor_list(inputs)

    def _place(self, name: str, output: object, kind: str) -> None:
        super()._place(name, output, kind)
        place = self._record.places[name]
        if not place.problem:
            self.outputs[name] = tensor_list(output)[0]

    @property
    def path(self) -> list[str]:
        """Return the names of the calls in order."""
        return [step.where for step in self.steps]

    def replay(self, images: torch.Tensor) -> Replay:
        """Run the recorded calls on other images of the same shape.

        Raises:
            ReplayError: a call fails. The message contains the call and its error.
        """
        assert self._begin is not None
        made = {id(self._begin): images}

        def swapped(item: Any) -> Any:
            return mapped_tensors(item, lambda tensor: made.get(id(tensor), tensor))

        with torch.inference_mode(False), torch.no_grad():
            for step in self.steps:
                try:
                    result = step.function(*swapped(step.args), **swapped(step.kwargs))
                except Exception as error:
                    raise ReplayError(f"{step.where}: {str(error).partition(chr(10))[0]}") from error
                made.update({id(old): new for old, new in zip(step.results, tensor_list(result), strict=True)})
        return Replay(self, made)


@dataclass(frozen=True, eq=False)
class Replay:
    """The tensors of a tape, computed for other images.

    Attributes:
        tape: the replayed tape.
        made: new tensors, by the `id` of the recorded tensor.
    """

    tape: Tape
    made: dict[int, torch.Tensor]

    def __getitem__(self, recorded: torch.Tensor) -> torch.Tensor:
        """Return the new tensor for a recorded tensor. Constants are returned unchanged."""
        return self.made.get(id(recorded), recorded)

    def layers(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the name and the output of each module call."""
        for name, recorded in self.tape.outputs.items():
            yield name, self[recorded]
