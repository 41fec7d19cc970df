"""The recording mode: sees every torch operation of one forward pass, runs it, and writes down what it did.

Nothing about the network changes: no module is wrapped, no weight copied. The mode belongs to one thread; the two
global module hooks, which tell where modules begin and end, ignore every other thread and go with the recording.
Operations in place are run as their plain forms, so that the activations on record stay what they were.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

from .._errors import EscapedTensorError, UnsupportedOperationError
from ._eager import uncompiled
from ._functions import FIRST_ONLY, Function, function
from ._holdings import Holdings
from ._layout import Layout, MixedImagesError, Origin, assumed, input_layout, refusal
from ._record import Entry, Place, Record
from ._values import UNBOUNDED, Bound, Kind, Value, ValueBook, tensor_list
from .operations import Arrangement, Operation, Parts, Read, Reading, Winner, place_of

INPUT = "input"
"""The layer name that stands for the images themselves."""


class LateRootError(Exception):
    """A chosen layer's output was used before the layer was left: recording must start at the images."""


class Recorder(TorchFunctionMode):
    """Records one forward pass of a network.

    Args:
        model: the network.
        roots: names of the layers the record begins at; `None` begins at the images.
        constants: dotted names of tensors the network keeps outside its parameters and buffers.
    """

    def __init__(
        self, model: torch.nn.Module, roots: Sequence[str] | None = None, constants: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self._model = model
        self._holdings = Holdings(model)
        self._names = self._holdings.names
        self._roots = None if roots is None or INPUT in roots else frozenset(roots)
        self._named_constants = tuple(constants)
        self._constants = self._holdings.constants
        self._book = ValueBook()
        self._record = Record()
        self._thread = threading.get_ident()
        self._path: list[str] = []
        self._calls: dict[str, int] = {}
        self._counts: dict[str, int] = {}
        self._redirects: dict[int, tuple[weakref.ref[torch.Tensor], torch.Tensor]] = {}
        self._stale: dict[int, tuple[StorageWeakRef, str]] = {}
        self._scripted: list[str] = []
        self._weighted = 0
        self._tracking = False
        self._images = Origin(0)

    def run(self, images: torch.Tensor, read: Callable[[Any], object]) -> Record:
        """Run the network once and return the record.

        Args:
            images: the input, images first.
            read: called with what the network returned, still under the recording.

        Raises:
            ExcitationError: where the network does something the record cannot follow.
        """
        with ExitStack() as stack:
            stack.enter_context(self._holdings.restored())
            stack.enter_context(uncompiled())
            stack.enter_context(_hook(register_module_forward_pre_hook, self._enter))
            stack.enter_context(_hook(register_module_forward_hook, self._leave, always_call=True))
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.no_grad())
            # A view of its own, so that the caller's tensor is never taken for a constant of the model.
            images = images.detach().view_as(images)
            self._tracking = self._roots is None
            kind = Kind.TRACKED if self._tracking else Kind.OUTSIDE
            layout = input_layout(images.shape)
            self._images = layout[0][0].origin
            value = self._book.add(images, kind, layout=layout, address=INPUT)
            self._record.images = value
            self._record.places[INPUT] = Place(INPUT, value, "input")
            stack.enter_context(self)
            read(self._resolve(self._model(images)))
        return self._record

    def final(self, tensor: torch.Tensor) -> tuple[torch.Tensor, Value | None]:
        """What a tensor of the network became by changes in place, and its value.

        Raises:
            UnsupportedOperationError: an operation without a rule lies between it and the record's beginning.
        """
        tensor = self._resolve(tensor)
        value = self._found(tensor)
        if value is not None and value.problem is not None:
            raise value.problem
        return tensor, value

    # Modules ---------------------------------------------------------------------------------------------------------

    def _enter(self, module: torch.nn.Module, _: object) -> None:
        if threading.get_ident() == self._thread:
            self._path.append(self._names.get(id(module), type(module).__name__))

    def _leave(self, module: torch.nn.Module, _: object, output: object) -> None:
        if threading.get_ident() != self._thread:
            return
        name = self._path.pop()
        if isinstance(module, torch.jit.ScriptModule):
            self._scripted.append(name)
        if not name or id(module) not in self._names:
            return
        call = self._calls[name] = self._calls.get(name, 0) + 1
        name = name if call == 1 else f"{name}#{call}"
        self._place(name, self._resolve(output), "module")

    def _place(self, name: str, output: object, kind: str) -> None:
        found = tensor_list(output)
        value = self._found(found[0]) if len(found) == 1 else None
        problem = ""
        if len(found) != 1:
            problem = f"it returns {len(found)} tensors; choose an operation inside it"
        elif value is None:
            problem = "its output was made by no recorded operation"
        elif value.kind is Kind.CONSTANT:
            problem = "its output does not depend on the images"
        self._record.places[name] = Place(name, value, kind, problem)
        if self._roots is not None and name in self._roots and value is not None and not problem:
            if value.kind is not Kind.TRACKED and value.used:
                raise LateRootError
            value.kind = Kind.TRACKED
            self._tracking = True

    # Operations ------------------------------------------------------------------------------------------------------

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        how = function(func)
        if self._redirects:
            args, kwargs = self._resolve(args), self._resolve(kwargs)
        tensors = tensor_list(args)
        if kwargs:
            tensors += tensor_list(kwargs)
        find, kind = self._book.get, Kind.CONSTANT
        for tensor in tensors:
            value = find(tensor)
            if value is None:
                if id(tensor) in self._constants:
                    continue  # most weights never need a value
                value = self._value(tensor, how)
            value.used = True
            if value.kind > kind:
                kind = value.kind
        if self._stale:
            for tensor in tensors:
                self._check_stale(tensor, how)
        in_place = how.in_place
        if kwargs and kwargs.get("inplace"):
            kwargs = {**kwargs, "inplace": False}
            in_place = True
        if kind is Kind.CONSTANT:
            result = how.twin(*args, **kwargs)
            for tensor in tensor_list(result):
                if find(tensor) is None:
                    self._book.add(tensor, Kind.CONSTANT)
        else:
            result = self._information(how, args, kwargs, tensors, kind)
        if in_place and isinstance(result, torch.Tensor):
            return self._written(args[0], result, how)
        return result

    def _information(
        self, how: Function, args: tuple[Any, ...], kwargs: dict[str, Any], tensors: list[torch.Tensor], kind: Kind
    ) -> Any:
        """Run and record a call that involves tensors depending on the images."""
        reading = Reading(how.name, self._path[-1] if self._path else "", self._book)
        if how.leaks and self._tracking and any(t.is_floating_point() for t in tensors):
            raise EscapedTensorError(
                f"{reading.where} takes numbers out of the recorded network, where signals cannot follow; "
                "keep them as tensors, or choose a layer above."
            )
        if how.sets or (kwargs and kwargs.get("out") is not None):
            reading.refuse(
                "it writes into a tensor behind the recording's back.", "Use the form without `out` or `.data`."
            )
        empty = how.shape_only and not any(reading.carries(tensor) for tensor in tensors[1:])
        if empty or (how.name in FIRST_ONLY and not reading.carries(tensors[0])):
            result = how.twin(*args, **kwargs)
            self._book.add(result, Kind.CONSTANT)
            return result
        read, problem = self._read(how, reading, args, kwargs)
        if isinstance(read, Parts):
            result = how.twin(*args, **kwargs)
            if kind is Kind.TRACKED:
                self._by_parts(reading, read, tensor_list(result))
                return result
            read = None
        elif read is not None and isinstance(read[0], Winner):
            result = read[0].perform(partial(how.twin, *args, **kwargs))
        else:
            result = how.twin(*args, **kwargs)
        results = tensor_list(result)
        if not results:
            return result
        if len(results) == 1 and any(results[0] is tensor for tensor in tensors):
            return result  # dropout in evaluation mode returns its very input
        if not any(tensor.is_floating_point() or tensor.is_complex() for tensor in results):
            for tensor in results:
                self._book.add(tensor, kind, problem=problem or _no_neurons(reading.where, kind))
            return result
        if read is None and kind is Kind.TRACKED:
            problem = (
                self._earlier_problem(tensors)
                or problem
                or UnsupportedOperationError(
                    f"{reading.where} carries information and has no rule. Choose a layer above it, replace it in the"
                    " model by supported operations, or ask for a rule."
                )
            )
        self._write(reading, read, results, kind, problem if kind is Kind.TRACKED else None)
        return result

    def _earlier_problem(self, tensors: list[torch.Tensor]) -> UnsupportedOperationError | None:
        """Why an operation on complex or quantised numbers has no rule: that these came to be."""
        special = [tensor for tensor in tensors if tensor.is_complex() or tensor.is_quantized]
        values = [value for tensor in special if (value := self._found(tensor)) is not None]
        first = min((v for v in values if v.problem is not None), key=lambda v: v.serial, default=None)
        return None if first is None else first.problem

    def _read(
        self, how: Function, reading: Reading, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Read | Parts | None, UnsupportedOperationError | None]:
        """What the call will do, as far as there is a rule; else why not."""
        if how.reader is None:
            return None, None
        try:
            return how.reader(reading, *args, **kwargs), None
        except UnsupportedOperationError as error:
            return None, error
        except TypeError:
            given = ", ".join([type(arg).__name__ for arg in args] + [f"{key}=" for key in kwargs])
            return None, UnsupportedOperationError(f"{reading.where} is called in a form without a rule: ({given}).")

    def _by_parts(self, reading: Reading, parts: Parts, results: list[torch.Tensor]) -> None:
        """Record what a call is made of; its own results, which the network goes on with, stand for the parts'."""
        address = self._address(reading)
        # The parts have a place of their own, so that they do not change the numbers of other operations.
        self._path.append(address)
        try:
            with self:
                made = tensor_list(parts.run())
        finally:
            self._path.pop()
        for result, part in zip(results, made, strict=True):
            value = self._book.get(part)
            assert value is not None
            self._stand_in(result, value)
        several = "" if len(results) == 1 else f"it returns {len(results)} tensors"
        place = None if several else self._book.get(results[0])
        self._record.places[address] = Place(address, place, "operation", several)

    def _stand_in(self, result: torch.Tensor, value: Value) -> None:
        """Another tensor of the same numbers has this value too."""
        self._book.share(result, value)

    def _address(self, reading: Reading) -> str:
        """The name of a call: `module.path:operation`, with `#2` for the second of its kind there."""
        address = f"{reading.path}:{reading.name}"
        count = self._counts[address] = self._counts.get(address, 0) + 1
        return address if count == 1 else f"{address}#{count}"

    def _write(
        self,
        reading: Reading,
        read: Read | None,
        results: list[torch.Tensor],
        kind: Kind,
        problem: UnsupportedOperationError | None,
    ) -> None:
        """Enter the results' values, and the operation if it descends from a root."""
        address = self._address(reading)
        bit = 0
        layouts: Sequence[Layout | None] = ()
        if read is not None:
            operation, operands = read
            inputs = tuple([self._operand(tensor) for tensor in operands])
            try:
                layouts = self._layouts(operation, inputs, results)
            except MixedImagesError:
                read = None
                problem = refusal(reading.where) if kind is Kind.TRACKED else None
        if read is None:
            outputs = []
            for tensor in results:
                layout = assumed(tensor.shape, self._images)
                outputs.append(self._book.add(tensor, kind, address=address, layout=layout, problem=problem))
        else:
            if operation.weighted:
                bit = 1 << self._weighted
                self._weighted += 1
            outputs = self._outputs(operation, inputs, results, layouts, kind, address, bit)
            if kind is Kind.TRACKED:
                entry = Entry(reading.name, address, operation, inputs, tuple(outputs), bit)
                self._record.entries.append(entry)
        if len(outputs) == 1 or (read is not None and not isinstance(read[0], Arrangement)):
            self._record.places[address] = Place(address, outputs[0], "operation")
            if self._roots is not None and address in self._roots:
                outputs[0].kind = Kind.TRACKED
                self._tracking = True
        else:
            several = f"it returns {len(outputs)} tensors"
            self._record.places[address] = Place(address, None, "operation", several)

    def _layouts(
        self, operation: Operation, inputs: tuple[Value, ...], results: list[torch.Tensor]
    ) -> Sequence[Layout | None]:
        """What the axes of the results are."""
        for value in inputs:
            if value.layout is None and value.kind is not Kind.CONSTANT:
                return [assumed(tensor.shape, self._images) for tensor in results]
        return operation.layouts(inputs, [tensor.shape for tensor in results])

    def _outputs(
        self,
        operation: Operation,
        inputs: tuple[Value, ...],
        results: list[torch.Tensor],
        layouts: Sequence[Layout | None],
        kind: Kind,
        address: str,
        bit: int,
    ) -> list[Value]:
        silent = operation.silent
        carriers = [value for place, value in enumerate(inputs) if place not in silent] if silent else inputs
        weighted = bit
        # The first operation without a rule is what a reader wants to know about.
        problem, first = None, 0
        for value in carriers:
            weighted |= value.weighted
            if value.problem is not None and (problem is None or value.serial < first):
                problem, first = value.problem, value.serial
        lowers: Sequence[Bound]
        valids: Sequence[torch.Tensor | None]
        count = len(results)
        if isinstance(operation, Arrangement):
            lowers = operation.lowers(inputs) or [inputs[0].lower] * count
            valids = operation.valids(inputs) or [None] * count
        else:
            lowers = [operation.lower(inputs)] + [UNBOUNDED] * (count - 1)
            valids = [operation.valid(inputs)] + [None] * (count - 1)
        gate = operation.gate(inputs)
        outputs = []
        for place, tensor in enumerate(results):
            lost = problem
            if lost is None and not tensor.is_floating_point():
                # Beside a maximum come its indices; a signal that reached them would be lost.
                lost = _no_neurons(f"operation {address!r}", kind)
            outputs.append(
                self._book.add(
                    tensor, kind, lower=lowers[place], valid=valids[place], layout=layouts[place], weighted=weighted,
                    address=address, gate=gate, multiplied=operation.multiplied(tensor.dim()), problem=lost,
                )
            )  # fmt: skip
        return outputs

    def _operand(self, tensor: torch.Tensor) -> Value:
        value = self._found(tensor)
        assert value is not None
        if value.kind is Kind.CONSTANT and value.lower == UNBOUNDED and bool((tensor >= 0).all()):
            value.lower = 0.0
        return value

    # Identity of tensors ---------------------------------------------------------------------------------------------

    def _found(self, tensor: torch.Tensor) -> Value | None:
        """The value of a constant or of a recorded result; `None` for a tensor of unknown origin."""
        value = self._book.get(tensor)
        if value is None and id(tensor) in self._constants:
            value = self._book.add(tensor, Kind.CONSTANT)
        return value

    def _value(self, tensor: torch.Tensor, how: Function) -> Value:
        """Enter a tensor that no recorded operation made and the network did not hold before the images came."""
        constant = isinstance(tensor, torch.nn.Parameter) or not tensor.is_floating_point()
        if constant or any(_attribute(self._model, name) is tensor for name in self._named_constants):
            return self._book.add(tensor, Kind.CONSTANT)
        if not self._tracking:
            return self._book.add(tensor, Kind.OUTSIDE)
        origin = f" (scripted modules ran: {', '.join(self._scripted)})" if self._scripted else ""
        raise EscapedTensorError(
            f"{self._where(how.name)} takes in a tensor of shape {tuple(tensor.shape)} that no recorded operation"
            f" made{origin}, so signals through it would be lost. Script modules, NumPy and vmap escape the recording:"
            " replace them by plain torch operations; if it is a constant, make it a buffer or name it in `constants`."
        )

    def _where(self, name: str) -> str:
        return place_of(name, self._path[-1] if self._path else "")

    def _resolve(self, item: Any) -> Any:
        """Replace tensors that were changed in place by what they became."""
        if isinstance(item, torch.Tensor):
            while (found := self._redirects.get(id(item))) is not None:
                item = found[1]
            return item
        if isinstance(item, tuple):
            parts = [self._resolve(part) for part in item]
            if all(new is old for new, old in zip(parts, item, strict=True)):
                return item
            return type(item)(*parts) if hasattr(item, "_fields") else tuple(parts)
        if isinstance(item, list):
            return [self._resolve(part) for part in item]
        if type(item) is dict:
            return {key: self._resolve(part) for key, part in item.items()}
        return item

    def _written(self, old: torch.Tensor, new: torch.Tensor, how: Function) -> torch.Tensor:
        """What a tensor changed in place is from here on, and with it the tensor it is a view of.

        The view's new numbers are scattered into a new base, and the view becomes one of that, so that a second write
        reaches the base too. Further views still show the old numbers, and are refused when they are used.
        """
        if new is old:
            return new
        base = old._base if old.layout is torch.strided else None
        whole = base is None or self._found(base) is None or not _dense(base) or new.dtype != old.dtype
        if whole or new.shape != old.shape:
            self._redirect(old, new, how)
            return new
        assert base is not None
        geometry = old.shape, old.stride(), old.storage_offset()
        path = self._path[-1] if self._path else ""
        self._path.append(f"{path}:{how.name}:base")
        try:
            with self:
                changed = torch.as_strided_scatter(base, new, *geometry)
                view = torch.as_strided(changed, *geometry)
        finally:
            self._path.pop()
        self._redirect(base, changed, how)
        self._redirect(old, view, how)
        return view

    def _redirect(self, old: torch.Tensor, new: torch.Tensor, how: Function) -> None:
        """From here on, `old` means `new`; other views of its storage would show the old numbers."""
        if new is old:
            return
        key, redirects = id(old), self._redirects
        # When nothing can ask for `old` any more, what it became is no longer held for its sake.
        redirects[key] = (weakref.ref(old, lambda _: redirects.pop(key, None)), new)
        if old.layout is torch.strided:
            storage = old.untyped_storage()
            self._stale[storage._cdata] = (_weak(storage), self._where(how.name))

    def _check_stale(self, tensor: torch.Tensor, how: Function) -> None:
        if tensor.layout is not torch.strided:
            return
        found = self._stale.get(tensor.untyped_storage()._cdata)
        if found is not None:
            raise UnsupportedOperationError(
                f"{self._where(how.name)} reads a tensor that shares memory with one changed in place by {found[1]};"
                " use the form that makes a new tensor there."
            )


