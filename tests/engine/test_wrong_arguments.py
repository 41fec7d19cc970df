"""Public functions called with arguments of wrong types and sizes: each answers with one sentence of its own.

The calls run in another process, since the tests' own type checks would answer first.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

SETUP = """
import json, sys, pathlib, warnings
import numpy as np
import torch
from PIL import Image
import excitation as eb
from excitation import adapters, data, evaluation, markov, methods, models, views

model = torch.nn.Sequential(
    torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 4, 3), torch.nn.AdaptiveAvgPool2d(1),
    torch.nn.Flatten(),
).eval()
images, photo, one = torch.rand(2, 3, 8, 8), Image.new("RGB", (20, 10)), torch.rand(4, 4)

def explain(**more):
    return eb.explain(model, images, [0], **{"layer": "0", **more})

def panel(**more):
    return views.figure([views.FigureRow(photo, [views.Panel(one, "a")])], **more)

symbols = eb.load_model("symbols")
folder = pathlib.Path(sys.argv[1])
(folder / "annotations").mkdir()
(folder / "annotations/instances.json").write_text(json.dumps({
    "images": [], "annotations": [], "categories": [{"id": 1, "name": "crown"}]}))

def play(game="pointing", **more):
    given = {"model": symbols, "data": data.read_coco(folder), "methods": {"mwp": evaluation.NamedMethod("mwp")}}
    return getattr(evaluation, "run_" + game)(**{**given, "out": folder / "run.sqlite", **more})

def asked(name, **options):
    return methods.find_method(name)(model, images, [0], layer="0", **options)

found = {}
for call in json.load(sys.stdin):
    try:
        eval(call)
        found[call] = "no error", ""
    except eb.ExcitationError as error:
        found[call] = "own", str(error)
    except Exception as error:
        found[call] = type(error).__name__, str(error)
