"""The result files of `explain` and `compare` for each picture, and how a later run recognises them."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from .._errors import ExcitationError
from .._files import whole_file

MAX_UNPACKED = 1 << 32
"""Bytes of all arrays of a result: 4 GB, the maps of a thousand classes at a thousand by a thousand pixels."""


class ResultError(ExcitationError):
    """The results of this run cannot be written to the folder."""


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
    seconds: float | None = None

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
                f"{job.picture}: {name}: score {score:.4g}, {peak_in_words(peak)}, mass {round(mass, 4) + 0.0:.4f}"
                f"{', empty' if empty else ''}"
                for name, (score, peak, mass), empty in zip(self.names, rows, self.empty.tolist(), strict=True)
            ]
        files = {"figure": str(job.figure), "maps": str(job.maps)}
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
        figure: file of the figure.
        maps: file of the raw maps. It is written last, so that a job with both files is finished.
        configuration: all settings that the maps depend on.
    """

    picture: Path
    figure: Path
    maps: Path
    configuration: Mapping[str, object]

    def finished(self) -> bool:
        """Whether an earlier run with the same configuration finished this picture.

        Raises:
            ResultError: an earlier run with another configuration did.
        """
        return self.known() and self.figure.exists()

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
                    f"{self.maps} was made with {name} {_shown(before.get(name))}, this run has {_shown(value)};"
                    " choose another --out, or delete it."
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


def make_jobs(pictures: Mapping[Path, Path], out: Path, configuration: Mapping[str, object]) -> list[Job]:
    """What is to be made of pictures.

    Args:
        pictures: with the name of each, below which its results lie in `out`: `NAME.png` and `NAME.npz`.
        out: the folder of results.
        configuration: all that the maps depend on besides the picture.

    Raises:
        ResultError: two pictures would share a name, a result would take a picture's place, or the folder of results
            is a file.
    """
    if out.exists() and not out.is_dir():
        raise ResultError(f"--out {out} is a file; give a folder.")
    names: dict[str, Path] = {}
    originals = {picture.resolve() for picture in pictures}
    jobs = []
    for picture, name in pictures.items():
        # Without regard to case, since not all file systems have it.
        other = names.setdefault(str(name).casefold(), picture)
        figure, maps = (out / name.with_name(f"{name.name}{ending}") for ending in (".png", ".npz"))
        if other != picture:
            raise ResultError(
                f"{other} and {picture} would both be written to {figure}; run them apart, with another --out each."
            )
        if figure.resolve() in originals:
            raise ResultError(f"the figure of {picture} would be written over a picture, {figure}; use another --out.")
        jobs.append(Job(picture, figure, maps, {**configuration, "picture": digest(picture)}))
    return jobs


def digest(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        state = hashlib.sha256()
        while block := file.read(1 << 20):
            state.update(block)
        return state.hexdigest()


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
