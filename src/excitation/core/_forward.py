"""One recorded forward pass, from validated images to validated scores."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from .._checks import check_model, check_names
from .._errors import ExcitationError
from ..engine import (
    Images,
    Inputs,
    Kind,
    LateRootError,
    Record,
    Recorder,
    images_axis,
    mark,
    read_inputs,
    tensors_in,
)

WRONG_CHANNELS = re.compile(r"to have (\d+) channels, but got (\d+) channels")
"""Part of PyTorch's error message for a convolution input with the wrong number of channels."""

DETECTOR = (
    " The model is a detector: it crops and selects boxes, and no rule can pass a signal through that. Explain its"
    " backbone with a classifier on top, as a module of its own that returns (image, classes)."
)

OutputChoice = Callable[[Any], torch.Tensor] | str | int | None
"""Which part of the network output holds the class scores: a key or attribute, an index, or a function."""


def forward(
    model: torch.nn.Module,
    images: Images | Inputs,
    roots: Sequence[str] | None,
    output: OutputChoice = None,
    constants: Sequence[str] = (),
    *,
    check: bool = True,
    rules: bool = True,
) -> Record:
    """Record the forward pass of a network on a batch of images.

    Args:
        model: the network, in evaluation mode.
        images: `(image, channel, *space)`, floating point; a tuple or dictionary of tensors for several inputs.
        roots: layers at which the record starts; `None` records the full pass.
        output: which part of the network output holds the class scores.
        constants: names of constant tensors that are neither parameters nor buffers.
        check: whether to check that the scores are finite. Pass `False` to check scores and maps together later,
            which synchronises with the device only once.
        rules: whether the record is used for sweeps. Every operation then needs a rule.

    Returns:
        The record, with `top` and `scores` set.

    Raises:
        ExcitationError: the images or the network output are invalid.
    """
    check_model(model)
    inputs = read_inputs(images)
    for tensor in inputs.tensors.values():
        if len(inputs.tensors) == 1 or (tensor.is_floating_point() and tensor.dim() > 2):
            check_images(model, tensor)
    images = inputs.images
    constants = check_names("constants", constants)
    outputs: list[torch.Tensor] = []
    count = len(images)

    def network(recorder: Recorder) -> Record:
        try:
            return recorder.run(inputs, lambda result: outputs.append(pick_scores(result, count, output)))
        except ExcitationError as error:
            if any(kind.__module__.startswith("torchvision.models.detection") for kind in type(model).__mro__):
                raise type(error)(f"{error}{DETECTOR}") from error
            raise
        except NotImplementedError as error:
            if images.dtype not in {torch.bfloat16, torch.float16}:
                raise
            raise ExcitationError(
                f"the network cannot run in {images.dtype} on {images.device.type!r} ({error}); run it in"
                " torch.float32, or under torch.autocast."
            ) from error
        except (ValueError, RuntimeError, IndexError, TypeError) as error:
            if channels := WRONG_CHANNELS.search(str(error)):
                raise ExcitationError(
                    f"images have shape {tuple(images.shape)}, with which the network fails: a convolution met"
                    f" {channels[2]} channels where its weights have {channels[1]}; (image, channel, height, width)"
                    " with the network's own number of channels is expected (a grey picture is repeated three times)."
                ) from error
            if images.dim() != 3:
                raise
            raise ExcitationError(
                f"images have shape {tuple(images.shape)}, with which the network fails ({error}); if this is one"
                " picture, add the image dimension with images[None]."
            ) from error

    recorder, whole = Recorder(model, roots, constants), False
    try:
        record = network(recorder)
    except LateRootError:
        outputs.clear()
        recorder, whole = Recorder(model, None, constants), True
        record = network(recorder)
    scores, value = recorder.final(outputs[-1], rules=rules)
    if value is None:
        raise ExcitationError(
            "no recorded operation computed the class scores (a script module, NumPy, or a wrapped tensor"
            " did); compute them with plain torch operations."
        )
    if value.layout is not None and images_axis(value.layout) not in {0, None}:
        raise ExcitationError(
            f"the class scores have the shape {tuple(scores.shape)}, in which the images are not on the first axis;"
            " (image, classes) is expected: pick or transpose them with `output=`."
        )
    ran = [record.places[name] for name in roots or () if name in record.places]
    if value.kind is not Kind.TRACKED and any(not place.problem for place in ran):
        names = ", ".join(repr(place.name) for place in ran)
        raise ExcitationError(f"the class scores do not depend on layer {names}; choose another layer.")
    if check:
        check_finite(scores)
    record.top, record.scores = value, scores
    if mark(record) and not whole and roots is not None:
        # The terms of a sum can depend on operations below the chosen layer, so the full pass is recorded.
        outputs.clear()
        recorder = Recorder(model, None, constants)
        record = network(recorder)
        record.scores, record.top = recorder.final(outputs[-1], rules=False)
        mark(record)
    return record


