"""Captions of scenes. Their noun phrases refer to boxes, as in Flickr30k Entities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np

from ._glyphs import SYMBOLS
from ._scenes import SPLITS, Instance, Scene

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")
CAPTIONS = 5
"""Captions per scene, as in Flickr30k."""

BACKDROPS = ("a cluttered background", "a strange landscape", "a busy picture")


@dataclass(frozen=True)
class Phrase:
    """A noun phrase of a caption.

    Attributes:
        text: such as "a red umbrella" or "two anchors".
        entity: id of the referent, the same in all captions of a scene; 0 for something invisible.
        kind: Flickr30k's coarse type: `"other"` or `"scene"`.
        instances: indices of the scene instances to which it refers; empty for a background.
    """

    text: str
    entity: int
    kind: str
    instances: tuple[int, ...]


@dataclass(frozen=True)
class Caption:
    """One sentence as a sequence of plain text and phrases."""

    parts: tuple[str | Phrase, ...]

    @property
    def text(self) -> str:
        """The plain text of the sentence."""
        return " ".join(part if isinstance(part, str) else part.text for part in self.parts)

    @property
    def phrases(self) -> tuple[Phrase, ...]:
        """The noun phrases, in order."""
        return tuple(part for part in self.parts if isinstance(part, Phrase))

    def marked(self) -> str:
        """The sentence in the format of Flickr30k Entities: `[/EN#7/other a red umbrella] is near ...`."""
        return " ".join(
            part if isinstance(part, str) else f"[/EN#{part.entity}/{part.kind} {part.text}]" for part in self.parts
        )


def make_captions(scene: Scene) -> tuple[Caption, ...]:
    """Describe a scene in five captions.

    Returns:
        Captions that depend only on the scene. Every phrase is correct in colours, numbers, sizes and spatial
        relations. A phrase refers to all objects that match it, and to no others.
    """
    rng = np.random.default_rng([scene.seed, SPLITS.index(scene.split), scene.index, 1])
    return tuple(_caption(rng, scene) for _ in range(CAPTIONS))


def _caption(rng: np.random.Generator, scene: Scene) -> Caption:
    phrases = _phrases(rng, scene)
    order = rng.permutation(len(phrases))
    first = phrases[order[0]]
    backdrop = Phrase(str(rng.choice(BACKDROPS)), _entity(scene, ()), "scene", ())
    if len(phrases) == 1:
        return Caption((_capital(first), "on" if rng.random() < 0.5 else "in front of", backdrop, "."))
    second = phrases[order[1]]
    if rng.random() < 0.6 or len(phrases) == 2:
        verb = "are" if len(first.instances) > 1 else "is"
        parts: list[str | Phrase] = [_capital(first), f"{verb} {_relation(scene, first, second)}", second]
        return Caption((*parts, "in front of", backdrop, ".") if rng.random() < 0.3 else (*parts, "."))
    third = phrases[order[2]]
    return Caption((_capital(first), ",", second, "and", third, "."))


def _phrases(rng: np.random.Generator, scene: Scene) -> list[Phrase]:
    """One way to name all objects: by symbol, by colour, or a single object by its size."""
    phrases = []
    kinds = {item.symbol: [i for i, other in enumerate(scene.instances) if other.symbol == item.symbol]
             for item in scene.instances}  # fmt: skip
    for symbol, members in kinds.items():
        name, plural = SYMBOLS[symbol].noun, SYMBOLS[symbol].plural
        colours = {scene.instances[i].colour_name for i in members}
        if len(members) > 1 and (len(colours) == 1 or rng.random() < 0.5):
            shade = f" {next(iter(colours))}" if len(colours) == 1 and rng.random() < 0.5 else ""
            phrases.append(_phrase(scene, f"{NUMBERS[len(members)]}{shade} {plural}", members))
            continue
        for colour in sorted(colours):
            same = [i for i in members if scene.instances[i].colour_name == colour]
            if len(same) > 1:
                phrases.append(_phrase(scene, f"{NUMBERS[len(same)]} {colour} {plural}", same))
            else:
                phrases.append(_phrase(scene, _single(rng, scene, same[0], members, colour, name), same))
    return phrases


def _single(
    rng: np.random.Generator, scene: Scene, index: int, members: Sequence[int], colour: str, name: str
) -> str:  # fmt: skip
    others = members if len(members) > 1 else range(len(scene.instances))
    shares = [scene.instances[i].share for i in others if i != index]
    share = scene.instances[index].share
    if shares and rng.random() < 0.5:
        # "the small gear": clearly smaller, or larger, than all objects in the comparison.
        if share * 1.8 < min(shares):
            return f"the small {name}"
        if share > 1.8 * max(shares):
            return f"the large {name}"
    if len(members) == 1 and rng.random() < 0.3:
        return _with_article(name)
    return _with_article(f"{colour} {name}")


def _with_article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _phrase(scene: Scene, text: str, members: Sequence[int]) -> Phrase:
    return Phrase(text, _entity(scene, tuple(members)), "other", tuple(members))


def _entity(scene: Scene, members: tuple[int, ...]) -> int:
    """A number for a set of objects: its bits, following the number of the scene."""
    return (scene.index + 1) * 1000 + sum(1 << i for i in members)


def _capital(phrase: Phrase) -> Phrase:
    return Phrase(phrase.text[0].upper() + phrase.text[1:], phrase.entity, phrase.kind, phrase.instances)


def _relation(scene: Scene, first: Phrase, second: Phrase) -> str:
    (ax, ay), (bx, by) = _centre(scene, first), _centre(scene, second)
    if abs(ax - bx) > 1.5 * abs(ay - by):
        return "left of" if ax < bx else "right of"
    if abs(ay - by) > 1.5 * abs(ax - bx):
        return "above" if ay < by else "below"
    return "near"


def _centre(scene: Scene, phrase: Phrase) -> tuple[float, float]:
    boxes = [scene.instances[i].box for i in phrase.instances]
    return sum(b[0] + b[2] for b in boxes) / len(boxes) / 2, sum(b[1] + b[3] for b in boxes) / len(boxes) / 2


def annotation_xml(scene: Scene, captions: Sequence[Caption], file_name: str) -> bytes:
    """The boxes of all phrases, in the format of Flickr30k Entities.

    Returns:
        XML with pixel coordinates from zero; `xmax` and `ymax` are inclusive. Backgrounds have no boxes.
    """
    root = ElementTree.Element("annotation")
    ElementTree.SubElement(root, "filename").text = file_name
    size = ElementTree.SubElement(root, "size")
    height, width, depth = scene.image.shape
    for name, value in (("width", width), ("height", height), ("depth", depth)):
        ElementTree.SubElement(size, name).text = str(value)
    entities: dict[int, Phrase] = {}
    for caption in captions:
        for phrase in caption.phrases:
            entities.setdefault(phrase.entity, phrase)
    for entity, phrase in sorted(entities.items()):
        if not phrase.instances:
            place = ElementTree.SubElement(root, "object")
            for name, text in (("name", str(entity)), ("scene", "1"), ("nobndbox", "1")):
                ElementTree.SubElement(place, name).text = text
    for i, instance in enumerate(scene.instances):
        names = [entity for entity, phrase in sorted(entities.items()) if i in phrase.instances]
        if not names:
            continue
        place = ElementTree.SubElement(root, "object")
        for entity in names:
            ElementTree.SubElement(place, "name").text = str(entity)
        ElementTree.SubElement(place, "bndbox").extend(_corners(instance))
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8")) + b"\n"


def _corners(instance: Instance) -> list[ElementTree.Element]:
    x0, y0, x1, y1 = instance.box
    corners = []
    for name, value in (("xmin", x0), ("ymin", y0), ("xmax", x1 - 1), ("ymax", y1 - 1)):
        corner = ElementTree.Element(name)
        corner.text = str(value)
        corners.append(corner)
    return corners
