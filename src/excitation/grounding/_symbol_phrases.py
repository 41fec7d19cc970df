"""The captions of the symbol world as a phrase dataset, without files."""

from __future__ import annotations

from .._checks import check_number
from ..data import Problems
from ..data.symbols import make_captions, make_scene
from ._phrases import CaptionedImage, Phrase, PhraseDataset


def symbol_phrases(count: int, seed: int = 0, split: str = "test") -> PhraseDataset:
    """Captions and phrases of the first scenes of a split. Scenes are drawn on demand.

    `read_flickr30k(FOLDER / "entities")` reads the same phrases from exported scenes (`excitation symbols`).

    Args:
        count: number of scenes.
        seed: seed of the symbol world.
        split: name of the split, as in `make_scene`.

    Raises:
        ExcitationError: an unknown split, a negative seed, or no scenes.
    """
    check_number("count", count, "a number of scenes from 1 on", least=1, whole=True)
    make_scene(0, seed, split)  # validates seed and split before the first scene is read

    def load(image_id: str) -> CaptionedImage:
        scene = make_scene(int(image_id), seed, split)
        captions: list[tuple[str, ...]] = []
        phrases: list[Phrase] = []
        for number, caption in enumerate(make_captions(scene)):
            words: list[str] = []
            for part in caption.parts:
                own = (part if isinstance(part, str) else part.text).split()
                if not isinstance(part, str):
                    boxes = tuple(scene.instances[i].box for i in part.instances)
                    span = (len(words), len(words) + len(own))
                    phrases.append(Phrase(image_id, number, tuple(own), span, (part.kind,), str(part.entity), boxes))
                words += own
            captions.append(tuple(words))
        height, width = scene.image.shape[:2]
        return CaptionedImage(image_id, None, (height, width), tuple(captions), tuple(phrases))

    return PhraseDataset(f"symbols-{split}", (f"{index:06d}" for index in range(count)), load, Problems())