def check_finite(
    scores: torch.Tensor, maps: Mapping[str, torch.Tensor] | None = None, questions: Sequence[torch.Tensor] = ()
) -> list[bool]:
    """Raise an error if scores or maps are not finite. All checks share one synchronisation with the device.

    Args:
        scores: scores of all classes.
        maps: maps by layer name.
        questions: additional boolean scalar tensors to read in the same synchronisation.

    Returns:
        The values of `questions`.

    Raises:
        ExcitationError: some scores or maps are not finite; the message names them.
    """
    maps = maps or {}
    answers = [torch.isfinite(tensor).all() for tensor in (scores, *maps.values())]
    known, *fine = torch.stack([answer.to(scores.device) for answer in (*answers, *questions)]).tolist()
    if not known:
        finite = torch.isfinite(scores).flatten(1).all(1)
        bad = ", ".join(str(i) for i in (~finite).nonzero().flatten().tolist())
        raise ExcitationError(
            f"the network's scores are NaN or infinite for image {bad} of the batch; check the image and the weights."
        )
    for (name, attention), answer in zip(maps.items(), fine, strict=False):
        if not answer:
            raise ExcitationError(
                f"the map at layer {name!r} is not finite: an activation above it is NaN, infinite or too large for"
                f" {str(attention.dtype).removeprefix('torch.')}."
            )
    return fine[len(maps) :]


def pick_scores(result: object, images: int, output: OutputChoice = None) -> torch.Tensor:
    """Select the class scores from the network output.

    Raises:
        ExcitationError: the class scores cannot be identified among several tensors, or have no class dimension.
    """
    picked = result
    if callable(output):
        picked = output(result)
    elif output is not None:
        picked = _part(result, output)
    elif not isinstance(result, torch.Tensor):
        picked = _only_scores(result, images)
    if not isinstance(picked, torch.Tensor) or not picked.is_floating_point():
        kind = picked.dtype if isinstance(picked, torch.Tensor) else type(picked).__name__
        raise ExcitationError(f"the class scores should be a tensor of floating-point numbers, not {kind}.")
    if picked.dim() == 1 and len(picked) == images:
        raise ExcitationError(
            f"the class scores have shape {tuple(picked.shape)}, one number for each image; (image, classes) is"
            " expected: give output=lambda y: y[:, None] for a single class, 0."
        )
    if picked.dim() < 2 or picked.shape[0] != images or 0 in picked.shape:
        raise ExcitationError(
            f"the class scores have shape {tuple(picked.shape)}; ({images}, classes) or ({images}, classes, height,"
            " width) expected."
        )
    return picked


def _part(result: Any, output: str | int) -> object:
    try:
        if isinstance(output, str) and not isinstance(result, Mapping):
            return getattr(result, output)
        return result[output]
    except (KeyError, IndexError, AttributeError, TypeError):
        raise ExcitationError(f"the network's output has no part {output!r}; {_parts(result)}.") from None


def _only_scores(result: object, images: int) -> torch.Tensor:
    for name in ("logits", "scores"):
        part = result.get(name) if isinstance(result, Mapping) else getattr(result, name, None)
        if isinstance(part, torch.Tensor):
            return part
    inside = vars(result) if dataclasses.is_dataclass(result) and not isinstance(result, type) else result
    candidates = [t for t in tensors_in(inside) if t.is_floating_point() and t.dim() >= 2 and t.shape[0] == images]
    # Detectors return a list of dictionaries, one per image; a single detection has boxes of shape (1, 4).
    by_image = isinstance(result, (tuple, list)) and any(isinstance(item, Mapping) for item in result)
    if len(candidates) == 1 and not by_image:
        return candidates[0]
    raise ExcitationError(
        f"it is not known which part of the network's output holds the class scores: {_parts(result)}."
        f" Select it with `output=`:"
        " a key, an index, or a function."
    )


def _parts(result: object) -> str:
    if isinstance(result, Mapping):
        return f"it has the keys {', '.join(repr(key) for key in result)}"
    if isinstance(result, (tuple, list)):
        return f"it is a {type(result).__name__} of {len(result)}"
    return f"it is a {type(result).__name__}"


def one_tensor(images: object) -> torch.Tensor:
    """Return the images as one tensor.

    Raises:
        ExcitationError: the network has several inputs.
    """
    if isinstance(images, (tuple, Mapping)):
        raise ExcitationError(
            "images are several tensors, but only mwp, c-mwp, r-mwp, balance and list_layers accept several;"
            " give one tensor, for example through a module that stores the other inputs."
        )
    if not isinstance(images, torch.Tensor):
        raise ExcitationError(
            f"images are a {type(images).__name__}; a tensor (image, channel, height, width) is expected."
        )
    return images


def check_images(model: torch.nn.Module, images: object) -> None:
    """Check the images before the network runs, where errors would be harder to understand."""
    images = read_inputs(one_tensor(images)).images
    if images.dim() < 3:
        raise ExcitationError(
            f"images have shape {tuple(images.shape)}; (image, channel, height, width) is expected: add the image"
            " dimension with images[None]."
        )
    if 0 in images.shape:
        raise ExcitationError(f"images have shape {tuple(images.shape)}: the batch is empty; give at least one image.")
    parameter = next((p for p in model.parameters() if p.is_floating_point()), None)
    if parameter is None:
        return
    if parameter.device != images.device:
        raise ExcitationError(
            f"images are on {images.device}, the model on {parameter.device};"
            f" move one: images.to({str(parameter.device)!r})."
        )
    if parameter.dtype != images.dtype and not torch.is_autocast_enabled(images.device.type):
        raise ExcitationError(
            f"images are {images.dtype}, the model's parameters {parameter.dtype};"
            f" convert one: images.to({parameter.dtype})."
        )
