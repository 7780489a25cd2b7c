# SPDX-License-Identifier: Apache-2.0
"""The inputs by which torch tests its own optimizers, and its tests over them, on our classes beside torch's.

torch ships its database of inputs (`torch.testing._internal.common_optimizers.optim_db`) but not the tests that use it
(`test/test_optim.py`), so these are written here, each under the name that it has there.  `EXCLUDED` says of every
input and every test that is left out why it is.
"""

import copy
import inspect
import io
import itertools
import pickle
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    CyclicLR,
    ExponentialLR,
    LinearLR,
    OneCycleLR,
    PolynomialLR,
    ReduceLROnPlateau,
    StepLR,
)
from torch.testing._internal.common_optimizers import OptimizerErrorEnum, optim_db

import layerwise.torch as lwt

CLASSES = ("SGD", "Adam", "AdamW")

EXCLUDED: dict[str, str] = {
    # Inputs, by what torch calls them.
    "differentiable": "refused with a message: a step runs in the library, outside of autograd",
    # Inputs that torch refuses.  Taken here, as nothing depends on them:
    "lr as Tensor doesn't work with foreach & not capturable": "foreach and capturable choose nothing",
    "betas must be either both floats or both Tensors": "each is taken for the number that it is",
    r"betas\[0\] as a Tensor is not supported for capturable=False and foreach=True": "foreach chooses nothing",
    # Tests.
    "test_optim_infos_do_not_specify_global_cliquey_kwargs": "of the database itself",
    "test_complex": "complex parameters are refused with a message that says torch.view_as_real",
    "test_complex_2d": "the same",
    "test_forloop_goes_right_direction_multigpu": "parameters are on the CPU",
    "test_rosenbrock_sparse_with_lrsched": "sparse gradients are refused with a message",
    "test_foreach_large_tensor": "of CUDA",
    "test_fused_large_tensor": "of CUDA",
    "test_peak_memory_foreach": "of CUDA",
    "test_fused_cpu_matches_cuda": "of CUDA",
    "test_state_dict_with_cuda_params": "of CUDA",
    "test_cpu_load_state_dict": "of CUDA",
    "test_capturable_matches_forloop": "capturable chooses nothing: in test_matches_torch with the other flags",
    "test_defaults_changed_to_foreach": "foreach chooses nothing",
    "test_fused_does_not_step_if_foundinf": "in test_contract.py",
    "test_grad_scaling_autocast_fused_optimizers": "in test_with_amp.py",
    "test_adagrad_sparse, test_lbfgs_..., test_muon_...": "of other optimizers",
}
"""What of torch is left out, and why."""

SHAPES = ((10, 5), (10,), (3, 4, 2), ())


class Case:
    """One input of the database for one class."""

    def __init__(self, name: str, kwargs: dict[str, Any], desc: str) -> None:
        self.name, self.kwargs, self.desc = name, kwargs, desc

    def ours(self, params: Any, **options: Any) -> Any:
        return getattr(lwt, self.name)(params, **_own(self.kwargs) | options)

    def theirs(self, params: Any, **options: Any) -> Any:
        """torch's class for the same, by its plain loop: flags that choose an implementation are left out."""
        kwargs = {key: _plain(value) for key, value in self.kwargs.items() if key not in ("capturable", "fused")}
        return getattr(torch.optim, self.name)(params, **kwargs | {"foreach": False} | options)


