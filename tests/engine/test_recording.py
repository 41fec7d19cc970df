"""The recording sees everything, changes nothing, and says no where it cannot follow."""

from __future__ import annotations

import copy
import threading
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import excitation as eb


class Net(nn.Module):
    """A small network whose middle is given as a function."""

    def __init__(self, middle=None, head=None):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1)
        self.fc = nn.Linear(6, 4)
        self.middle = middle or (lambda self, x: F.relu(self.conv2(x)))
        self.head = head or (lambda scores: scores)

    def forward(self, x):
        x = self.relu(self.conv1(x))
        x = self.middle(self, x)
        return self.head(self.fc(x.mean((2, 3))))


def net(middle=None, head=None, seed=0):
    torch.manual_seed(seed)
    return Net(middle, head).double().eval()


@pytest.fixture
def images():
    return torch.rand(2, 3, 8, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def state(model):
    """Everything a call could leave behind."""
    return (
        {name: (id(t), t._version, t.clone()) for name, t in model.state_dict(keep_vars=True).items()},
        {name: sorted(vars(module)) for name, module in model.named_modules()},
        {name: (len(m._forward_hooks), len(m._forward_pre_hooks), m.training) for name, m in model.named_modules()},
        len(nn.modules.module._global_forward_hooks) + len(nn.modules.module._global_forward_pre_hooks),
    )


def assert_same_state(a, b):
    assert a[1:] == b[1:]
    assert a[0].keys() == b[0].keys()
    for name, (key, version, numbers) in a[0].items():
        assert (key, version) == b[0][name][:2], name
        assert torch.equal(numbers, b[0][name][2]), name


# In place ------------------------------------------------------------------------------------------------------------

IN_PLACE = {
    "relu_": (lambda s, x: s.conv2(x).relu_(), lambda s, x: s.conv2(x).relu()),
    "inplace=True": (lambda s, x: F.relu(s.conv2(x), inplace=True), lambda s, x: F.relu(s.conv2(x))),
    "result dropped": (lambda s, x: _dropped(s.conv2(x)), lambda s, x: F.relu(s.conv2(x))),
    "+=": (lambda s, x: _plus(s, x), lambda s, x: F.relu(s.conv2(x)) + x),
    "add_": (lambda s, x: F.relu(s.conv2(x)).add_(x), lambda s, x: F.relu(s.conv2(x)) + x),
    "constants": (lambda s, x: F.relu(s.conv2(x)).mul_(2).div_(3), lambda s, x: F.relu(s.conv2(x)) * 2 / 3),
    "chain": (lambda s, x: F.relu_(s.conv2(F.relu_(s.conv2(x)))), lambda s, x: F.relu(s.conv2(F.relu(s.conv2(x))))),
    "dropout": (lambda s, x: F.dropout(x, 0.5, False, True), lambda s, x: x),
    "after a view": (lambda s, x: s.conv2(x).flatten(1).relu_().view_as(x), lambda s, x: F.relu(s.conv2(x))),
}


def _dropped(x):
    F.relu_(x)
    return x


def _plus(s, x):
    y = F.relu(s.conv2(x))
    y += x
    return y


@pytest.mark.parametrize("form", IN_PLACE)
def test_in_place_forms_give_the_plain_maps(form, images):
    changed, plain = (eb.explain(net(middle), images, [0, 1], layer="input").maps for middle in IN_PLACE[form])
    assert torch.equal(changed, plain)
    changed, plain = (
        eb.explain(net(middle), images, [0, 1], layer="relu", method="c-mwp").maps for middle in IN_PLACE[form]
    )
    assert torch.equal(changed, plain)


def test_in_place_on_the_images_leaves_them(images):
    class Normalised(Net):
        def forward(self, x):
            x.sub_(0.5).div_(2)
            return super().forward(x)

    torch.manual_seed(0)
    model = Normalised().double().eval()
    before = images.clone()
    maps = eb.explain(model, images, [0], layer="relu").maps
    assert torch.equal(images, before)
    assert torch.equal(maps, eb.explain(net(), (images - 0.5) / 2, [0], layer="relu").maps)


def test_views_of_a_tensor_changed_in_place_are_refused(images):
    def middle(s, x):
        y = s.conv2(x)
        view = y.flatten(2)
        F.relu_(y)
        return view.view_as(y)

    with pytest.raises(eb.UnsupportedOperationError, match="shares memory"):
        eb.explain(net(middle), images, [0], layer="relu")


# Nothing is touched --------------------------------------------------------------------------------------------------


def test_model_is_untouched(images):
    model = nn.Sequential(net(), nn.BatchNorm1d(4).double(), nn.Softmax(1)).eval()
    before = state(model)
    before_copy = copy.deepcopy(model.state_dict())
    eb.explain(model, images, [0, 1], layer="0.relu", method="c-mwp")
    eb.balance(model, images, [0])
    eb.list_layers(model, images)
    assert_same_state(before, state(model))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before_copy[name])


