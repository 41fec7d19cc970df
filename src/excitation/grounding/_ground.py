"""Attention maps and boxes of phrases in one picture: one forward pass and one sweep for all words (Sec. 4.3)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from .._checks import check_choice, check_instance, check_names, check_number
from .._errors import ExcitationError
from .._maps import enlarge_map
from ..core import Explanation, Layer, Picture, read_pictures
from ..evaluation._setup import shortest_side
from ..explainers import Explainer
from ..models import LoadedModel
from ._chunks import Caption
from ._generators import superpixel_proposals
from ._proposals import Proposals
from ._rescoring import Detections, check_gamma, rescore
from ._words import FUSIONS, Coverage, Dictionary, Fusion, KnownWord, Lookup, coverage, fuse_maps, unknown_words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LONGEST = 500
"""Longest side in pixels at which proposals are computed. Boxes are scaled to the full picture."""

MOST_PHRASES = 200
"""Maximum number of phrases of one picture."""

WITH_MASS = ("mean", "noun-weighted")
"""Fusions that are weighted means, so that the fused map is a probability mass."""


@dataclass(frozen=True)
class GroundedPhrase:
    """The words of one phrase.

    Attributes:
        text: the phrase as given.
        words: its words.
        known: the words with maps, in order.
        names: for each of these, the name of its class or class group.
        rows: for each of these, the row of its map in `Grounding.words`.
        skipped: the words that the classifier does not know, in order.
    """

    text: str
    words: tuple[str, ...]
    known: tuple[KnownWord, ...]
    names: tuple[str, ...]
    rows: tuple[int, ...]
    skipped: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Grounding:
    """Attention maps and boxes of phrases in one picture, the result of `ground`.

    Attributes:
        phrases: the words of each phrase.
        words: the explanation of all known words, each once; targets are classes.
        explanation: the explanation of the phrases with at least one known word; targets are phrases.
        coverage: how many words the classifier knows, and the words that were skipped.
        fusion: name of the fusion of word maps.
        gamma: exponent of the area in the scores of proposals.
        picture: the picture.
        given: the proposals that were given; `None` for merged superpixels.
    """

    phrases: tuple[GroundedPhrase, ...]
    words: Explanation
    explanation: Explanation
    coverage: Coverage
    fusion: Fusion
    gamma: float
    picture: Image.Image
    given: Proposals | None = None

    @property
    def maps(self) -> Float[torch.Tensor, "phrase height width"]:
        """The map of each phrase at the layer, `(phrase, height, width)`; zero for a phrase without a known word."""
        found = self.explanation.maps[0]
        return self._for_all(found, found.new_zeros(found.shape[1:]))

    def at_picture(self, size: tuple[int, int] | None = None) -> Float[torch.Tensor, "phrase height width"]:
        """The maps resized by bicubic interpolation, so that they show the full picture; zero outside its crop.

        Args:
            size: `(height, width)` in pixels; that of the picture if not given.
        """
        whole = (self.picture.height, self.picture.width) if size is None else size
        return torch.stack([fit_map(attention.cpu(), self.explanation, whole) for attention in self.maps.detach()])

    @property
    def scores(self) -> Float[torch.Tensor, " phrase"]:
        """The mean class score of the known words of each phrase; NaN for a phrase without a known word.

        Scores, not maps, say whether a phrase is present. Of a tagger with a sigmoid per class, scores before the
        sigmoid are above 0 for a probability above 0.5. Of a classifier with softmax, compare a score with that of the
        same phrase in other pictures.
        """
        found = self.explanation.scores[0]
        return self._for_all(found, found.new_full((), torch.nan))

    @cached_property
    def proposals(self) -> Proposals:
        """The region proposals: those given, else merged superpixels of the picture (`superpixel_proposals`).

        Raises:
            ProposalError: scikit-image is missing (extra `grounding`).
        """
        if self.given is not None:
            return self.given
        share = min(1.0, LONGEST / max(self.picture.size))
        width, height = (max(1, round(side * share)) for side in self.picture.size)
        return superpixel_proposals(np.array(self.picture.resize((width, height), Image.Resampling.BOX)))

    @cached_property
    def detections(self) -> list[Detections]:
        """Ranked boxes of each phrase in pixels of the picture; none for a phrase without a known word.

        Raises:
            ProposalError: scikit-image is missing, and no proposals were given.
        """
        proposals = self.proposals
        maps = self.at_picture(proposals.size)[[bool(phrase.known) for phrase in self.phrases]]
        ranked = iter(rescore(maps, proposals, self.gamma))
        scale = torch.tensor([self.picture.width / proposals.size[1], self.picture.height / proposals.size[0]] * 2,
                             dtype=torch.float64)  # fmt: skip
        found = []
        for phrase in self.phrases:
            if not phrase.known:
                found.append(Detections.none())
                continue
            own = next(ranked)
            found.append(Detections(own.boxes * scale, own.scores))
        return found

    @property
    def boxes(self) -> Float[torch.Tensor, "phrase 4"]:
        """The best box of each phrase, `(x0, y0, x1, y1)` in pixels, half open; NaN without a known word.

        Raises:
            ProposalError: an error of `detections`.
        """
        missing = torch.full((4,), torch.nan, dtype=torch.float64)
        return torch.stack([own.boxes[0] if len(own.boxes) else missing for own in self.detections])

    def save(self, path: str | os.PathLike[str], **options: Any) -> None:
        """Write a figure of the phrases with known words: `Explanation.save`, with its options and errors."""
        self.explanation.save(path, **options)

    def show(self, **options: Any) -> None:
        """Show the figure of `save` in a notebook or a window: `Explanation.show`, with its options and errors."""
        self.explanation.show(**options)

    def _repr_png_(self) -> bytes | None:
        """The figure of `show` for a notebook."""
        return self.explanation._repr_png_()

    def __repr__(self) -> str:
        """Summarise the method, the layer, the numbers of phrases and the coverage."""
        count = len(self.phrases)
        return (
            f"Grounding({self.explanation.method} of {count} phrase{'s' * (count != 1)} at {self.explanation.layer},"
            f" {self.fusion} of {len(self.words.targets[0])} word maps; {self.coverage.known} of"
            f" {self.coverage.words} words known)"
        )

    def _for_all(self, found: torch.Tensor, missing: torch.Tensor) -> torch.Tensor:
        rows = iter(found)
        return torch.stack([next(rows) if phrase.known else missing for phrase in self.phrases])


METHOD = "c-mwp"
"""The default method for phrases, in Python and in `excitation ground`: that of Fig. 7, and the best of Table 4."""


class Grounder:
    """A classifier with all settings for grounding phrases: validated once, applied to any number of pictures.

    Args:
        model: a loaded model with class names; names are the dictionary.
        layer: as in `Explainer`; one layer.
        method: as in `Explainer`; by default `"c-mwp"`, the paper's for phrases (Sec. 4.3).
        fusion: how the maps of a phrase's words become one map, a name in `FUSIONS`; `"mean"` is the paper's.
        lookup: allowed difference between a word and a class name: `"lemma"` (requires simplemma, extra `grounding`),
            `"case"` or `"exact"`.
        gamma: exponent of the area in the scores of proposals, in [0, 1]. The paper chooses it on held-out pictures
            (0.5 for segments, Table 4).
        shortest: shortest side of the network's input in pixels, with the full picture in its aspect ratio. The
            model's own preprocessing if not given. The paper takes 300 (Sec. 4.3).
        class_names: names instead of those of the loaded model.
        **settings: the other settings of `Explainer`, such as `policies`.

    Raises:
        ExcitationError: an invalid setting, a model without class names, or several layers.
    """

    def __init__(
        self,
        model: LoadedModel,
        *,
        layer: Layer | None = None,
        method: str = METHOD,
        fusion: Fusion = "mean",
        lookup: Lookup = "lemma",
        gamma: float | int = 0.5,
        shortest: int | None = None,
        class_names: Sequence[str] | None = None,
        **settings: Any,
    ) -> None:
        check_instance("model", model, LoadedModel)
        check_choice("fusion", fusion, tuple(FUSIONS))
        check_gamma(gamma)
        if shortest is not None:
            check_number("shortest", shortest, "a whole number of pixels from 1 on", least=1, whole=True)
        if isinstance(layer, (list, tuple)):
            raise ExcitationError(f"layer is {layer!r}; phrases have maps at one layer, so give one.")
        names = model.class_names if class_names is None else class_names
        if names is None:
            raise ExcitationError(
                f"model {model.spec!r} has no class names, so no word names a class; give class_names."
            )
        self.dictionary = Dictionary(names, lookup)
        self.fusion: Fusion = fusion
        self.gamma = float(gamma)
        prepared = replace(model, preprocessing=shortest_side(model, shortest))
        self.explainer = Explainer(prepared, layer=layer, method=method, class_names=names, **settings)

    def __call__(self, picture: Picture, phrases: Sequence[str], *, proposals: Proposals | None = None) -> Grounding:
        """Ground phrases in one picture, with one forward pass and one sweep for all words.

        Args:
            picture: a PIL picture, a path, or an array `(height, width, 3)` of integers from 0 to 255.
            phrases: one or more phrases; words are separated by spaces.
            proposals: region proposals of the picture; merged superpixels if not given, computed when boxes are asked.

        Returns:
            Maps, boxes, scores and coverage.

        Raises:
            ExcitationError: no phrase, a phrase without words, no known word in any phrase, or an error of
                `Explainer.__call__`.

        Warns:
            The warnings of `Explainer.__call__`.
        """
        texts = check_names("phrases", phrases)
        if not 0 < len(texts) <= MOST_PHRASES:
            raise ExcitationError(f"{len(texts)} phrases were given; 1 to {MOST_PHRASES} are expected.")
        split = [tuple(text.split()) for text in texts]
        if not all(split):
            raise ExcitationError(f"phrase {split.index(())} has no words; give phrases such as 'a red umbrella'.")
        matches = [tuple(self.dictionary.match(words)) for words in split]
        entries = list(dict.fromkeys(item.entry for known in matches for item in known))
        if not entries:
            said = ", ".join(dict.fromkeys(word for words in split for word in unknown_words(words, ())))
            raise ExcitationError(
                f"none of these words is a class of {self.explainer.model.spec!r}: {said:.200}; give phrases with words"
                " of model.class_names."
            )
        (read,) = read_pictures([picture])
        words = self.explainer([read], [self.dictionary.target(entry) for entry in entries])
        names = self.dictionary.entries
        grounded = tuple(
            GroundedPhrase(
                text,
                own,
                known,
                tuple(names[item.entry] for item in known),
                tuple(entries.index(item.entry) for item in known),
                tuple(unknown_words(own, known)),
            )
            for text, own, known in zip(texts, split, matches, strict=True)
        )
        explanation = _fused(words, [phrase for phrase in grounded if phrase.known], self.fusion)
        return Grounding(
            grounded, words, explanation, coverage(self.dictionary, split), self.fusion, self.gamma, read, proposals
        )

    def __repr__(self) -> str:
        """The explainer, the fusion and gamma."""
        return f"Grounder({self.explainer!r}, fusion={self.fusion!r}, gamma={self.gamma:g})"


def ground(
    model: LoadedModel,
    picture: Picture,
    phrases: Sequence[str],
    *,
    proposals: Proposals | None = None,
    layer: Layer | None = None,
    method: str = METHOD,
    **settings: Any,
) -> Grounding:
    """Find phrases in a picture: `Grounder(model, ...)(picture, phrases)`.

    A phrase whose thing is not in the picture has a map and boxes too: `scores`, not maps, say whether it is present.

    Args:
        model: a loaded classifier whose class names are words.
        picture: a PIL picture, a path, or an array `(height, width, 3)` of integers from 0 to 255.
        phrases: such as `["a woman in a red coat", "two small dogs"]`. Words that are no class are skipped.
        proposals: region proposals of the picture; merged superpixels if not given.
        layer: layer of the maps, as in `explain`.
        method: `"c-mwp"` (the paper's for phrases), `"mwp"`, `"r-mwp"` or another name from `list_methods()`.
        **settings: the other settings of `Grounder`: `fusion`, `lookup`, `gamma`, `shortest`, and those of `Explainer`.

    Returns:
        Maps (`.maps`: `(phrase, height, width)`), boxes, scores and coverage; `.show()` draws them.

    Raises:
        ExcitationError: an error of `Grounder`; the message states the problem and a remedy.

    Warns:
        The warnings of `Explainer.__call__`.

    Source: Zhang et al., ECCV 2016, Sec. 4.3.
    """
    return Grounder(model, layer=layer, method=method, **settings)(picture, phrases, proposals=proposals)


def fit_map(
    attention: Float[torch.Tensor, "_ _"], explanation: Explanation, size: tuple[int, int]
) -> Float[torch.Tensor, "height width"]:
    """A map of the first image at a size `(height, width)` that shows its full picture; zero outside its crop."""
    frame = explanation.frames[0]
    if frame.box is None:
        return torch.from_numpy(enlarge_map(attention, size))
    down, across = size[0] / frame.size[0], size[1] / frame.size[1]
    x0, x1 = (round(side * across) for side in frame.box[::2])
    y0, y1 = (round(side * down) for side in frame.box[1::2])
    whole = torch.zeros(size)
    whole[y0:y1, x0:x1] = torch.from_numpy(enlarge_map(attention, (y1 - y0, x1 - x0)))
    return whole


def _fused(words: Explanation, phrases: Sequence[GroundedPhrase], fusion: Fusion) -> Explanation:
    """The explanation of phrases from that of their words."""
    layer = words.layer
    maps = words.maps[0]
    if maps.dim() != 3:
        raise ExcitationError(
            f"the maps of words have shape {tuple(maps.shape)}; phrases need maps (word, height, width) of a picture."
        )
    rows = [list(phrase.rows) for phrase in phrases]
    fused = torch.stack([fuse_maps(maps[own], fusion) for own in rows])

    def averaged(values: Float[torch.Tensor, "1 word"], by: Fusion) -> Float[torch.Tensor, "1 phrase"]:
        # Values are fused as maps of one pixel.
        return torch.stack([fuse_maps(values[0, own, None, None], by)[0, 0] for own in rows])[None]

    return replace(
        words,
        by_layer={layer: fused[None]},
        targets=(tuple(phrase.text for phrase in phrases),),
        scores=averaged(words.scores, "mean"),
        top=averaged(words.top, fusion) if words.top is not None and fusion in WITH_MASS else None,
        share={},
        measure=None,
    )


def draw_caption(caption: Caption, grounding: Grounding, *, boxes: bool = True, columns: int = 3) -> Figure:
    """Draw the caption figure (Fig. 1 and 7): the map of each phrase, and the caption with its words in their colours.

    Args:
        caption: a sentence with its phrases, from `find_phrases`.
        grounding: the grounding of `caption.phrases`.
        boxes: whether to draw the best box of each phrase.
        columns: the largest number of pictures side by side, at least 1.

    Returns:
        A matplotlib figure; `excitation.views.save_figure` writes it.

    Raises:
        ExcitationError: the grounding has other phrases, or an error of `Grounding.boxes`.
    """
    from ..views import CaptionPanel, caption_figure

    given = tuple(phrase.text for phrase in grounding.phrases)
    if given != caption.phrases:
        raise ExcitationError(
            f"the grounding has phrases {given}; those of the caption, {caption.phrases}, are expected."
        )
    best = grounding.boxes.tolist() if boxes else [None] * len(given)
    panels = [
        CaptionPanel(
            attention.detach().cpu().clamp(min=0),
            span,
            tuple(span[0] + place for item in phrase.known for place in range(*item.span)),
            region=None if box is None else tuple(box),
        )
        for attention, span, phrase, box in zip(grounding.maps, caption.spans, grounding.phrases, best, strict=True)
    ]
    frame = grounding.explanation.frames[0].box
    return caption_figure(grounding.picture, caption.words, panels, box=frame, columns=columns)
