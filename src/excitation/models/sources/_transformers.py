"""Image classifiers of Transformers: `hf:REPO_OR_FOLDER`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from .._loaded import FILTERS, LoadedModel, ModelError, Preprocessing
from ._requirements import missing, needed
from ._weights import last_weighted

FORM = "hf:REPO_OR_FOLDER"
FILES = ("config.json", "preprocessor_config.json", "model.safetensors")
SQUASHED_FROM = 384
"""Image size in pixels from which ConvNeXt's preprocessing squashes instead of cropping the centre."""


def load_transformers(rest: str) -> LoadedModel:
    """Load an image classifier of Transformers. Requires the extra `hf`.

    Args:
        rest: a folder with `config.json`, `preprocessor_config.json` and safetensors, or a repository of the Hugging
            Face hub, which is downloaded to its cache if needed. Only safetensors are read, and no code of a repository
            runs.

    Returns:
        The model, with preprocessing from `preprocessor_config.json` and class names from `config.json`, unless these
        are only numbered.

    Raises:
        ModelError: Transformers is missing; an unknown folder or repository; not an image classifier; no safetensors.
    """
    transformers = needed("transformers", "hf")
    if not rest:
        raise ModelError(f"model 'hf:' does not name a repository or folder; expected {FORM}.")
    _check_folder(rest)
    try:
        model = transformers.AutoModelForImageClassification.from_pretrained(
            rest,
            use_safetensors=True,
            trust_remote_code=False,
            # A config.json can name a repository of compiled attention kernels, which would be downloaded and run.
            attn_implementation="eager",
        )
    except ImportError as error:  # Transformers imports an architecture on first use
        raise missing("transformers", "hf", error) from error
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"Transformers cannot load {rest!r} as an image classifier: {' '.join(str(error).split())[:300]}"
        ) from error
    return LoadedModel(
        model.eval(),
        f"hf:{rest}",
        _read_preprocessing(transformers, rest),
        _class_names(model.config.id2label),
        output="logits",
        classifier_layer=last_weighted(model),
    )


def transformers_files(rest: str) -> list[Path]:
    """The files of a folder, or of the hub's cached copy of a repository if present."""
    folder = Path(rest)
    if folder.is_dir():
        return sorted(path for path in folder.iterdir() if path.suffix in {".json", ".safetensors"})
    _check_folder(rest)
    cached = needed("huggingface_hub", "hf").try_to_load_from_cache
    return [Path(file) for name in FILES if isinstance(file := cached(rest, name), str)]


def _check_folder(rest: str) -> None:
    """Check that a folder exists: the hub's error for a missing path reports an invalid repository name."""
    if rest.startswith((".", "/", "~")) and not Path(rest).is_dir():
        raise ModelError(f"there is no folder {rest!r}; expected {FORM}.")


def _class_names(names: Mapping[int, str]) -> tuple[str, ...] | None:
    ordered = tuple(names[index] for index in sorted(names))
    return None if all(name == f"LABEL_{index}" for index, name in enumerate(ordered)) else ordered


def _read_preprocessing(transformers: Any, rest: str) -> Preprocessing:
    reader = transformers.image_processing_utils.BaseImageProcessor
    try:
        config, _ = reader.get_image_processor_dict(rest)
    except OSError as error:
        raise ModelError(
            f"{rest!r} has no preprocessor_config.json, which says how its pictures are prepared:"
            f" {' '.join(str(error).split())[:200]}"
        ) from error
    return preprocessing_from(config)


def preprocessing_from(config: Mapping[str, Any]) -> Preprocessing:
    """Convert the content of a `preprocessor_config.json` to `Preprocessing`.

    Args:
        config: the content. `size` is a number, or contains `shortest_edge`, or `height` and `width`. `crop_pct` is
            ConvNeXt's option for a larger picture with a centre crop.

    Raises:
        ModelError: the configuration uses a feature that `Preprocessing` does not have.
    """
    size, crop = config.get("size", 224), config.get("crop_size")
    resize: Literal["shortest", "squash", "crop"] = "squash"
    resize_to: int | None = None
    if isinstance(size, Mapping) and {"height", "width"} <= size.keys():
        target = (int(size["height"]), int(size["width"]))
    else:
        edge = int(size["shortest_edge"] if isinstance(size, Mapping) else size)
        target = (edge, edge)
        if config.get("crop_pct") is not None:
            if edge < SQUASHED_FROM:
                resize, resize_to = "crop", int(edge / config["crop_pct"])
        else:
            resize, resize_to = ("crop" if config.get("do_center_crop") else "shortest"), edge
    if config.get("do_center_crop") and config.get("crop_pct") is None:
        cut = _cut(crop, target)
        if resize == "squash" and cut != target:
            raise ModelError(f"preprocessing that squashes to {target} and then cuts out {cut} is not supported.")
        target = cut
    normal = config.get("do_normalize", True)
    return Preprocessing(
        size=target, resize=resize, resize_to=resize_to,
        scale=float(config.get("rescale_factor", 1 / 255)) if config.get("do_rescale", True) else 1.0,
        mean=tuple(config["image_mean"]) if normal else (0.0, 0.0, 0.0),
        std=tuple(config["image_std"]) if normal else (1.0, 1.0, 1.0),
        interpolation=_filter(config.get("resample", Image.Resampling.BILINEAR)),
    )  # fmt: skip


def _cut(crop: Any, target: tuple[int, int]) -> tuple[int, int]:
    if crop is None:
        return target
    return (int(crop["height"]), int(crop["width"])) if isinstance(crop, Mapping) else (int(crop), int(crop))


def _filter(resample: int) -> Literal["bilinear", "bicubic", "lanczos"]:
    for name, known in FILTERS.items():
        if known == resample:
            return name  # type: ignore[return-value]
    raise ModelError(f"resampling filter {resample} is not supported; one of {', '.join(FILTERS)} is expected.")