def test_model_is_untouched_after_an_exception(images):
    def middle(s, x):
        raise RuntimeError("inside the network")

    model = net(middle)
    before = state(model)
    with pytest.raises(RuntimeError, match="inside the network"):
        eb.explain(model, images, [0], layer="relu")
    assert_same_state(before, state(model))
    model.middle = lambda s, x: torch.fft.rfft(x).real
    with pytest.raises(eb.UnsupportedOperationError):
        eb.explain(model, images, [0], layer="relu")
    assert_same_state(before, state(model))


def test_model_that_counts_its_calls_is_put_back(images):
    class Counting(Net):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros((), dtype=torch.long))
            self.register_buffer("total", torch.zeros(3))

        def forward(self, x):
            self.calls += 1
            self.total[1] = 7
            return super().forward(x)

    model = Counting().double().eval()
    before = state(model)
    eb.explain(model, images, [0], layer="relu")
    assert_same_state(before, state(model))


def test_two_threads_on_one_model_give_the_single_threads_maps():
    model = net()
    batches = [torch.rand(1, 3, 8, 8, dtype=torch.float64) for _ in range(4)]
    alone = [eb.explain(model, batch, [0, 1], layer="relu", method="c-mwp").maps for batch in batches]
    found = [[] for _ in batches]
    barrier = threading.Barrier(len(batches))

    def work(i):
        barrier.wait()
        for _ in range(10):
            found[i].append(eb.explain(model, batches[i], [0, 1], layer="relu", method="c-mwp").maps)

    before = state(model)
    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(batches))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_same_state(before, state(model))
    for maps, expected in zip(found, alone, strict=True):
        assert len(maps) == 10
        assert all(torch.equal(item, expected) for item in maps)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad, torch.inference_mode])
def test_any_grad_mode_of_the_caller(mode, images):
    model = net()
    expected = eb.explain(model, images, [0, 1], layer="relu", method="c-mwp").maps
    with mode():
        assert torch.equal(eb.explain(model, images, [0, 1], layer="relu", method="c-mwp").maps, expected)
        assert torch.equal(eb.explain(model, images + 0, [0, 1], layer="relu", method="c-mwp").maps, expected)
    assert not expected.requires_grad
    assert images.grad is None


def test_hooks_of_the_user_take_part(images):
    model = net()
    handle = model.relu.register_forward_hook(lambda m, a, out: out * 2)
    seen = eb.explain(model, images, [0], layer="relu").maps
    handle.remove()
    doubled = net(lambda s, x: F.relu(s.conv2(x * 2)))
    assert torch.equal(seen, eb.explain(doubled, images, [0], layer="relu").maps)


