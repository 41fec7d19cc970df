"""Where figures go, and which scenes they show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from excitation.data.symbols import Scene, make_scene

FIGURES = Path(__file__).resolve().parents[2] / "docs" / "figures"


def chosen_scene(names: Sequence[str], *, share: float = 0.06, seed: int = 0, most: int = 5) -> Scene:
    """The first test scene with these symbols, once each, large enough to be seen.

    Args:
        names: of symbols.
        share: least share of the picture each of them covers.
        seed: of the world.
        most: objects in the scene.

    Returns:
        A scene nobody looked at before it was chosen by this rule.
    """
    index = 0
    while True:
        scene = make_scene(index, seed, "test")
        found = [instance.name for instance in scene.instances if instance.name in names]
        large = all(instance.share >= share for instance in scene.instances if instance.name in names)
        if sorted(found) == sorted(names) and large and len(scene.instances) <= most:
            return scene
        index += 1
