"""The bundled tag classifier: its words, and that it sees what they say."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import torch
from PIL import Image

from excitation import explain
from excitation.data.symbols import COLOUR_NAMES, SYMBOL_NAMES, make_scene
from excitation.models import load_model
from excitation.training._precision import average_precisions


def test_its_words_are_those_of_the_tags():
    words = load_model("symbols:tags").class_names
    assert {*SYMBOL_NAMES, *COLOUR_NAMES, "small", "large", "pair", "alone", "crowd", "sign"} <= set(words)
    assert len(words) == 69
    assert (files("excitation.models.symbols") / "tags.safetensors").stat().st_size < 4_000_000


def test_it_sees_colours_and_symbols_on_unseen_scenes():
    """Scenes of `val` beyond those its record was measured on; `average precision` by what is really there."""
    loaded = load_model("symbols:tags")
    known = [name for name in loaded.class_names if name in COLOUR_NAMES]
    columns = [loaded.class_names.index(name) for name in known]
    scores, labels = [], []
    for index in range(2000, 2040):
        scene = make_scene(index, 0, "val")
        image = torch.from_numpy(scene.image).permute(2, 0, 1)[None].float() / 127.5 - 1
        with torch.inference_mode():
            scores.append(loaded.model(image)[0, columns].numpy())
        labels.append([name in {item.colour_name for item in scene.instances} for name in known])
    assert average_precisions(np.stack(scores), np.array(labels)).mean() > 0.85


def test_words_point():
    loaded = load_model("symbols:tags")
    scene = make_scene(3, 0, "val")
    image = loaded.preprocessing(Image.fromarray(scene.image))[None]
    maps = explain(loaded, image, ["pair", "red", scene.instances[0].name]).maps
    assert maps.shape[1] == 3
    assert torch.isfinite(maps).all()