# Training mode -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [nn.Dropout(), nn.Dropout2d(), nn.BatchNorm2d(6), nn.AlphaDropout()])
def test_training_mode_is_refused_and_nothing_is_updated(layer, images):
    model = net(lambda s, x: s.extra(x))
    model.extra = layer.double()
    eb.explain(model.eval(), images, [0], layer="relu")
    model.train()
    before = state(model)
    for place in ("relu", "fc:linear", "extra", "input"):
        with pytest.raises((eb.TrainingModeError), match=r"model\.eval\(\)"):
            eb.explain(model, images, [0], layer=place)
    assert_same_state(before, state(model))


def test_training_mode_without_consequences_is_fine(images):
    model = net()
    expected = eb.explain(model, images, [0], layer="relu").maps
    assert torch.equal(eb.explain(model.train(), images, [0], layer="relu").maps, expected)


# What cannot be followed ---------------------------------------------------------------------------------------------


class Scripted(nn.Module):
    def forward(self, x):
        return torch.relu(x)


ESCAPES = {
    "script module": lambda s, x: x + s.script(x),
    "numpy": lambda s, x: x + torch.from_numpy(x.numpy() * 2),
    "item": lambda s, x: x * x[0, 0, 0, 0].item(),
    "float": lambda s, x: x / float(x[0, 0, 0, 0]),
    "tolist": lambda s, x: x + torch.tensor(x.tolist(), dtype=x.dtype),
}


@pytest.mark.parametrize("escape", ESCAPES)
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_escaped_tensors_are_errors(escape, images):
    model = net(ESCAPES[escape])
    model.script = torch.jit.script(Scripted())
    with pytest.raises(eb.EscapedTensorError):
        eb.explain(model, images, [0], layer="relu")


class ScriptedBelow(nn.Module):
    """Compiled up to a layer, buffers and all; what lies above can be explained."""

    def __init__(self):
        super().__init__()
        self.low = torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval())
        self.top = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))

    def forward(self, x):
        return self.top(self.low(x))


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_layers_above_and_inside_a_script_module(images):
    model = ScriptedBelow().eval()
    images = images.float()
    maps = eb.explain(model, images, [1], layer="top.0").maps
    assert maps.abs().max() > 0
    for layer, message in (
        ("low.1", "did not run"), ("low", "no recorded operation computed"), ("low.bn", "Nearest: 'low.1'")
    ):  # fmt: skip
        with pytest.raises(eb.LayerError, match=message):
            eb.explain(model, images, [1], layer=layer)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_a_scripted_model_is_named(images):
    with pytest.raises(eb.ExcitationError, match="script module"):
        eb.explain(torch.jit.script(Scripted()), images, [0])


def test_an_escape_before_the_layer_does_no_harm(images):
    class Stem(Net):
        def forward(self, x):
            return super().forward(torch.from_numpy(x.numpy() * 1.0))

    torch.manual_seed(0)
    model = Stem().double().eval()
    with pytest.raises(eb.EscapedTensorError):
        eb.explain(model, images, [0], layer="input")
    assert eb.explain(model, images, [0], layer="relu").maps.shape == (2, 1, 8, 9)


REFUSED = {
    "product of activations": lambda s, x: x * x.flip(1),
    "product of gates": lambda s, x: torch.sigmoid(x) * torch.sigmoid(x.flip(1)),
    "division by an activation": lambda s, x: x / (x.sum(1, keepdim=True) - 1),
    "square": lambda s, x: (x - 0.5).square(),
    "einsum": lambda s, x: torch.einsum("nchw,nchw->nchw", x, x),
    "bicubic": lambda s, x: F.interpolate(x, (8, 9), mode="bicubic"),
    "attention": lambda s, x: (x.flatten(2) @ x.flatten(2).mT)[..., None],
    "where": lambda s, x: torch.where(x > 0, torch.ones_like(x), 0),
    "mask": lambda s, x: (x > 0).double(),
    "weights from images": lambda s, x: F.conv2d(x, x[:1, :, :3, :3].expand(6, -1, -1, -1), padding=1),
    "out=": lambda s, x: torch.add(x, x, out=torch.empty_like(x)),
    "fft": lambda s, x: torch.fft.rfft(x).real,
    "data": lambda s, x: _data(x),
    "quantile": lambda s, x: x.quantile(0.5, 1, keepdim=True).expand_as(x),
    "indices from images": lambda s, x: x[:, x.mean((0, 2, 3)).argsort()],
}


