"""What a recording cannot see is refused by mechanism: counted writes, functions by identity, state put back."""

from __future__ import annotations

import copy
import threading
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode, handle_torch_function
from torch.utils._python_dispatch import TorchDispatchMode

import excitation as eb
from engine.test_recording import net
from excitation.core._targets import read_against


def _add_(a: torch.Tensor, b: torch.Tensor):
    return a.add_(b)


def _double(a: torch.Tensor):
    return a * 2


with warnings.catch_warnings():
    warnings.filterwarnings("ignore", ".*torch.jit.*", DeprecationWarning)
    scripted_add_, scripted_double = torch.jit.script(_add_), torch.jit.script(_double)


@torch.library.custom_op("unseen::add_into", mutates_args={"a"})
def add_into(a: torch.Tensor, b: torch.Tensor) -> None:
    a.add_(b)


@torch.library.custom_op("unseen::double", mutates_args=())
def double(a: torch.Tensor) -> torch.Tensor:
    return a * 2


def relu(x):
    """Called like a function with a rule; does something else."""
    return handle_torch_function(relu, (x,), x) if torch.overrides.has_torch_function((x,)) else x * x


def in_a_thread(run):
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


def unseen(run):
    with torch._C.DisableTorchFunction():
        run()


WRITES = {
    "script function": lambda y, x: scripted_add_(y, x),
    "custom operator": lambda y, x: torch.ops.unseen.add_into(y, x),
    "thread": lambda y, x: in_a_thread(lambda: y.add_(x)),
    "no function mode": lambda y, x: unseen(lambda: y.add_(x)),
    "set_": lambda y, x: y.set_(-x),
}
UNKNOWN = {
    "custom operator": (lambda x: double(x), "'unseen.double' .* is a custom operator"),
    "forged name": (relu, "'relu' .* is not a function of PyTorch but of .*test_unseen"),
    "several in place": (lambda x: torch._foreach_neg_([x]) or x, "writes into several tensors in place"),
    "nested": (lambda x: torch.nested.as_nested_tensor(list(x)).to_padded_tensor(0.0), "not inside"),
}
ESCAPED = {
    "script function": lambda x: scripted_double(x),
    "vmap": torch.vmap(lambda x: x * 2),
    "parameter": lambda x: nn.Parameter(x * 2),
    "mask by NumPy": lambda x: x * torch.from_numpy((x > 0.1).numpy()),
    "mask as a list": lambda x: x * torch.tensor((x > 0.1).tolist()),
    "count": lambda x: x * (x > 0.1).sum().item(),
    "int": lambda x: x * int((x > 0.1).sum()),
    "index": lambda x: x * [1.0, 2.0, 3.0][(x > 0.1).sum() % 3],
    "unknown indices": lambda x: x[:, torch.LongTensor([0, 1, 2, 3, 4, 5])],
}


def model_of(function):
    return net(lambda self, x: function(F.relu(self.conv2(x))))


