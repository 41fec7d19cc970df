"""The recording mode: intercepts every torch operation of one forward pass, runs it, and records it.

The network does not change: no module is wrapped, and no weight is copied. The mode is active in one thread. Two global
module hooks report where modules begin and end. They ignore other threads, and are removed after the recording.
In-place operations run in their out-of-place form, so that recorded activations keep their values.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

from .._errors import ExcitationError, UnsupportedOperationError
from ._bounds import NONNEGATIVE, UNBOUNDED, UNIT
from ._changes import Changes, is_dense
from ._escapes import Escapes, leak
from ._functions import FIRST_ONLY, Function, function, moved_target, tells_numbers
from ._inputs import Inputs, read_inputs
from ._layout import Layout, MixedImagesError, Origin, Role, input_layout, refusal
from ._modes import refuse_dispatch_modes, refuse_modes
from ._names import is_input, nth
from ._network_state import NetworkState
from ._pointwise import POINTWISE, as_one_function, formula, note
from ._record import Entry, Opaque, Place, Record
from ._refusals import no_neurons, no_rule, not_while_recorded, other_view, several_in_place, unread
from ._results import Results
from ._running import as_written, hook, runs_by_itself
from ._values import Kind, Value, ValueBook, tensor_list
from .operations import Arrangement, CallContext, Parts, Read, Sum, Winner, place_of


class LateRootError(Exception):
    """The output of a chosen layer was used before the layer returned. The recording must start at the images."""


class Recorder(TorchFunctionMode):
    """Records one forward pass of a network.

    Args:
        model: the network.
        roots: names of the layers at which the record begins; `None` for the images.
        constants: dotted names of constant tensors that are neither parameters nor buffers of the network.
    """

    def __init__(
        self, model: torch.nn.Module, roots: Sequence[str] | None = None, constants: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self._model = model
        self._state = NetworkState(model, constants)
        self._names = self._state.names
        self._roots = None if roots is None or any(map(is_input, roots)) else frozenset(roots)
        self._versions = self._state.versions
        self._book = ValueBook()
        self._record = Record()
        self._book.made = self._record.entries
        self._thread = threading.get_ident()
        self._path: list[str] = []
        self._calls: dict[str, int] = {}
        self._counts: dict[str, int] = {}
        self._changes = Changes()
        self._weighted = 0
        self._escapes = Escapes(self._book, self._state)
        self._failed = "the network's forward pass"
        self._results = Results(self._book)

    def run(self, images: torch.Tensor | Inputs, read: Callable[[Any], object]) -> Record:
        """Run the network once and return the record.

        Args:
            images: the input with the images on its first axis, or several inputs.
            read: function that is called with the network's output, during the recording.

        Raises:
            ExcitationError: the network does something that cannot be recorded.
        """
        inputs = read_inputs(images)
        try:
            return self._recorded(inputs, read)
        except (ExcitationError, LateRootError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            if not runs_by_itself(self._model, inputs, read, self._state):
                raise
            raise not_while_recorded(self._failed, error) from error

    def _recorded(self, inputs: Inputs, read: Callable[[Any], object]) -> Record:
        refuse_modes()
        with ExitStack() as stack:
            stack.enter_context(as_written(self._state))
            stack.enter_context(hook(register_module_forward_pre_hook, self._enter))
            stack.enter_context(hook(register_module_forward_hook, self._leave, always_call=True))
            if self._roots is None:
                self._escapes.track()
            tensors = self._entered(inputs)
            with self:
                read(self._changes.resolve(inputs.run(self._model, tensors)))
            self._escapes.check_at_the_end()
        return self._record

    def _entered(self, inputs: Inputs) -> list[torch.Tensor]:
        """Return the network's inputs and enter them as the first values of the record."""
        kind = Kind.TRACKED if self._roots is None else Kind.OUTSIDE
        images = self._results.images = Origin(len(inputs.images), Role.IMAGE)
        tensors = []
        for name, tensor in inputs.tensors.items():
            # A new view, so that the caller's tensor is never mistaken for a constant of the model. Tensors of
            # inference mode do not count writes.
            tensors.append(tensor.clone() if tensor.is_inference() else tensor.detach().view_as(tensor))
            if not tensor.is_floating_point():  # tokens and other integers, which are not neurons
                self._book.add(tensors[-1], Kind.CONSTANT)
                continue
            value = self._book.add(tensors[-1], kind, layout=input_layout(tensor.shape, images), address=name)
            self._record.inputs.append(value)
            self._record.places[name] = Place(name, value, "input")
        self._record.images = self._record.inputs[0]
        return tensors

    def final(self, tensor: torch.Tensor, *, rules: bool = True) -> tuple[torch.Tensor, Value | None]:
        """Return a tensor of the network after all in-place changes, and its value.

        Args:
            tensor: the network's output, or a part of it.
            rules: whether a signal is propagated down from this tensor.

        Raises:
            UnsupportedOperationError: an operation without a rule lies between the beginning of the record and the
                tensor.
        """
        tensor = self._changes.resolve(tensor)
        value = self._found(tensor)
        if rules and value is not None and value.problem is not None:
            raise value.problem
        return tensor, value

    # Modules ---------------------------------------------------------------------------------------------------------

    def _enter(self, module: torch.nn.Module, _: object) -> None:
        if threading.get_ident() == self._thread:
            self._path.append(self._names.get(id(module), f"({type(module).__name__})"))

    def _leave(self, module: torch.nn.Module, _: object, output: object) -> None:
        if threading.get_ident() != self._thread:
            return
        name = self._path.pop()
        if isinstance(module, torch.jit.ScriptModule):
            self._escapes.scripted.append(name)
        if not name or id(module) not in self._names:
            return
        name = nth(self._calls, name)
        with torch._C.DisableTorchFunction():  # these reads are not operations of the network
            self._place(name, self._changes.resolve(output), "module")

    def _place(self, name: str, output: object, kind: str) -> None:
        found = tensor_list(output)
        value = self._found(found[0]) if len(found) == 1 else None
        problem = ""
        if len(found) != 1:
            problem = f"it returns {len(found)} tensors; choose an operation inside it"
        elif value is None:
            problem = "no recorded operation computed its output"
        elif value.kind is Kind.CONSTANT:
            problem = "its output does not depend on the images"
        self._record.places[name] = Place(name, value, kind, problem)
        if self._roots is not None and name in self._roots and value is not None and not problem:
            if value.kind is not Kind.TRACKED and value.used:
                raise LateRootError
            value.kind = Kind.TRACKED
            self._escapes.track()

    # Operations ------------------------------------------------------------------------------------------------------

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        how = function(func)
        try:
            return self._call(how, args, kwargs or {})
        except Exception:
            self._failed = self._where(how.name)
            raise

    def _call(self, how: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        changes = self._changes
        if changes:
            args, kwargs = changes.resolve(args), changes.resolve(kwargs)
        in_place = how.in_place
        if kwargs and kwargs.get("inplace"):
            kwargs = {**kwargs, "inplace": False}
            in_place = True
        if in_place:
            args, kwargs = moved_target(args, kwargs)
            if not args or not isinstance(args[0], torch.Tensor):
                raise several_in_place(self._where(how.name))
        tensors = tensor_list(args)
        if kwargs:
            tensors += tensor_list(kwargs)
        find, kind = self._book.entries.get, Kind.CONSTANT
        for tensor in tensors:
            entry = find(id(tensor))
            if entry is None or entry[0]() is not tensor:
                version = self._versions.get(id(tensor))
                if version is not None:  # most weights never need a value
                    if version >= 0 and tensor._version != version:
                        self._escapes.rewritten(tensor, None, self._where(how.name))
                    continue
                value = self._value(tensor, how)
            else:
                _, value, version = entry
                if version >= 0 and tensor._version != version:
                    self._escapes.rewritten(tensor, value, self._where(how.name))
            value.used = True
            if value.kind > kind:
                kind = value.kind
        if changes and (where := changes.behind(tensors)):
            raise other_view(self._where(how.name), where)
        if kind is Kind.CONSTANT:
            result = how.twin(*args, **kwargs)
            for tensor in tensor_list(result):
                if self._book.get(tensor) is None and id(tensor) not in self._versions:
                    self._book.add(tensor, Kind.CONSTANT, address=self._origin(tensors))
        else:
            result = self._information(how, args, kwargs, tensors, kind)
        if in_place and isinstance(result, torch.Tensor):
            return self._written(args[0], result, how)
        return result

    def _information(
        self, how: Function, args: tuple[Any, ...], kwargs: dict[str, Any], tensors: list[torch.Tensor], kind: Kind
    ) -> Any:
        """Run and record a call with tensors that depend on the images."""
        context = CallContext(how.name, self._path[-1] if self._path else "", self._book, self._in_training)
        refuse_dispatch_modes()
        if how.leaks and self._escapes.tracking:
            raise leak(context.where)
        if how.sets or (kwargs and kwargs.get("out") is not None):
            context.refuse("it writes into a tensor outside the recording.", "Use the form without `out` or `.data`.")
        empty = how.shape_only and not any(context.carries(tensor) for tensor in tensors[1:])
        if empty or (how.name in FIRST_ONLY and not context.carries(tensors[0])):
            result = how.twin(*args, **kwargs)
            self._book.add(result, Kind.CONSTANT)
            return result
        read, problem = self._read(how, context, args, kwargs)
        made = formula(self._book, how, args, kwargs) if how.name in POINTWISE and not how.foreign else None
        one = None
        if made is not None and (len(made.inputs) > 1 or how.reader is None):
            whole = None
            if isinstance(read, tuple) and isinstance(read[0], Sum):
                whole = read[0].bounds(made.inputs)
            one = as_one_function(made, whole)
            if one is not None and made.source.kind is kind:
                read, one = (one, (made.source,)), None
        if isinstance(read, Parts):
            result = how.twin(*args, **kwargs)
            if kind is Kind.TRACKED:
                self._by_parts(context, read, tensor_list(result))
                return result
            read = None
        elif read is not None and isinstance(read[0], Winner):
            result = read[0].perform(partial(how.twin, *args, **kwargs))
        else:
            result = how.twin(*args, **kwargs)
        results = tensor_list(result)
        if how.foreign:
            self._escapes.check(tensors, context.where)
        if not results:
            if self._escapes.tracking and tells_numbers(how, result):
                raise leak(context.where)
            return result
        if len(results) == 1 and any(results[0] is tensor for tensor in tensors):
            return result  # dropout in evaluation mode returns its input object
        if not any(tensor.is_floating_point() or tensor.is_complex() for tensor in results):
            read = None
            if kind is Kind.TRACKED:
                problem = self._earlier_problem(tensors) or problem or no_neurons(context.where, results)
            if all(tensor.dtype == torch.bool for tensor in results):
                context.bounds, context.gate = UNIT, True
        elif read is None and kind is Kind.TRACKED:
            problem = self._earlier_problem(tensors) or problem or no_rule(context.where, how.foreign)
        self._write(context, read, results, kind, problem if kind is Kind.TRACKED else None, tensors)
        if made is not None and len(results) == 1:
            note(self._book.get(results[0]), made, one)
        return result

    def _earlier_problem(self, tensors: list[torch.Tensor]) -> UnsupportedOperationError | None:
        """Return why an operation on complex or quantised numbers has no rule: the problem of the operation below."""
        special = [tensor for tensor in tensors if tensor.is_complex() or tensor.is_quantized]
        values = [value for tensor in special if (value := self._found(tensor)) is not None]
        first = min((v for v in values if v.problem is not None), key=lambda v: v.serial, default=None)
        return None if first is None else first.problem

    def _read(
        self, how: Function, context: CallContext, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Read | Parts | None, UnsupportedOperationError | None]:
        """Read the arguments of a call. Return the operation if there is a rule, else the reason."""
        if how.reader is None:
            return None, None
        try:
            return how.reader(context, *args, **kwargs), None
        except UnsupportedOperationError as error:
            return None, error
        except TypeError as error:
            return None, unread(context.where, how.reader, (context, *args), kwargs, error)

    def _by_parts(self, context: CallContext, parts: Parts, results: list[torch.Tensor]) -> None:
        """Record a call as its parts. The network uses the call's own results, which get the parts' values."""
        address = self._address(context)
        # The parts have their own path, so that they do not change the numbers of other operations.
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
        """Give this value to another tensor with the same numbers."""
        self._book.share(result, value)

    def _address(self, context: CallContext) -> str:
        """Return the address of a call: `module.path:operation`, with `#2` for the second of this name there."""
        return nth(self._counts, f"{context.path}:{context.name}")

    def _write(
        self,
        context: CallContext,
        read: Read | None,
        results: list[torch.Tensor],
        kind: Kind,
        problem: UnsupportedOperationError | None,
        tensors: Sequence[torch.Tensor],
    ) -> None:
        """Enter the values of the results, and the operation if it depends on a root."""
        address = self._address(context)
        bit = 0
        layouts: Sequence[Layout | None] = ()
        if read is not None:
            operation, operands = read
            inputs = tuple([self._operand(tensor) for tensor in operands])
            try:
                layouts = self._results.layouts(operation, inputs, results)
            except MixedImagesError:
                read = None
                problem = refusal(context.where) if kind is Kind.TRACKED else None
        if read is None:
            operation = Opaque(scale=None)
            inputs = tuple([context.value(tensor) for tensor in tensors if context.carries(tensor)])
            outputs = self._results.without_rule(context, tensors, results, kind, address, problem)
        else:
            if operation.weighted:
                bit = 1 << self._weighted
                self._weighted += 1
            outputs = self._results.of(operation, inputs, results, layouts, kind, address, bit)
        if kind is Kind.TRACKED:
            entry = Entry(context.name, address, operation, inputs, tuple(outputs), bit)
            self._record.entries.append(entry)
        if len(outputs) == 1 or (read is not None and not isinstance(read[0], Arrangement)):
            self._record.places[address] = Place(address, outputs[0], "operation")
            if self._roots is not None and address in self._roots:
                outputs[0].kind = Kind.TRACKED
                self._escapes.track()
        else:
            several = f"it returns {len(outputs)} tensors"
            self._record.places[address] = Place(address, None, "operation", several)

    def _operand(self, tensor: torch.Tensor | Value) -> Value:
        if isinstance(tensor, Value):
            return tensor
        value = self._found(tensor)
        assert value is not None
        if value.kind is Kind.CONSTANT and value.bounds is UNBOUNDED and bool((tensor >= 0).all()):
            value.bounds = NONNEGATIVE
        return value

    # Identity of tensors ---------------------------------------------------------------------------------------------

    def _found(self, tensor: torch.Tensor) -> Value | None:
        """Return the value of a constant or of a recorded result; `None` for a tensor of unknown origin."""
        value = self._book.get(tensor)
        if value is None and id(tensor) in self._versions:
            value = self._book.add(tensor, Kind.CONSTANT, address=self._origin([tensor]))
        return value

    def _origin(self, tensors: Sequence[torch.Tensor]) -> str:
        """Return the name of the first parameter or buffer that a constant was made from; empty if there is none."""
        for tensor in tensors:
            value = self._book.get(tensor)
            name = self._state.parameters.get(id(tensor), "") if value is None else value.address
            if name:
                return name
        return ""

    def _value(self, tensor: torch.Tensor, how: Function) -> Value:
        """Enter a tensor that is neither a recorded result nor a constant of the network."""
        if self._state.named_late(tensor):
            return self._book.add(tensor, Kind.CONSTANT)
        if not self._escapes.tracking:
            return self._book.add(tensor, Kind.OUTSIDE)
        raise self._escapes.unknown(tensor, self._where(how.name))

    def _in_training(self) -> bool:
        """Whether the current module is in training mode."""
        name = self._path[-1] if self._path else ""
        names = self._names
        return next((module for module in self._model.modules() if names.get(id(module)) == name), self._model).training

    def _where(self, name: str) -> str:
        return place_of(name, self._path[-1] if self._path else "")

    def _written(self, old: torch.Tensor, new: torch.Tensor, how: Function) -> torch.Tensor:
        """Return the tensor that replaces a tensor changed in place. If it is a view, its base is replaced too.

        The new values are scattered into a new base, and the result is a view of the new base, so that a second write
        also reaches the base. Other views still have the old values. Their use is refused.
        """
        if new is old:
            return new
        where = self._where(how.name)
        base = old._base if old.layout is torch.strided else None
        whole = base is None or self._found(base) is None or not is_dense(base) or new.dtype != old.dtype
        if whole or new.shape != old.shape:
            self._changes.redirect(old, new, where)
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
        self._changes.redirect(base, changed, where)
        self._changes.redirect(old, view, where)
        return view
