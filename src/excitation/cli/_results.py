"""The result files of `explain` and `compare` for each picture, and how a later run finds them."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from .._errors import ExcitationError
from .._files import whole_file
from ..core import Explanation, Frame
from ..core._figures import empty_maps
from ..explainers import processed

MAX_UNPACKED = 1 << 32
"""Bytes of all arrays of a result: 4 GB, for example 1000 maps of 1000 x 1000 positions."""


class ResultError(ExcitationError):
    """The results of this run cannot be written to the folder, or a file contains no results."""


@dataclass(frozen=True)
class Result:
    """The maps of one picture, as stored in its NPZ file under the fields' names.

    Attributes:
        maps: raw maps (mass) in the size of the layer, `(target, height, width)`.
        targets: the target of each map, as given: class index or name.
        names: readable names of the targets.
        scores: the network's score of each target.
        masses: sum of each map.
        empty: whether a map has almost no mass, so that its shape is meaningless.
        peaks: `(x, y)` of the largest value of each map, in pixels of the picture; `(-1, -1)` for constant maps.
        layer: layer of the maps.
        method: name of the method.
        top: mass of the signal of each target; `None` for methods without mass.
        box: the part of the picture that the maps cover, `(x0, y0, x1, y1)` in pixels.
        picture_size: `(height, width)` of the picture.
        configuration: all settings that the maps depend on. A run with other settings does not use these maps.
        seconds: total time of all maps; `None` if it was not measured.
    """

    maps: Float[np.ndarray, "target height width"]
    targets: tuple[str, ...]
    names: tuple[str, ...]
    scores: Float[np.ndarray, " target"]
    masses: Float[np.ndarray, " target"]
    peaks: Int[np.ndarray, "target 2"]
    empty: Bool[np.ndarray, " target"]
    layer: str
    box: tuple[float, ...]
    picture_size: tuple[int, ...]
    configuration: Mapping[str, object]
    method: str
    top: Float[np.ndarray, " target"] | None = None
    seconds: float | None = None

    @classmethod
    def of(cls, explanation: Explanation, targets: Sequence[str], job: Job, *, seconds: float | None = None) -> Result:
        """The result of a picture.

        Args:
            explanation: the explanation of one image at one layer.
            targets: the targets as given.
            job: the picture and the configuration.
            seconds: run time.
        """
        (maps,) = explanation.per_image()
        names = explanation.targets[0]
        height, width = explanation.frames[0].size
        values = maps.detach().cpu().numpy()
        return cls(
            maps=values,
            targets=tuple(targets) if len(targets) == len(names) else names,
            names=names,
            scores=explanation.scores[0].detach().cpu().numpy(),
            masses=values.sum((1, 2), dtype=np.float64),
            peaks=processed(explanation).peaks()[0].numpy(),
            empty=np.array(empty_maps(explanation)[0]),
            layer=explanation.layer,
            box=explanation.frames[0].box or (0.0, 0.0, float(width), float(height)),
            picture_size=(height, width),
            configuration=job.configuration,
            method=explanation.method,
            top=None if explanation.top is None else explanation.top[0].detach().cpu().numpy(),
            seconds=seconds,
        )

    def explanation(self, picture: Path) -> Explanation:
        """The explanation, as far as figures need it.

        Args:
            picture: the file that was explained.
        """
        height, width = self.picture_size
        x0, y0, x1, y1 = self.box
        whole = (x0, y0, x1, y1) == (0, 0, width, height)
        return Explanation(
            by_layer={self.layer: torch.from_numpy(self.maps)[None]},
            targets=(self.names,),
            scores=torch.from_numpy(self.scores)[None],
            method=self.method,
            frames=(Frame((height, width), None if whole else (x0, y0, x1, y1)),),
            top=None if self.top is None else torch.from_numpy(self.top)[None],
            pictures=(picture,),
        )

    def save(self, path: Path) -> None:
        """Write the NPZ file atomically."""
        arrays = {
            "maps": self.maps,
            "targets": np.array(self.targets, dtype=np.str_),
            "names": np.array(self.names, dtype=np.str_),
            "scores": self.scores,
            "masses": self.masses,
            "peaks": self.peaks,
            "empty": self.empty,
            "layer": np.array(self.layer),
            "box": np.array(self.box),
            "picture_size": np.array(self.picture_size),
            "configuration": np.array(json.dumps(self.configuration, sort_keys=True)),
            "method": np.array(self.method),
            **({} if self.top is None else {"top": self.top}),
            **({} if self.seconds is None else {"seconds": np.array(self.seconds)}),
        }
        with whole_file(path) as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> Result:
        """Read the NPZ file.

        Raises:
            ResultError: the file is not a file of results.
        """
        with _opened(path) as stored:
            return cls(
                maps=stored["maps"],
                targets=tuple(map(str, stored["targets"])),
                names=tuple(map(str, stored["names"])),
                scores=stored["scores"],
                masses=stored["masses"],
                peaks=stored["peaks"],
                empty=stored["empty"],
                layer=str(stored["layer"]),
                box=tuple(stored["box"].tolist()),
                picture_size=tuple(stored["picture_size"].tolist()),
                configuration=json.loads(str(stored["configuration"])),
                method=str(stored["method"]),
                top=stored.get("top"),
                seconds=float(stored["seconds"]) if "seconds" in stored else None,
            )

    def rows(self) -> list[tuple[float, tuple[int, int] | None, float]]:
        """Return score, peak (`None` for constant maps) and mass of each target."""
        peaks = [None if x < 0 else (int(x), int(y)) for x, y in self.peaks]
        return list(zip(self.scores.tolist(), peaks, self.masses.tolist(), strict=True))

    def lines(self, job: Job, as_json: bool) -> list[str]:
        """Return one line per target, as text or JSON."""
        rows = self.rows()
        if not as_json:
            return [
                # Adding zero turns -0.0 into 0.0.
                f"{job.picture}: {name}: score {score:.4g}, {peak_in_words(peak)}"
                f"{'' if self.top is None else f', mass {round(mass, 4) + 0.0:.4f}'}{', empty' if empty else ''}"
                for name, (score, peak, mass), empty in zip(self.names, rows, self.empty.tolist(), strict=True)
            ]
        files = {"figure": None if job.figure is None else str(job.figure), "maps": str(job.maps)}
        return [
            json.dumps(
                {"image": str(job.picture), "target": self.targets[i], "name": self.names[i], "score": score,
                 "peak": peak, "mass": mass, "empty": bool(self.empty[i]), "layer": self.layer, **files, "index": i}
            )
            for i, (score, peak, mass) in enumerate(rows)
        ]  # fmt: skip


def peak_in_words(peak: tuple[int, int] | None) -> str:
    """Describe a peak in text."""
    return "no peak" if peak is None else f"peak {peak}"


@dataclass(frozen=True)
class Job:
    """One picture to explain.

    Attributes:
        picture: file of the picture.
        figure: file of the figure; `None` for no figure.
        maps: file of the raw maps. It is written last, so that a job with both files is finished.
        configuration: all settings that the maps depend on.
    """

    picture: Path
    figure: Path | None
    maps: Path
    configuration: Mapping[str, object]

    def finished(self) -> bool:
        """Whether an earlier run with the same configuration finished this picture.

        Raises:
            ResultError: an earlier run with another configuration did.
        """
        return self.known() and (self.figure is None or self.figure.exists())

    def known(self) -> bool:
        """Whether an earlier run with the same configuration left its maps.

        Raises:
            ResultError: an earlier run with another configuration did.
        """
        if not self.maps.exists():
            return False
        before = read_configuration(self.maps)
        for name, value in self.configuration.items():
            if before.get(name) != value:
                raise ResultError(
                    f"{self.maps} was made with {name} {_shown(before.get(name))}, but this run has {_shown(value)};"
                    " choose another --out, or delete the file."
                )
        return True


def read_configuration(path: Path) -> Mapping[str, object]:
    """The configuration in a result's NPZ file, without its maps.

    Raises:
        ResultError: the file is something else.
    """
    with _opened(path) as stored:
        found = json.loads(str(stored["configuration"]))
        return dict(found)


def _check_size(stored: np.lib.npyio.NpzFile, path: Path) -> None:
    archive = stored.zip
    assert archive is not None  # it is open
    if sum(part.file_size for part in archive.infolist()) > MAX_UNPACKED:
        raise ResultError(f"{path} unpacks to more than {MAX_UNPACKED} bytes; choose another --out.")


@contextmanager
def _opened(path: Path) -> Iterator[np.lib.npyio.NpzFile]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            _check_size(stored, path)
            yield stored
    except ResultError:
        raise
    except (ValueError, KeyError, TypeError, EOFError, MemoryError, RecursionError, zipfile.BadZipFile) as error:
        raise ResultError(f"{path} is no result of `excitation explain` or `compare`; choose another --out.") from error


def make_jobs(
    pictures: Mapping[Path, Path], out: Path, configuration: Mapping[str, object], figures: str = "png"
) -> list[Job]:
    """Return the jobs of pictures.

    Args:
        pictures: the pictures and their names. The results of a picture are `NAME.png` and `NAME.npz` in `out`.
        out: folder for the results.
        configuration: all settings that the maps depend on, except the picture.
        figures: ending of the figures, or `"none"`.

    Raises:
        ResultError: two pictures have the same name, a result would replace a picture, or `out` is a file.
    """
    if out.exists() and not out.is_dir():
        raise ResultError(f"--out {out} is a file; give a folder.")
    names: dict[str, Path] = {}
    originals = {picture.resolve() for picture in pictures}
    jobs = []
    for picture, name in pictures.items():
        # Without regard to case, since not all file systems have it.
        other = names.setdefault(str(name).casefold(), picture)
        figure, maps = (out / name.with_name(f"{name.name}.{ending}") for ending in (figures, "npz"))
        if other != picture:
            raise ResultError(
                f"{other} and {picture} would both be written to {figure}; explain them separately, with another --out."
            )
        if figure.resolve() in originals:
            raise ResultError(f"the figure of {picture} would replace the picture {figure}; choose another --out.")
        jobs.append(
            Job(picture, None if figures == "none" else figure, maps, {**configuration, "picture": digest(picture)})
        )
    return jobs


def digest(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal.

    Raises:
        ResultError: it is not a plain file. A named pipe would block.
        OSError: the file cannot be read.
    """
    if path.exists() and not path.is_file():
        raise ResultError(f"{path} is not a plain file; give a file.")
    with path.open("rb") as file:
        state = hashlib.sha256()
        while block := file.read(1 << 20):
            state.update(block)
        return state.hexdigest()


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