def _own(kwargs: dict[str, Any]) -> dict[str, Any]:
    """A tensor belongs to one optimizer."""
    return {key: value.clone() if isinstance(value, Tensor) else value for key, value in kwargs.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    return value.item() if isinstance(value, Tensor) else value


def info_of(name: str) -> Any:
    return next(info for info in optim_db if info.optim_cls.__name__ == name)


def inputs() -> Iterator[Case]:
    """Every input that torch has for some device."""
    for name in CLASSES:
        seen = set()
        for device in ("cpu", "cuda", "mps"):
            for given in info_of(name).optim_inputs_func(device):
                if given.desc not in seen:
                    seen.add(given.desc)
                    yield Case(name, given.kwargs, given.desc)


def implementations() -> Iterator[Case]:
    """Each implementation that torch's arguments can ask for."""
    for name in CLASSES:
        for flag in ("foreach", "fused", "capturable"):
            if flag in inspect.signature(getattr(torch.optim, name)).parameters:
                for value in (False, True):
                    yield Case(name, {"weight_decay": 0.1, flag: value}, f"{flag}={value}")


def over(found: Iterator[Case]) -> pytest.MarkDecorator:
    listed = list(found)
    return pytest.mark.parametrize("case", listed, ids=[f"{case.name}, {case.desc}" for case in listed])


every_input = over(inputs())
every_case = over(itertools.chain(inputs(), implementations()))
every_class = pytest.mark.parametrize("case", [Case(name, {}, "default") for name in CLASSES], ids=CLASSES)


def parameters(seed: int = 0, dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in SHAPES]


def give(params: list[nn.Parameter], step: int) -> None:
    generator = torch.Generator().manual_seed(1000 + step)
    for param in params:
        param.grad = torch.randn(param.shape, generator=generator).to(param.dtype)


def copies(params: list[nn.Parameter]) -> list[nn.Parameter]:
    return [nn.Parameter(param.detach().clone()) for param in params]


def assert_near(mine: list[nn.Parameter], other: list[nn.Parameter]) -> None:
    """A few steps apart by rounding: rounding of one step is some units in the last place of a weight near 1."""
    for one, two in zip(mine, other, strict=True):
        torch.testing.assert_close(one, two, rtol=3e-6, atol=3e-6)


# ---- test_errors


def error_cases() -> Iterator[Any]:
    for name in CLASSES:
        for error in info_of(name).optim_error_inputs_func("cpu", torch.float32):
            given = error.optimizer_error_input
            yield pytest.param(name, error, id=f"{name}, {given.desc}")


@pytest.mark.parametrize(("name", "error"), error_cases())
def test_errors(name: str, error: Any) -> None:
    """The exception is torch's; the message may be our own."""
    given = error.optimizer_error_input
    assert error.error_on == OptimizerErrorEnum.CONSTRUCTION_ERROR
    params = parameters() if given.params is None else given.params
    make: Callable[[], Any] = lambda: getattr(lwt, name)(params, **given.kwargs)  # noqa: E731
    if given.desc in EXCLUDED:
        make()
    elif issubclass(error.error_type, Warning):
        with pytest.warns(error.error_type, match=error.error_regex):
            make()
    else:
        with pytest.raises(error.error_type):
            make()


@every_class
def test_errors_of_hyperparameters_come_before_those_of_parameters(case: Case) -> None:
    for wrong in ({"lr": -1.0}, {"lr": torch.tensor([0.1, 0.1])}, {"weight_decay": -1.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            case.ours([torch.arange(3)], **wrong)
    with pytest.raises(RuntimeError, match="`fused` and `foreach` cannot be `True` together"):
        case.ours([torch.arange(3)], fused=True, foreach=True)


# ---- Against torch


@every_case
def test_matches_torch(case: Case) -> None:
    """test_foreach_matches_forloop, test_fused_matches_forloop, test_tensor_lr."""
    mine, other = parameters(), parameters()
    ours, theirs = case.ours(mine), case.theirs(other)
    for step in range(7):
        give(mine, step)
        give(other, step)
        if step == 3:
            # One parameter without a gradient.
            mine[0].grad = other[0].grad = None
        ours.step()
        theirs.step()
    assert_near(mine, other)


@every_input
def test_mixed_device_dtype(case: Case) -> None:
    types = (torch.float32, torch.float64, torch.bfloat16, torch.float32)
    mine = [nn.Parameter(param.detach().to(dtype)) for param, dtype in zip(parameters(), types, strict=True)]
    other = copies(mine)
    ours, theirs = case.ours(mine), case.theirs(other)
    for step in range(4):
        give(mine, step)
        give(other, step)
        ours.step()
        theirs.step()
    for one, two in zip(mine, other, strict=True):
        # torch keeps moments of bfloat16 parameters in bfloat16, whose unit is 2**-8.
        near = 2**-6 if one.dtype is torch.bfloat16 else 3e-6
        torch.testing.assert_close(one, two, rtol=near, atol=near)


@every_class
def test_set_default_dtype_works_with_foreach(case: Case) -> None:
    before = torch.get_default_dtype()
    try:
        for dtype in (torch.float64, torch.float16):
            torch.set_default_dtype(dtype)
            params = parameters()
            opt = case.ours(params, foreach=True)
            give(params, 0)
            opt.step()
            state = next(iter(opt.state.values()))
            assert state["step"].dtype is torch.float32
    finally:
        torch.set_default_dtype(before)


# ---- Directions


SCHEDULERS: list[Callable[[Any], Any] | None] = [
    None,
    lambda opt: StepLR(opt, gamma=0.9, step_size=10),
    lambda opt: LinearLR(opt, start_factor=0.4, total_iters=4),
    lambda opt: ConstantLR(opt, factor=0.4, total_iters=4),
    lambda opt: ExponentialLR(opt, gamma=0.9),
    lambda opt: PolynomialLR(opt, power=0.9, total_iters=4),
    lambda opt: ReduceLROnPlateau(opt),
    lambda opt: CosineAnnealingLR(opt, T_max=20),
]


@every_input
def test_forloop_goes_right_direction(case: Case) -> None:
    for make in SCHEDULERS:
        for weight in (nn.Parameter(torch.randn(10, 5)), nn.Parameter(torch.randn(5, 10).t())):
            bias = nn.Parameter(torch.randn(10))
            opt = case.ours([weight, bias])
            first, last = twenty_steps(opt, make(opt) if make else None, weight, bias)
            assert (last > first) if case.kwargs.get("maximize") else (last < first)


def twenty_steps(opt: Any, scheduler: Any, weight: Tensor, bias: Tensor) -> tuple[float, float]:
    """The loss before them and after them."""
    x = torch.randn(5)

    def closure() -> Tensor:
        opt.zero_grad()
        loss: Tensor = (weight.mv(x) + bias).square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    first = closure().item()
    for _ in range(20):
        loss = opt.step(closure)
        if isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step(loss)
        elif scheduler:
            scheduler.step()
    return first, closure().item()


@every_input
def test_param_group_with_lrscheduler_goes_right_direction(case: Case) -> None:
    for make in SCHEDULERS[1:]:
        params = parameters(1), parameters(2)
        groups = [{"params": params[0]}, {"params": params[1], "lr": 0.01}]
        theirs = [{"params": copies(params[0])}, {"params": copies(params[1]), "lr": 0.01}]
        ours, other = case.ours(groups), case.theirs(theirs)
        schedulers = make and make(ours), make and make(other)
        for step in range(6):
            for opt, scheduler in zip((ours, other), schedulers, strict=True):
                for group in opt.param_groups:
                    give(group["params"], step)
                opt.step()
                if isinstance(scheduler, ReduceLROnPlateau):
                    scheduler.step(1.0)
                elif scheduler:
                    scheduler.step()
        for one, two in zip(ours.param_groups, other.param_groups, strict=True):
            assert float(one["lr"]) == pytest.approx(float(two["lr"]))
            assert_near(one["params"], two["params"])


@pytest.mark.parametrize("momentum", [1.0, 5.0, 22.0])
def test_momentum_of_one_and_more(momentum: float) -> None:
    """What schedulers of momentum put there in torch's tests of them."""
    case = Case("SGD", {"lr": 1e-3, "momentum": momentum}, "")
    mine, other = parameters(), parameters()
    ours, theirs = case.ours(mine), case.theirs(other)
    for step in range(4):
        give(mine, step)
        give(other, step)
        ours.step()
        theirs.step()
    for one, two in zip(mine, other, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5)


@every_class
@pytest.mark.parametrize("kind", ["cyclic", "one cycle"])
def test_schedulers_of_momentum(case: Case, kind: str) -> None:
    """As torch's tests of them: momentum or beta1 up to 22, in steps without gradients."""
    params = parameters()
    opt = case.ours(params, **({"momentum": 0.9} if case.name == "SGD" else {}))
    scheduler: Any = (
        CyclicLR(opt, 1, 5, 4, cycle_momentum=True, base_momentum=1, max_momentum=5)
        if kind == "cyclic"
        else OneCycleLR(opt, max_lr=25, total_steps=8, cycle_momentum=True, base_momentum=1, max_momentum=22)
    )
    found = set()
    for _ in range(8):
        opt.step()
        group = opt.param_groups[0]
        found.add(round(group["momentum"] if case.name == "SGD" else group["betas"][0]))
        scheduler.step()
    assert max(found) == (5 if kind == "cyclic" else 22) and min(found) in (1, 2)


# ---- Groups


@every_input
def test_param_groups_weight_decay(case: Case) -> None:
    params = nn.Parameter(torch.randn(10, 5)), nn.Parameter(torch.randn(10))
    theirs = copies(list(params))
    groups = [[{"params": [p[0]], "weight_decay": 0.2}, {"params": [p[1]]}] for p in (params, theirs)]
    opts = case.ours(groups[0], weight_decay=0), case.theirs(groups[1], weight_decay=0)
    for step in range(5):
        for opt, each in zip(opts, (params, theirs), strict=True):
            give(list(each), step)
            opt.step()
    assert_near(list(params), theirs)


@every_input
def test_param_groups_lr(case: Case) -> None:
    params = [nn.Parameter(torch.randn(10, 5)), nn.Parameter(torch.randn(10)), nn.Parameter(torch.randn(3))]
    theirs = copies(params)
    groups = [
        [{"params": [p[0]]}, {"params": [p[1]], "lr": 0.01}, {"params": [p[2]], "lr": 0.0}] for p in (params, theirs)
    ]
    before = params[2].detach().clone()
    opts = case.ours(groups[0]), case.theirs(groups[1])
    for step in range(5):
        for opt, each in zip(opts, (params, theirs), strict=True):
            give(each, step)
            opt.step()
    assert_near(params, theirs)
    assert torch.equal(params[2], before), "a rate of 0"


@every_class
def test_maximize_of_a_group(case: Case) -> None:
    """torch reads it from each group."""
    params = parameters()
    theirs = copies(params)
    opts = []
    for make, each in ((case.ours, params), (case.theirs, theirs)):
        opts.append(make([{"params": each[:2], "maximize": True}, {"params": each[2:]}], lr=0.01))
    for step in range(6):
        for opt, each in zip(opts, (params, theirs), strict=True):
            if step == 3:
                opt.param_groups[0]["maximize"], opt.param_groups[1]["maximize"] = False, True
            give(each, step)
            opt.step()
    assert_near(params, theirs)


# ---- No gradient, or one of zeros


@every_input
def test_step_is_noop_when_params_have_no_grad(case: Case) -> None:
    params = parameters()
    before = copies(params)
    opt = case.ours(params)
    opt.step()
    assert all(map(torch.equal, params, before)) and not opt.state


@every_input
def test_step_is_noop_for_zero_grads(case: Case) -> None:
    kwargs = {key: value for key, value in case.kwargs.items() if key != "weight_decay"}
    params = parameters()
    before = copies(params)
    opt = Case(case.name, kwargs, "").ours(params, weight_decay=0)
    for param in params:
        param.grad = torch.zeros_like(param)
    opt.step()
    assert all(map(torch.equal, params, before))
    assert {float(state["step"]) for state in opt.state.values()} == {1.0}


@every_input
def test_empty_grad(case: Case) -> None:
    """Parameters without elements beside others."""
    for shapes in (((0,), (0, 3), (4,)), ((0,),)):
        params = [nn.Parameter(torch.ones(shape)) for shape in shapes]
        opt = case.ours(params)
        for param in params:
            param.grad = torch.ones_like(param)
        opt.step()
        assert len(opt.state) == len(params)


@every_class
def test_gradients_of_other_strides(case: Case) -> None:
    params = [nn.Parameter(torch.randn(4, 6)), nn.Parameter(torch.randn(6, 4).t())]
    theirs = copies(params)
    opts = case.ours(params), case.theirs(theirs)
    for _ in range(3):
        gradients = [torch.randn(8, 6)[::2], torch.randn(6, 4).t()]
        for opt, each in zip(opts, (params, theirs), strict=True):
            for param, gradient in zip(each, gradients, strict=True):
                param.grad = gradient
            opt.step()
    assert_near(params, theirs)


# ---- Printing, copying, state


@every_input
def test_optimizer_can_be_printed(case: Case) -> None:
    opt = case.ours(parameters())
    assert re.match(rf"{case.name} \(\nParameter Group 0\n", repr(opt))
    repr(opt.__getstate__())


def continues(case: Case, named: bool, carry: Callable[[Any, list[nn.Parameter]], Any]) -> None:
    """A run that is carried over in its middle goes on with the same bits."""
    params = parameters()
    given: Any = [(f"p{index}", param) for index, param in enumerate(params)] if named else params
    opt = case.ours(given)
    for step in range(4):
        give(params, step)
        opt.step()
    twins = copies(params)
    carried = carry(opt, twins)
    for step in range(4, 8):
        give(params, step)
        give(twins, step)
        opt.step()
        carried.step()
    assert all(map(torch.equal, params, twins))


@every_input
@pytest.mark.parametrize("named", [False, True])
def test_state_dict_deterministic(case: Case, named: bool) -> None:
    def carry(opt: Any, twins: list[nn.Parameter]) -> Any:
        given: Any = [(f"p{index}", param) for index, param in enumerate(twins)] if named else twins
        other = case.ours(given)
        state = opt.state_dict()
        other.load_state_dict(copy.deepcopy(state))
        again = other.state_dict()
        assert str(again["param_groups"]) == str(state["param_groups"])
        for key, entry in state["state"].items():
            assert all(torch.equal(value, again["state"][key][name]) for name, value in entry.items())
        return other

    continues(case, named, carry)


@every_input
@pytest.mark.parametrize("named", [(False, True), (True, False)])
def test_can_load_from_to_named_state_dict(case: Case, named: tuple[bool, bool]) -> None:
    def carry(opt: Any, twins: list[nn.Parameter]) -> Any:
        given: Any = [(f"q{index}", param) for index, param in enumerate(twins)] if named[1] else twins
        other = case.ours(given)
        other.load_state_dict(copy.deepcopy(opt.state_dict()))
        return other

    continues(case, named[0], carry)


@every_input
def test_save_load_equality_with_weights_only(case: Case) -> None:
    def carry(opt: Any, twins: list[nn.Parameter]) -> Any:
        file = io.BytesIO()
        torch.save(opt.state_dict(), file)
        file.seek(0)
        other = case.ours(twins)
        other.load_state_dict(torch.load(file, weights_only=True))
        return other

    continues(case, False, carry)


@every_input
@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_copies_go_on(case: Case, how: str) -> None:
    """test_deepcopy_copies_all_public_attrs, and pickling."""

    def carry(opt: Any, twins: list[nn.Parameter]) -> Any:
        other = copy.deepcopy(opt) if how == "deepcopy" else pickle.loads(pickle.dumps(opt))
        assert {key for key in dir(opt) if key[0] != "_"} == {key for key in dir(other) if key[0] != "_"}
        with torch.no_grad():
            for index, param in enumerate(other.param_groups[0]["params"]):
                assert torch.equal(param, twins[index])
                twins[index] = param
        return other

    continues(case, False, carry)


@every_class
def test_can_load_older_state_dict(case: Case) -> None:
    """One from before there were the newer arguments."""

    def carry(opt: Any, twins: list[nn.Parameter]) -> Any:
        state = copy.deepcopy(opt.state_dict())
        for group in state["param_groups"]:
            for flag in ("foreach", "maximize", "capturable", "differentiable", "fused", "amsgrad", "nesterov"):
                group.pop(flag, None)
        other = case.ours(twins)
        other.load_state_dict(state)
        return other

    continues(case, False, carry)


@every_class
def test_load_nontensor_step(case: Case) -> None:
    def carry(opt: Any, twins: list[nn.Parameter]) -> Any:
        state = copy.deepcopy(opt.state_dict())
        for entry in state["state"].values():
            entry["step"] = entry["step"].item()
        other = case.ours(twins)
        other.load_state_dict(state)
        return other

    continues(case, False, carry)


@every_input
def test_state_goes_to_torch_and_back(case: Case) -> None:
    params = parameters()
    opt, theirs = case.ours(params), case.theirs(copies(params))
    for step in range(3):
        give(params, step)
        opt.step()
    state = copy.deepcopy(opt.state_dict())
    # torch's own refuses it on the CPU.
    state["param_groups"][0].pop("capturable", None)
    theirs.load_state_dict(state)
    theirs.param_groups[0].setdefault("capturable", False)
    for param, mine in zip(theirs.param_groups[0]["params"], params, strict=True):
        param.data = mine.detach().clone()
    back = case.ours(copies(params))
    back.load_state_dict(copy.deepcopy(theirs.state_dict()))
    for step in range(3, 6):
        for each in (theirs, back):
            give(each.param_groups[0]["params"], step)
            each.step()
    assert_near(back.param_groups[0]["params"], theirs.param_groups[0]["params"])


@every_input
def test_non_empty_state(case: Case) -> None:
    """State that a user has put there stays."""
    params = [nn.Parameter(torch.ones(3))]
    opt = case.ours(params)
    opt.state["mine"] = {"a": 1}
    params[0].grad = torch.ones(3)
    opt.step()
    assert opt.state["mine"] == {"a": 1}
    assert "mine" in opt.state_dict()["state"]


# ---- Hooks


@every_class
def test_hooks(case: Case) -> None:
    """test_step_pre_hook, test_step_post_hook and the hooks of state dicts."""
    params = parameters()
    opt = case.ours(params)
    seen: list[str] = []
    handles = [
        opt.register_step_pre_hook(lambda *_: seen.append("before")),
        opt.register_step_post_hook(lambda *_: seen.append("after")),
        opt.register_state_dict_pre_hook(lambda *_: seen.append("saving")),
        opt.register_state_dict_post_hook(lambda *_: seen.append("saved")),
        opt.register_load_state_dict_pre_hook(lambda *_: seen.append("loading")),
        opt.register_load_state_dict_post_hook(lambda *_: seen.append("loaded")),
    ]
    for _ in range(2):
        give(params, 0)
        opt.step()
        opt.load_state_dict(opt.state_dict())
        for handle in handles:
            handle.remove()
    assert seen == ["before", "after", "saving", "saved", "loading", "loaded"]


# ---- Flags


@every_class
def test_flags_that_choose_an_implementation(case: Case) -> None:
    """`fused=torch.cuda.is_available()` and its like run on any machine."""
    for flag in ("foreach", "fused", "capturable"):
        if flag not in inspect.signature(getattr(torch.optim, case.name)).parameters:
            continue
        for value in (None, False, True):
            opt = case.ours(parameters(), **{flag: value})
            assert opt.param_groups[0][flag] is value
    with pytest.raises(ValueError, match="differentiable must be False"):
        case.ours(parameters(), differentiable=True)
    with pytest.raises(TypeError, match="fused must be True, False or None, found 'yes'"):
        case.ours(parameters(), fused="yes")


def test_every_exclusion_is_of_something() -> None:
    """The table holds no input that torch does not have."""
    found = {
        error.optimizer_error_input.desc
        for name in CLASSES
        for error in info_of(name).optim_error_inputs_func("cpu", torch.float32)
    }
    assert {key for key in EXCLUDED if not key.startswith("test_")} <= found | {"differentiable"}