def _no_neurons(where: str, kind: Kind) -> UnsupportedOperationError | None:
    """Why no signal can pass below whole numbers and masks, which may steer the network but not add to it."""
    if kind is not Kind.TRACKED:
        return None
    return UnsupportedOperationError(
        f"{where} makes whole numbers or a mask, which become activations again further up, where no signal can follow."
        " Choose a layer above that, or replace it in the model."
    )


def _dense(tensor: torch.Tensor) -> bool:
    """Whether a tensor's neurons fill its memory, in an order a copy of it keeps."""
    return tensor.storage_offset() == 0 and torch.empty_like(tensor, device="meta").stride() == tensor.stride()


def _weak(storage: torch.UntypedStorage) -> StorageWeakRef:
    """Keeps a storage's identity from being given to another, without keeping its memory."""
    return StorageWeakRef(storage)  # type: ignore[no-untyped-call]


def _attribute(model: torch.nn.Module, name: str) -> object:
    item: object = model
    for part in name.split("."):
        item = getattr(item, part, None)
    return item


class _hook:  # noqa: N801 - used as a function
    """A module hook for the length of a `with` block."""

    def __init__(self, register: Callable[..., Any], hook: Callable[..., Any], **options: Any) -> None:
        self._register, self._hook, self._options = register, hook, options

    def __enter__(self) -> None:
        self._handle = self._register(self._hook, **self._options)

    def __exit__(self, *exception: object) -> None:
        self._handle.remove()