print(json.dumps(found))
"""

SIZE = "in whole numbers of pixels from 1 on"
CALLS = {
    "eb.explain(None, images, [0])": "model is a NoneType; a torch.nn.Module is expected",
    "eb.explain(eb.LoadedModel(None, 'x'), images, [0])": "model is a NoneType",
    "eb.explain(model, images.numpy(), [0])": "images are a ndarray; a tensor",
    "eb.explain(model, images, [{0: 'a'}], layer='0')": "has a weight 'a'; a number is expected",
    "eb.explain(model, images, [{0: None}], layer='0')": "has a weight None; a number is expected",
    "eb.explain(model, images, [torch.ones(4) * 1j], layer='0')": "real numbers are expected",
    "eb.explain(model, images, ['a'], layer='0', class_names=3)": "class_names is 3; a list of names is expected",
    "eb.explain(model, images, ['a'], layer='0', class_names='abcd')": "class_names is 'abcd'; a list of names",
    "eb.explain(model, images, ['a'], layer='0', class_names=['a', 1, 2, 3])": "a list of names is expected",
    "explain(method=3)": "method is 3, a int; the name of a method is expected",
    "explain(method=[])": "the name of a method is expected",
    "explain(against=[[0], [1]])": "against is [[0], [1]]; a list of class indices or names is expected",
    "explain(against=[{}])": "a list of class indices or names is expected",
    "explain(policies=dict(residual='branch'))": "a dict; excitation.Policies(...) are expected",
    "explain(policies={})": "a dict; excitation.Policies(...) are expected",
    "explain(policies='original')": "a str; excitation.Policies(...) are expected",
    "explain(policies=eb.Policies)": "excitation.Policies(...) are expected",
    "explain(method='mwp', policies={})": "a dict; excitation.Policies(...) are expected",
    "eb.balance(model, images, [0], layer='0', policies=3)": "excitation.Policies(...) are expected",
    "eb.all_classes(model, images, layer='0', policies={'a': 1})": "excitation.Policies(...) are expected",
    "eb.cuda_graph(model, images, [0], layer='0', policies=[])": "excitation.Policies(...) are expected",
    "explain(constants='ab')": "constants is 'ab'; a list of names is expected",
    "explain(constants=3)": "constants is 3; a list of names is expected",
    "explain(constants=[3])": "constants is [3]; a list of names is expected",
    "explain(method='gradient', constants=3)": "constants is 3; a list of names is expected",
    "eb.cuda_graph(model, images, [0], layer='0', constants=3)": "constants is 3; a list of names is expected",
    "explain().resized(3)": f"size is 3; (height, width) is expected, {SIZE}",
    "explain().resized(0)": SIZE,
    "explain().resized('big')": SIZE,
    "explain().resized((3,))": SIZE,
    "explain().resized((0, 3))": SIZE,
    "explain().resized((-1, 3))": SIZE,
    "explain().resized((3.5, 3))": SIZE,
    "explain().resized((True, 3))": SIZE,
    "explain(method='gradient').resized((0, 3))": SIZE,
    "explain().normalized(['max'])": "by is ['max']; choose one of 'max', 'sum'",
    "explain().normalized(True)": "choose one of 'max', 'sum'",
    "explain(depth=3)": "method 'mwp' has no option 'depth'; its options: against, signed, policies",
    "explain(layer=[])": "an empty list of layers was given",
    "explain(spatial='foo')": "spatial is 'foo'; choose one of 'response', 'softmax', 'posterior'",
    "explain().boxes(alpha='a')": "alpha is 'a'; a multiple of the map's mean is expected",
    "explain()['1']": "has no maps at layer '1'; it has them at '0'",
    "explain(method='gradient', layer='0').balance": "method 'gradient' has no mass balance here",
    "eb.explain(model, 'photo.jpg', [0])": "images are pictures, but the model is a module without preprocessing",
    "eb.explain(symbols, ['absent.jpg'], [0])": "absent.jpg: no such file",
    "eb.explain(symbols, [3], [0])": "a picture is int; a PIL picture, a path or an array",
    "eb.explain(model, images, torch.tensor([0, 1, 2]))": "one for each image, but there are",
    "eb.explain(model, images, 'top9', layer='0')": "target 'top9' needs at least as many classes",
    "eb.balance(model, images, [0], layer=['0', 'input'])": "a balance is made for one layer",
    "eb.balance(model, images, [0], layer='0', method='gradient')": "method 'gradient' has no mass; methods that have",
    "eb.all_classes(model, images, layer='0', against=1)": "against is not a setting of all_classes",
    "eb.all_classes(model, images, layer='0', method='gradient')": "method is 'gradient'; choose one of 'mwp'",
    "eb.all_classes(model, images, layer='0', strategy='foo')": "strategy is 'foo'; choose one of",
    "eb.cuda_graph(model, images, [0], layer='0', method='gradient')": "has no mass; methods that have: mwp,",
    "eb.cuda_graph(model, images, [0], layer='0')(3)": "images are a int; a tensor",
    "eb.all_classes(model, images, layer='0', memory='big')": "memory is 'big'; a whole number of bytes is expected",
    "eb.list_layers(model, None)": "images are a NoneType; a tensor",
    "eb.to_fully_convolutional(None)": "model is a NoneType; a torch.nn.Module is expected",
    "eb.to_fully_convolutional(model, size=3)": f"size is 3; (height, width) is expected, {SIZE}",
    "eb.to_fully_convolutional(model, size='a')": SIZE,
    "eb.to_fully_convolutional(model, size=(3,))": SIZE,
    "eb.pool_first(None)": "model is a NoneType; a torch.nn.Module is expected",
    "eb.pool_first(model, size=3)": SIZE,
    "eb.load_caffe(None)": "prototxt is None, a NoneType; a path is expected",
    "eb.load_caffe('a\\0b')": "contains a NUL character, which is not allowed",
    "eb.load_model(None)": "the model's spec is None, a NoneType; a text",
    "eb.load_model(pathlib.Path('x'))": "a text such as 'symbols'",
    "models.model_files(3)": "the model's spec is 3, a int; a text",
    "models.register_scheme('caffe', models._catalogue.SCHEMES['caffe'])": "scheme 'caffe' is already registered",
    "models.register_scheme('new', None)": "scheme is None; a Scheme is expected",
    "eb.Policies(residual='foo')": "policy residual is 'foo'; choose one of 'proportional', 'branch', 'original'",
    "eb.Policies(residual={})": "choose one of 'proportional'",
    "eb.Policies(threshold='a')": "a fraction of what a normaliser can attain, 0 <= t < 1, is expected",
    "eb.Policies(threshold=1)": "0 <= t < 1",
    "eb.Policies(threshold=float('nan'))": "0 <= t < 1",
    "eb.Policies.original(residual='foo')": "choose one of 'proportional'",
    "eb.Preprocessing(size=3)": f"size is 3; (height, width) is expected, {SIZE}",
    "eb.Preprocessing(size=(0, 3))": SIZE,
    "eb.Preprocessing(size=(3.5, 3))": SIZE,
    "eb.Preprocessing(resize='foo')": "resize is 'foo'; choose one of 'shortest', 'squash', 'crop'",
    "eb.Preprocessing(resize='crop', resize_to='a')": "resize_to is 'a'; a whole number of pixels from 1 on",
    "eb.Preprocessing(channels='XYZ')": "channels is 'XYZ'; choose one of 'RGB', 'BGR', 'L'",
    "eb.Preprocessing(interpolation='nearest')": "choose one of 'bilinear', 'bicubic', 'lanczos'",
    "eb.Preprocessing(mean=0.5)": "mean is 0.5; three values are expected, one per channel",
    "eb.Preprocessing(mean=('a', 1, 2))": "a value of mean is 'a'; a number is expected",
    "eb.Preprocessing(std=(float('nan'), 1, 1))": "a value of std is nan; a number is expected",
    "eb.Preprocessing(scale='a')": "scale is 'a'; a number is expected",
    "eb.Preprocessing()(np.zeros((3, 3, 3)))": "a ndarray was given; a PIL.Image.Image in mode 'RGB' is expected",
    "eb.Preprocessing().field_of_view(3)": SIZE,
    "data.open_data(3)": "data is 3, a int; coco:ROOT",
    "data.read_coco(None)": "the root of a COCO data set is None, a NoneType; a path is expected",
    "data.read_voc('a\\0')": "contains a NUL character, which is not allowed",
    "data.open_data('imagenet:a\\0b')": "contains a NUL character, which is not allowed",
    "data.read_imagenet([])": "a path is expected",
    "data.read_mapping(3)": "mapping is 3, a int; a path is expected",
    "data.read_difficult_list('a\\0', [])": "contains a NUL character",
    "data.category_target(())": "a category without classes has no target",
    "views.overlay(None, one)": "the picture is a NoneType; a PIL.Image.Image is expected",
    "views.overlay(photo, None)": "the map is a NoneType; a tensor or array (height, width) is expected",
    "views.overlay(photo, one[None])": "take the map of one image and one target, maps[0, 0]",
    "views.overlay(photo, one, alpha='a')": "alpha is 'a'; a value from 0 to 1 is expected",
    "views.overlay(photo, one, alpha=2)": "a value from 0 to 1 is expected",
    "views.overlay(photo, one, limit='a')": "limit is 'a'; a positive value is expected",
    "views.overlay(photo, one, colour_map=3)": "matplotlib knows no colour map 3",
    "views.overlay(photo, one, box=3)": "the box is 3; (x0, y0, x1, y1) in pixels is expected",
    "views.overlay(photo, one, box=(0, 0, 5))": "(x0, y0, x1, y1) in pixels is expected",
    "views.overlay(photo, one, box=(0, 0, 99, 99))": "is not inside the picture of 20 x 10 pixels",
    "views.enlarge_map(one, 3)": SIZE,
    "views.enlarge_map(one, (0, 3))": SIZE,
    "views.find_peak(one, 3)": SIZE,
    "views.find_peak(None, (5, 5))": "the map is a NoneType",
    "views.points_nowhere('a')": "the map is a str",
    "views.points_nowhere(torch.zeros(0, 3))": "the map is empty",
    "views.figure([])": "there are no rows to make a figure of",
    "views.figure([3])": "rows are [3]; a list of FigureRow is expected",
    "panel(alpha=3)": "a value from 0 to 1 is expected",
    "views.comparison(photo, ['a'], [3])": "rows are [3]; a list of Compared is expected",
    "views.comparison(None, ['a'], [views.Compared('x', maps=[one])])": "the picture is a NoneType",
    "views.line_chart([], [], ylabel='a')": "there are no panels to draw",
    "views.line_chart(3, [], ylabel='a')": "a list of LinePanel is expected",
    "views.line_chart([views.LinePanel('a', [])], ['a'], ylabel='a', columns=0)": "columns is 0",
    "views.save_figure(None, 'x.png')": "a matplotlib Figure is expected",
    "views.save_figure(panel(), 'x.gif')": "a figure is saved as .png, .pdf or .svg",
    "views.save_figure(panel(), 'x.png', dpi=0)": "a number of pixels per inch from 1 on is expected",
    "methods.blur(None)": "maps are NoneType; a tensor (image, target, height, width) is expected",
    "methods.blur(one[None, None], sigma=-1)": "sigma is -1",
    "methods.enlarge(one, (3, 3))": "maps are (4, 4); a tensor (image, target, height, width) is expected",
    "methods.enlarge(one[None, None], 3)": SIZE,
    "methods.post_process(one[None, None], 'blur', (3, 3))": "steps is 'blur'; a list of names is expected",
    "methods.post_process(one[None, None], ['foo'], (3, 3))": "unknown step 'foo'",
    "methods.maps_from_one_pass(model, images, [0], [('mwp', 'response')], [])": "an empty list of layers was given",
    "methods.feedback_full(model, images, [0], iterations='a')": "iterations is 'a'; a whole number from 1 on",
    "asked('mwp', policies=3)": "excitation.Policies(...) are expected",
    "asked('mwp', foo=3)": "has no option 'foo'",
    "methods.find_method('rise')(model, images, [0], samples=0)": "samples is 0",
    "asked('sampled-winners', walks=-1)": "walks is -1",
    "adapters.MethodAttribution(None, 'mwp')": "model is a NoneType",
    "adapters.MethodAttribution(model, 'mwp', steps=['foo'])": "a step is 'foo'; choose one of 'bicubic', 'blur'",
    "adapters.quantus_explain(None, images.numpy(), 0)": "model is a NoneType",
    "play(model=None)": "model is a NoneType; a LoadedModel is expected",
    "play(model=model)": "model is a Sequential; a LoadedModel is expected",
    "play(data='coco:x')": "data is a str; a AnnotatedImages is expected",
    "play(methods={})": "no method was given",
    "play(methods={'a': 3})": "method 'a' is a int; give a NamedMethod or an object with its interface",
    "play(layers={'mwpp': [None]})": "layers are given for 'mwpp', which is not one of the methods: mwp",
    "play(mapping={'crown': 3})": "mapping has 3 for 'crown'; give a list of class indices",
    "play(mapping={'pink': [3]})": "none of the 1 categories",
    "play(truth='foo')": "truth is 'foo'; choose one of 'segments', 'boxes'",
    "play(limit=-1)": "limit is -1; a whole number of images from 1 on is expected",
    "play(limit='a')": "a whole number of images from 1 on is expected",
    "play(shard=3)": "shard is 3; give (index, count)",
    "play(shortest=0)": SIZE,
    "play(out=3)": "the file of results is 3, a int; a path is expected",
    "play(mixture='loud')": "mixture is 'loud'; choose one of 'equal', 'probability'",
    "play('localization', held_out=0)": "held_out is 0; a whole number from 2 on is expected",
    "evaluation.probabilities(symbols, torch.rand(1, 3, 64, 64), 'foo')": "probability is 'foo'; choose one of",
    "evaluation.read_published(3)": "a path is expected",
    "markov.chain(model, images)": "a tensor (1, channels, height, width) of one image is expected",
    "markov.chain(None, images[:1])": "model is a NoneType",
    "markov.chain(model, images[:1], residual='foo')": "residual is 'foo'; choose one of 'proportional', 'branch'",
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What each call does: `(kind, sentence)`."""
    calls, folder = json.dumps(list(CALLS)), str(tmp_path_factory.mktemp("data"))
    done = subprocess.run(
        [sys.executable, "-c", SETUP, folder], input=calls, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("call", CALLS)
def test_wrong_arguments_get_a_sentence(answers, call):
    kind, sentence = answers[call]
    assert kind == "own", sentence
    assert CALLS[call] in sentence
    assert "\n" not in sentence
    assert sentence.endswith(".")