def _data(x):
    x.data = x.data * 2
    return x


@pytest.mark.parametrize("case", REFUSED)
def test_operations_without_a_rule_are_refused_by_name_and_place(case, images):
    with pytest.raises(eb.UnsupportedOperationError) as error:
        eb.explain(net(REFUSED[case]), images, [0], layer="relu")
    message = str(error.value)
    assert message.startswith("'")
    assert "model's own forward" in message or "layer" in message
    assert len(message) < 400


def test_an_operation_without_a_rule_below_the_layer_does_no_harm(images):
    model = net(lambda s, x: s.conv2(torch.sin(20 * x)))
    assert eb.explain(model, images, [0], layer="conv2").maps.shape == (2, 1, 8, 9)
    with pytest.raises(eb.UnsupportedOperationError, match="sin"):
        eb.explain(model, images, [0], layer="relu")


def test_control_flow_and_shapes_are_free(images):
    def middle(s, x):
        assert not torch.isnan(x).any()
        if bool((x > 0).any()) and x.shape[0] * len(x) > 0 and x.size(1) == 6 and x.dim() == 4:
            x = s.conv2(x)
        return F.relu(x) + torch.zeros_like(x) + x.new_zeros(1)

    assert torch.equal(
        eb.explain(net(middle), images, [0], layer="relu").maps, eb.explain(net(), images, [0], layer="relu").maps
    )


def test_constants_outside_buffers_are_allowed_by_name(images):
    def middle(s, x):
        s.grid = torch.from_numpy(__import__("numpy").ones(9))
        return x + s.grid

    model = net(middle)
    with pytest.raises(eb.EscapedTensorError, match="constants"):
        eb.explain(model, images, [0], layer="relu")
    assert eb.explain(model, images, [0], layer="relu", constants=["grid"]).maps.shape == (2, 1, 8, 9)


def test_plain_tensor_attributes_are_constants(images):
    model = net(lambda s, x: x * s.gain)
    model.gain = torch.full((6, 1, 1), 2.0, dtype=torch.float64)
    assert torch.allclose(
        eb.explain(model, images, [0], layer="relu").maps,
        eb.explain(net(lambda s, x: x), images, [0], layer="relu").maps,
    )


# Outputs -------------------------------------------------------------------------------------------------------------


@dataclass
class Output:
    logits: torch.Tensor
    hidden: torch.Tensor | None = None


OUTPUTS = {
    "tuple": (lambda y: (y,), None),
    "tuple by index": (lambda y: (y * 2, y), 1),
    "dict": (lambda y: {"logits": y, "aux": y * 2}, None),
    "dict by key": (lambda y: {"a": y * 3, "b": y}, "b"),
    "dataclass": (lambda y: Output(y, y * 2), None),
    "dataclass by name": (lambda y: Output(y * 3, y), "hidden"),
    "function": (lambda y: [y, y * 2], lambda out: out[0] * 2),
    "in place": (lambda y: _dropped_softmax(y), None),
}


def _dropped_softmax(y):
    y.mul_(2)
    return {"logits": y}


@pytest.mark.parametrize("case", OUTPUTS)
def test_outputs_of_any_form(case, images):
    head, output = OUTPUTS[case]
    found = eb.explain(net(head=head), images, [0, 1], layer="relu", output=output).maps
    assert torch.allclose(found, eb.explain(net(), images, [0, 1], layer="relu").maps)


def test_ambiguous_output_is_asked_about(images):
    with pytest.raises(eb.ExcitationError, match="output="):
        eb.explain(net(head=lambda y: (y, y * 2)), images, [0], layer="relu")
    with pytest.raises(eb.ExcitationError, match="has no part 'x'"):
        eb.explain(net(head=lambda y: {"a": y}), images, [0], layer="relu", output="x")