@pytest.fixture
def images():
    return torch.rand(2, 3, 8, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("when", ["before", "after its last use"])
@pytest.mark.parametrize("case", WRITES)
def test_unseen_writes(case, when, images):
    def forward(self, x):
        y = F.relu(self.conv2(x))
        used = self.conv2(y)
        WRITES[case](y, x)
        return used if when != "before" else y * 2

    with pytest.raises(eb.EscapedTensorError, match=f"wrote into it {when}|uses the output"):
        eb.explain(net(forward), images, [0], layer="input")


def test_unseen_writes_into_weights(images):
    def forward(self, x):
        y = self.conv2(x)
        unseen(lambda: self.conv2.bias.add_(x.mean()))
        return F.relu(y)

    with pytest.raises(eb.EscapedTensorError, match=r"the model's 'conv2.bias' was written into"):
        eb.explain(net(forward), images, [0], layer="input")


def test_unseen_writes_below_the_layer_do_no_harm(images):
    def forward(self, x):
        y = self.conv2(x)
        scripted_add_(y, x)
        return F.relu(y)

    plain = net(lambda self, x: F.relu(self.conv2(x) + x))
    maps = [eb.explain(model, images, [0], layer=":relu").maps for model in (net(forward), plain)]
    assert torch.allclose(*maps, rtol=1e-12)


@pytest.mark.parametrize("case", UNKNOWN)
def test_functions_are_told_by_identity(case, images):
    function, match = UNKNOWN[case]
    with pytest.raises(eb.UnsupportedOperationError, match=match):
        eb.explain(model_of(function), images, [0], layer="relu")


@pytest.mark.parametrize("case", ESCAPED)
def test_whole_numbers_masks_and_new_parameters_are_no_constants(case, images):
    with pytest.raises(eb.EscapedTensorError):
        eb.explain(model_of(ESCAPED[case]), images, [0], layer="relu")


def filled(*values):
    return [torch.full((6,), value, dtype=torch.float64) for value in values]


SAME = {
    "aten": (
        lambda x: torch.ops.aten.relu_.default(torch.ops.aten.add_.Tensor(torch.ops.aten.neg.default(x), 1.0)),
        lambda x: F.relu(1.0 - x),
    ),
    "batch norm of torch": (
        lambda x: torch.batch_norm(x, *filled(-2.0, 0.1, 0.2, 0.5), False, 0.0, 0.0, True),
        lambda x: F.batch_norm(x, *filled(0.2, 0.5, -2.0, 0.1), False, 0.0, 0.0),
    ),
    "named target": (lambda x: torch.relu_(input=x - 0.3), lambda x: F.relu(x - 0.3)),
    "requires_grad": (lambda x: x.detach().requires_grad_(True) * 2, lambda x: x * 2),
}


@pytest.mark.parametrize("case", SAME)
def test_other_entrances_to_the_same_function(case, images):
    maps = [eb.explain(model_of(function), images, [0, 2], layer="input").maps for function in SAME[case]]
    assert torch.allclose(*maps, rtol=1e-12)


class Keeper(nn.Module):
    """Keeps activations in every way a module can, and would use those of the call before."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.head = nn.Linear(6, 4)
        self.kept, self.named, self.calls, self.last = [], {}, 0, torch.zeros(6, 8, 9)

    def forward(self, x):
        x = F.relu(self.conv(x)) + self.last
        for item in (*self.kept, *self.named.values()):
            x = x + item
        self.kept.append(x)
        self.named["x"] = self.last = self.new = x
        self.calls += 1
        return self.head(x.mean((2, 3)))


def test_nothing_of_one_call_is_left_for_the_next(images):
    torch.manual_seed(0)
    model = Keeper().double().eval()
    model.last = model.last.double()
    before = copy.copy(vars(model))
    first = eb.explain(model, images, [0], layer="conv").maps
    second = eb.explain(model, images, [0], layer="conv").maps
    assert torch.equal(first, second)
    assert vars(model).keys() == before.keys()
    assert all(vars(model)[key] is item for key, item in before.items())
    assert (model.kept, model.named, model.calls) == ([], {}, 0)


class Holder(nn.Module):
    """Holds constants wherever Python lets it."""

    of_class = torch.full((6, 1, 1), 2.0, dtype=torch.float64)
    of_class_list = (torch.full((6, 1, 1), 3.0, dtype=torch.float64),)

    def __init__(self, far: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.head = nn.Linear(6, 4)
        self.stats = [torch.full((6, 1, 1), 0.5, dtype=torch.float64)]
        self.table = {"a": torch.full((6, 1, 1), 0.25, dtype=torch.float64)}
        self.nested = [[torch.full((6, 1, 1), 0.125, dtype=torch.float64)]]
        self.far = far

    def forward(self, x):
        x = F.relu(self.conv(x)) * self.of_class * self.of_class_list[0] * self.stats[0] * self.table["a"]
        return self.head((x * self.nested[0][0] if self.far else x).mean((2, 3)))


def test_what_modules_hold_is_constant(images):
    maps = eb.explain(Holder(False).double().eval(), images, [0], layer="conv").maps
    assert torch.isfinite(maps).all()


def test_constants_are_named_inside_lists(images):
    model = Holder(True).double().eval()
    with pytest.raises(eb.EscapedTensorError, match="constants"):
        eb.explain(model, images, [0], layer="conv")
    named = eb.explain(model, images, [0], layer="conv", constants=["nested.0.0"]).maps
    whole = eb.explain(model, images, [0], layer="conv", constants=["nested"]).maps
    assert torch.equal(named, whole)


@pytest.mark.parametrize("name", ["nested.0.1", "stat", "conv.x.y"])
def test_unknown_names_of_constants_are_refused(name, images):
    with pytest.raises(eb.ExcitationError, match=f"{name!r} is not the name of a tensor of the model"):
        eb.explain(Holder(False).double().eval(), images, [0], layer="conv", constants=[name])


class Below(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


class Turning(TorchFunctionMode):
    """Turns every rectifier's result round."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        return torch.neg(result) if func is F.relu else result


def within(mode, function):
    def run(x):
        with mode:
            return function(x)

    return run


def test_dispatch_modes_are_refused(images):
    with pytest.raises(eb.ExcitationError, match="dispatch mode Below is active"):
        eb.explain(model_of(within(Below(), lambda x: x * 2)), images, [0], layer="relu")
    with pytest.raises(eb.ExcitationError, match="dispatch mode Below is active"), Below():
        eb.explain(model_of(lambda x: x), images, [0], layer="relu")


def test_function_modes_around_a_recording_are_refused(images):
    with pytest.raises(eb.ExcitationError, match="function mode Turning is active"), Turning():
        eb.explain(model_of(lambda x: x), images, [0], layer="relu")
    with torch.device("cpu"):
        assert eb.explain(model_of(lambda x: x), images, [0], layer="relu").maps.shape == (2, 1, 8, 9)


def test_function_modes_inside_a_model_are_recorded_as_what_they_do(images):
    inside = model_of(within(Turning(), lambda x: F.relu(x - 0.2)))
    plain = model_of(lambda x: -F.relu(x - 0.2))
    maps = [eb.explain(model, images, [0], layer="input").maps for model in (inside, plain)]
    assert torch.allclose(*maps, rtol=1e-12)


def test_a_models_own_errors_come_through_unchanged(images):
    def broken(x):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        eb.explain(model_of(broken), images, [0], layer="relu")


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_lazy_and_traced_modules(images):
    lazy = nn.Sequential(nn.LazyConv2d(6, 3), nn.Flatten(2))
    with pytest.raises(eb.ExcitationError, match="module '0' is lazy and has no weights yet"):
        eb.explain(lazy.double().eval(), images, [0])
    traced = net(lambda self, x: F.relu(self.conv2(x)))
    traced.conv2 = torch.jit.trace(traced.conv2, torch.rand(1, 6, 8, 9).double())
    with pytest.raises(eb.EscapedTensorError, match=r"scripted modules ran: conv2"):
        eb.explain(traced, images, [0], layer="input")


def test_inference_tensors_and_gradients_are_taken(images):
    model = model_of(lambda x: x)
    plain = eb.explain(model, images, [0], layer="conv1").maps
    with torch.inference_mode():
        inside = images.clone()
    assert torch.equal(eb.explain(model, inside, [0], layer="conv1").maps, plain)
    assert torch.equal(eb.explain(model, images.clone().requires_grad_(), [0], layer="conv1").maps, plain)


def test_layers_and_gradients_need_no_rules(images):
    model = net(lambda self, x: F.relu(self.conv2(torch.cumprod(x + 0.5, 1))))
    listed = {info.name: info for info in eb.list_layers(model, images)}
    assert listed[":cumprod"].is_cut
    assert listed["conv2"].shape == (2, 6, 8, 9)
    maps = eb.explain(model, images, [0], method="grad-cam").maps
    assert torch.equal(maps, eb.explain(model, images, [0], method="grad-cam", layer=":relu").maps)
    for method in ("lrp", "mwp"):
        with pytest.raises(eb.UnsupportedOperationError, match=f"^'cumprod'.* Method '{method}' needs a rule"):
            eb.explain(model, images, [0], method=method, layer="conv1")
    assert eb.explain(model, images, [0], method="lrp", layer="conv2").maps.shape == (2, 1, 8, 9)


def test_layers_of_a_loaded_model(images):
    model = net(lambda self, x: x)
    loaded = eb.LoadedModel(model, "own", output=lambda y: y)
    assert eb.list_layers(loaded, images) == eb.list_layers(model, images)


def test_one_score_for_each_image_says_how_to_pick_it(images):
    model = nn.Sequential(nn.Conv2d(3, 1, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(0)).double().eval()
    with pytest.raises(eb.ExcitationError, match=r"output=lambda y: y\[:, None\]"):
        eb.explain(model, images, [0], layer="0")
    assert eb.explain(model, images, [0], layer="1", output=lambda y: y[:, None]).maps.shape == (2, 1, 6, 7)


def test_exported_programs_are_explained_like_their_originals(images):
    model = net(lambda self, x: F.relu(self.conv2(x), inplace=True))
    program = torch.export.export(model, (images,)).module()
    maps = [eb.explain(each, images, [0, 2], layer="input").maps for each in (model, program)]
    assert torch.allclose(*maps, rtol=1e-12)


def test_a_list_of_lists_is_no_contrast(images):
    with pytest.raises(eb.TargetError, match="a list of class indices or names is expected"):
        read_against([[0], [1]], lambda target: images)


ORDER = torch.tensor([5, 4, 3, 2, 1, 0])


def reordered(x):
    return x[:, ORDER]


def test_what_the_code_refers_to_is_constant(images):
    """A global variable of a function that is called by name, and a closure."""
    order = ORDER.clone()
    plain = eb.explain(model_of(lambda x: x.flip(1)), images, [0], layer="relu").maps
    for function in (lambda x: reordered(x), lambda x: x[:, order]):
        assert torch.equal(eb.explain(model_of(function), images, [0], layer="relu").maps, plain)


def test_one_detection_is_no_class_scores():
    class Detector(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())

        def forward(self, x):
            boxes = self.net(x)
            return [{"boxes": boxes, "labels": boxes.argmax(1), "scores": boxes[:, 0]}]

    with pytest.raises(eb.ExcitationError, match="which part of the network's output holds the class scores"):
        eb.explain(Detector().eval(), torch.rand(1, 3, 8, 8), [0], layer="input")
