"""What can be looked for: targets of every kind, and the sentences for those that are none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from forked_network import NAMES
from torch import nn

import excitation as eb


def test_targets_of_every_kind_agree(model, images):
    scores = model(images)
    onehot = F.one_hot(torch.tensor(3), 4).double()
    forms = [3, "tabby", "TABBY CAT", "tabby, tabby cat", {3: 1.0}, {"tabby": 1}, onehot, onehot.expand(3, 4),
             lambda s: F.one_hot(torch.full((3,), 3), 4).to(s)]  # fmt: skip
    maps = eb.explain(model, images, forms, layer="pool", class_names=NAMES).maps
    assert maps.shape == (3, len(forms), 3, 5)
    for k in range(1, len(forms)):
        assert torch.equal(maps[:, 0], maps[:, k]), forms[k]
    full = eb.explain(model, images, forms, layer="pool", class_names=NAMES)
    assert torch.allclose(full.scores, scores[:, 3:4].expand(3, len(forms)).detach())
    assert torch.equal(full.top, torch.ones(3, len(forms)).double())


def test_one_target_and_mixtures(model, images):
    maps = eb.explain(model, images, 1, layer="pool").maps
    assert maps.shape == (3, 1, 3, 5)
    parts = eb.explain(model, images, [0, 1, {0: 0.25, 1: 0.75}], layer="pool").maps
    assert torch.allclose(parts[:, 2], 0.25 * parts[:, 0] + 0.75 * parts[:, 1])


def test_targets_for_each_image(model, images):
    lists = eb.explain(
        model, images, [[0, 1], [2], ["zebra", 3, {1: 2.0}]], layer="pool", class_names=NAMES
    ).per_image()
    assert [item.shape for item in lists] == [(2, 3, 5), (1, 3, 5), (3, 3, 5)]
    together = eb.explain(model, images, [0, 1, 2, 3], layer="pool").maps
    assert torch.allclose(lists[0], together[0, :2])
    assert torch.allclose(lists[1], together[1, 2:3])
    assert torch.allclose(lists[2], torch.stack([together[2, 0], together[2, 3], 2 * together[2, 1]]))
    ragged = eb.explain(model, images, [[0, 1], [2], [3, 2]], layer=["pool", "stem"])
    assert ragged["stem"].shape == (3, 2, 6, 10)
    assert float(ragged["stem"][1, 1].abs().max()) == 0
    assert [len(item) for item in ragged.per_image("stem")] == [2, 1, 2]
    assert ragged.targets == (("class 0", "class 1"), ("class 2",), ("class 3", "class 2"))


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([7], "7 is not a class of this network: it has 4, 0 to 3"),
        ([-1], "0 to 3"),
        (["zebr"], "Nearest: 'zebra'"),
        (["cat"], "is not a class"),
        ([], "at least one"),
        ([[0], [1]], "2 entries, 2 of them lists, for 3 images"),
        ([[0], 1, [2]], "one list per image"),
        ([[0], [], [2]], "image 1 has an empty list"),
        ([{}], "without any class"),
        ([{0: float("nan")}], "not finite numbers"),
        (
            [torch.ones(5)],
            r"shape \(5,\) does not fit scores of shape \(3, 4\); give one of shape \(4,\) or \(3, 4\)\.$",
        ),
        (
            torch.tensor([1, 2]),
            r"a Tensor of 2 classes, one for each image, but there are 3 .* give targets\.tolist\(\)",
        ),
        (np.array([1, 2]), r"a ndarray of 2 classes, one for each image, but there are 3 images"),
        ("top5", "target 'top5' needs at least as many classes; this network has 4"),
        ([torch.tensor(1.0)], r"shape \(\) does not fit"),
        ([torch.tensor(7)], "7 is not a class of this network"),
    ],
)
def test_wrong_targets(model, images, targets, message):
    with pytest.raises(eb.TargetError, match=message):
        eb.explain(model, images, targets, layer="pool", class_names=NAMES)


@pytest.mark.parametrize(
    "targets", [range(1, 3), [np.int64(1), np.int32(2)], list(torch.tensor([1, 2])), [torch.tensor(1), 2]]
)
def test_whole_numbers_of_any_kind_are_classes(model, images, targets):
    wanted = eb.explain(model, images, [1, 2], layer="pool").maps
    assert torch.equal(eb.explain(model, images, targets, layer="pool").maps, wanted)
    assert torch.equal(eb.cuda_graph(model, images, targets, layer="pool")(images).maps, wanted)
    assert torch.allclose(eb.all_classes(model, images, layer="pool").maps(targets), wanted, atol=1e-12)
    one = eb.explain(model, images, [1], layer="pool", against=2).maps
    assert torch.equal(eb.explain(model, images, np.int64(1), layer="pool", against=np.int64(2)).maps, one)
    assert torch.equal(eb.explain(model, images, torch.tensor(1), layer="pool", against=torch.tensor(2)).maps, one)


def test_names_need_class_names(model, images):
    with pytest.raises(eb.TargetError, match="no class_names were given"):
        eb.explain(model, images, ["zebra"], layer="pool")
    with pytest.raises(eb.TargetError, match="3 class names were given for a network with 4"):
        eb.explain(model, images, ["zebra"], layer="pool", class_names=NAMES[:3])
    with pytest.raises(eb.TargetError, match="several classes: 0, 1"):
        eb.explain(model, images, ["cat"], layer="pool", class_names=["cat", "cat", "dog", "cow"])


def test_score_maps_have_three_readings(images):
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 4, 1)).double().eval()
    pooled = nn.Sequential(body, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    response = eb.explain(body, images, [0, 1, 2, 3], layer="1").maps
    assert torch.allclose(response, eb.explain(pooled, images, [0, 1, 2, 3], layer="0.1").maps)
    scores = body(images).detach()
    softmax = scores.flatten(2).softmax(2).reshape(scores.shape)
    explicit = [F.one_hot(torch.tensor(k), 4)[None, :, None, None] * softmax for k in range(4)]
    assert torch.allclose(
        eb.explain(body, images, [0, 1, 2, 3], layer="1", spatial="softmax").maps,
        eb.explain(body, images, explicit, layer="1").maps,
    )
    posterior = eb.explain(body, images, [2], layer="1", spatial="posterior").maps
    assert torch.allclose(posterior.sum((2, 3)), torch.ones(3, 1).double())
    large = eb.explain(body, images * 1e3, [0], layer="1", spatial="softmax").maps
    assert torch.isfinite(large).all()
