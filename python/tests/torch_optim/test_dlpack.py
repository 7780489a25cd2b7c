# SPDX-License-Identifier: Apache-2.0
"""Gradients found natively: that they are, and that what is not as usual is stepped or refused as in Python.

Each case is stepped natively and, with torch's interface taken away, pair by pair in Python; both must be equal in
every bit, and to a plain step of what the gradient says.  The plain steps are SGD at a rate of 1 from whole numbers,
which float32 and float16 hold exactly: there is no rounding to tolerate.
"""

import ctypes
import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import layerwise as lw
import layerwise.torch as lwt
from layerwise.torch import _dlpack, _engine

SHAPES = {"matrix": (3, 4), "square": (4, 4), "image": (2, 3, 4, 5), "column": (5, 1), "number": (), "one": (1,)}


def numbers(shape: tuple[int, ...], dtype: torch.dtype = torch.float32, start: int = 0) -> Tensor:
    """Whole numbers, each different."""
    count = torch.Size(shape).numel()
    return torch.arange(start, start + count, dtype=torch.float64).reshape(shape).to(dtype)


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of the parameters whose gradients were looked at in Python."""
    names: list[str] = []
    usable = _engine.Engine._usable

    def count(self: Any, member: Any, gradient: Any) -> Any:
        names.append(member.name.split(".")[-1])
        return usable(self, member, gradient)

    monkeypatch.setattr(_engine.Engine, "_usable", count)
    yield names


@pytest.fixture(params=["native", "python"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With torch's interface, and as if it had none."""
    if request.param == "python":
        monkeypatch.setattr(_dlpack, "_VIEW", None)
    return str(request.param)


def parameters(dtype: torch.dtype = torch.float32, **more: Tensor) -> dict[str, nn.Parameter]:
    values = {name: numbers(shape, dtype, 7) for name, shape in SHAPES.items()} | more
    return {name: nn.Parameter(value) for name, value in values.items()}


def step_once(params: dict[str, nn.Parameter]) -> None:
    lwt.SGD(params.items(), lr=1.0).step()


# ---- As usual


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_the_usual_is_found_natively(dtype: torch.dtype, looked_at: list[str]) -> None:
    params = parameters(dtype)
    opt = lwt.SGD(params.items(), lr=1.0)
    expected = {name: param.detach().clone() for name, param in params.items()}
    for start in range(3):
        for name, param in params.items():
            # New ones each time, and one in the middle of other memory.
            param.grad = numbers(SHAPES[name], dtype, start) if start else numbers((2, *SHAPES[name]), dtype)[1]
            expected[name] -= param.grad
        opt.step()
        for name, param in params.items():
            assert torch.equal(param, expected[name]), name
    assert looked_at == []


def test_the_interface_is_there() -> None:
    """The torch that this package asks for has it; else all would be slow, and nothing else would tell."""
    assert _dlpack._find_view() and _dlpack._VIEW


def test_an_interface_of_another_version_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    name = b"dlpack_exchange_api"
    prototype = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
    new_capsule = prototype(("PyCapsule_New", ctypes.pythonapi))

    def find(api: _dlpack._ExchangeApi) -> int | None:
        monkeypatch.setattr(Tensor, "__dlpack_c_exchange_api__", new_capsule(ctypes.addressof(api), name, None))
        return _dlpack._find_view()

    of = _dlpack._ExchangeApi
    old = of(major=1, minor=9, dltensor_from_py_object_no_sync=123)
    assert find(old) == 123
    assert find(of(major=1, minor=9)) is None
    assert find(of(major=2, dltensor_from_py_object_no_sync=5)) is None
    assert find(of(major=0, dltensor_from_py_object_no_sync=5)) is None
    newer = of(major=2, older=ctypes.pointer(old), dltensor_from_py_object_no_sync=5)
    assert find(of(major=3, older=ctypes.pointer(newer), dltensor_from_py_object_no_sync=5)) == 123
    monkeypatch.delattr(Tensor, "__dlpack_c_exchange_api__")
    assert _dlpack._find_view() is None


def permuted(tensor: Tensor) -> Tensor:
    """The same values with the dimensions in the opposite order in memory."""
    backwards = tuple(reversed(range(tensor.ndim)))
    return tensor.permute(backwards).contiguous().permute(backwards)


@pytest.mark.parametrize("order", ["permuted", "channels last"])
def test_gradients_in_the_order_of_a_permuted_parameter(order: str, looked_at: list[str]) -> None:
    def arrange(tensor: Tensor) -> Tensor:
        if order == "permuted":
            return permuted(tensor)
        return tensor.to(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor

    params = {name: nn.Parameter(arrange(numbers(shape))) for name, shape in SHAPES.items()}
    for name, param in params.items():
        param.grad = arrange(numbers(SHAPES[name], start=50))
    step_once(params)
    for name, param in params.items():
        assert torch.equal(param, numbers(SHAPES[name]) - numbers(SHAPES[name], start=50)), name
    assert looked_at == []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_float32_gradients_of_16_bit_parameters_are_found_natively(dtype: torch.dtype, looked_at: list[str]) -> None:
    param = nn.Parameter(torch.zeros(4, dtype=dtype))
    param.grad_dtype = torch.float32
    opt = lwt.SGD([param], lr=1.0, momentum=0.5)
    param.grad = torch.full((4,), 1.0 + 2.0**-20)
    opt.step()
    assert opt.state[param]["momentum_buffer"][0] == 1.0 + 2.0**-20
    assert looked_at == []


def test_missing_gradients_are_no_trouble(path: str, looked_at: list[str]) -> None:
    params = parameters()
    opt = lwt.SGD(params.items(), lr=1.0, momentum=0.5)
    before = {name: param.detach().clone() for name, param in params.items()}
    params["square"].grad = torch.ones(4, 4)
    versions = {name: param._version for name, param in params.items()}
    opt.step()
    assert path == "python" or looked_at == []
    assert torch.equal(params["square"], before["square"] - 1)
    assert all(torch.equal(param, before[name]) for name, param in params.items() if name != "square")
    assert [name for name, param in params.items() if param._version != versions[name]] == ["square"]
    assert list(opt.state) == [params["square"]]


def test_a_missing_gradient_does_not_leave_the_last_one_behind(path: str) -> None:
    params = parameters()
    opt = lwt.SGD(params.items(), lr=1.0)
    for param in params.values():
        param.grad = torch.ones_like(param)
    opt.step()
    before = params["image"].detach().clone()
    params["image"].grad = None
    opt.step()
    assert torch.equal(params["image"], before)
    assert torch.equal(params["matrix"], numbers((3, 4), start=7) - 2)


# ---- Unusual gradients


def negated(shape: tuple[int, ...]) -> Tensor:
    """What autograd makes of the imaginary part of a conjugate."""
    values = torch.complex(torch.zeros(shape), torch.full(shape, 3.0)).conj().imag
    assert values.is_neg()
    return values


UNUSUAL: dict[str, tuple[str, Callable[[], Tensor]]] = {
    "transposed": ("square", lambda: numbers((4, 4)).t()),
    "channels last": ("image", lambda: numbers((2, 3, 4, 5)).to(memory_format=torch.channels_last)),
    "expanded": ("matrix", lambda: torch.tensor(2.0).expand(3, 4)),
    "expanded along one": ("matrix", lambda: numbers((4,)).expand(3, 4)),
    "with gaps": ("matrix", lambda: numbers((3, 8))[:, ::2]),
    "part of a larger one": ("matrix", lambda: numbers((3, 8))[:, 2:6]),
    "negated number": ("number", lambda: negated(())),
    "negated one": ("one", lambda: negated((1,))),
    "negated column": ("column", lambda: negated((5, 1))),
}


@pytest.mark.parametrize("case", UNUSUAL)
def test_unusual_gradients(case: str, path: str, looked_at: list[str]) -> None:
    name, make = UNUSUAL[case]
    params = parameters()
    for key, param in params.items():
        param.grad = make() if key == name else numbers(SHAPES[key], start=3)
    expected = {key: param.detach() - param.grad for key, param in params.items()}
    step_once(params)
    for key, param in params.items():
        assert torch.equal(param, expected[key]), key
    assert set(looked_at) == ({name} if path == "native" else set(params))


@pytest.mark.parametrize("grad_dtype", [torch.float32, torch.bfloat16])
def test_gradients_of_the_other_16_bit_type_are_converted(
    grad_dtype: torch.dtype, path: str, looked_at: list[str]
) -> None:
    """Of the same number of bytes, for the one; the bits of 3 in bfloat16 are another number in float16."""
    param, other = nn.Parameter(torch.zeros(4, dtype=torch.float16)), nn.Parameter(torch.zeros(3))
    param.grad_dtype = None
    param.grad, other.grad = torch.full((4,), 3.0, dtype=grad_dtype), torch.ones(3)
    step_once({"half": param, "other": other})
    assert torch.equal(param, torch.full((4,), -3.0, dtype=torch.float16))
    assert path == "python" or looked_at == ["half"]


def test_autograd_may_leave_a_negation_to_be_done() -> None:
    """As of torch 2.13 it does, for one element; the sign was once taken to be the opposite."""
    real, imaginary = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    (torch.complex(real, imaginary).conj() * torch.tensor([1 + 2j])).imag.sum().backward()
    assert imaginary.grad is not None and imaginary.grad.is_neg() and imaginary.grad.item() == -1
    step_once({"real": real, "imaginary": imaginary})
    assert (real.item(), imaginary.item()) == (-1, 2)


def test_a_parameter_that_waits_to_be_negated_is_refused() -> None:
    with pytest.raises(lw.InvalidArgument, match=r"parameter 0 of group 0 waits to be negated"):
        lwt.SGD([nn.Parameter(negated((1,)))], lr=1.0)


def free(gradient: Tensor) -> None:
    gradient.untyped_storage().resize_(0)


REFUSED: dict[str, tuple[Callable[[Tensor], object], type[Exception], str]] = {
    "shrunk": (lambda gradient: gradient.resize_(2, 4), lw.ShapeMismatch, r"shape \(4, 4\), found \(2, 4\)"),
    "another shape": (lambda gradient: gradient.resize_(2, 8), lw.ShapeMismatch, r"shape \(4, 4\), found \(2, 8\)"),
    "freed": (free, lw.InvalidArgument, "has no memory: its storage was freed"),
    "freed and transposed": (lambda gradient: free(gradient.t_()), lw.InvalidArgument, "has no memory"),
}


def refuse(params: dict[str, nn.Parameter], error: type[Exception], message: str) -> None:
    """A step is refused for the gradient of the square, changes nothing, and the next one is as any."""
    before = {key: param.detach().clone() for key, param in params.items()}
    opt = lwt.SGD(params.items(), lr=1.0)
    with pytest.raises(error, match=f'gradient of parameter "square".*{message}'):
        opt.step()
    assert all(torch.equal(param, before[key]) for key, param in params.items())
    params["square"].grad = torch.ones(4, 4)
    opt.step()
    assert torch.equal(params["square"], before["square"] - 1)


@pytest.mark.parametrize("case", REFUSED)
def test_gradients_that_are_refused(case: str, path: str) -> None:
    """The setter of `grad` sees to most, but not to what becomes of a gradient afterwards."""
    change, error, message = REFUSED[case]
    params = parameters()
    for key, param in params.items():
        param.grad = numbers(SHAPES[key])
    assert params["square"].grad is not None
    change(params["square"].grad)
    refuse(params, error, message)


def test_sparse_gradients_are_refused(path: str) -> None:
    params = parameters()
    for key, param in params.items():
        param.grad = numbers(SHAPES[key])
    params["square"].grad = torch.eye(4).to_sparse()
    refuse(params, lw.InvalidArgument, "must be a dense tensor, found layout")


# ---- Parameters that lie otherwise than they did


def train(change: Callable[[nn.Parameter], None] | None, value: Tensor) -> tuple[Tensor, Tensor]:
    """Momentum over three steps, the parameter changed after the first: its values and momentum by element."""
    param, other = nn.Parameter(value), nn.Parameter(torch.ones(3))
    opt = lwt.SGD([("param", param), ("other", other)], lr=1.0, momentum=0.5)
    for step in range(3):
        param.grad, other.grad = None, torch.ones(3)
        if step == 1 and change is not None:
            change(param)
        # Gradients of shape and type of the parameter, with the strides that autograd gives them.
        param.grad = torch.empty_like(param).copy_(numbers(tuple(param.shape), start=step))
        opt.step()
    return param.detach().clone(), opt.state[param]["momentum_buffer"].clone()


CHANGES: dict[str, Callable[[nn.Parameter], None]] = {
    "transposed where it lies": lambda param: setattr(param, "data", param.data.t()),
    "other strides where it lies": lambda param: setattr(param, "data", param.data.as_strided((4, 4), (1, 4))),
    "elsewhere": lambda param: setattr(param, "data", param.data.clone()),
    "elsewhere and transposed": lambda param: setattr(param, "data", param.data.t().clone().t()),
}


@pytest.mark.parametrize("start", ["contiguous", "transposed"])
@pytest.mark.parametrize("change", CHANGES)
def test_parameters_that_lie_otherwise(change: str, start: str, path: str) -> None:
    """Momentum belongs to the element [i, j], wherever that lies, as in torch."""
    make = numbers((4, 4)) if start == "contiguous" else permuted(numbers((4, 4)))

    def with_torch() -> tuple[Tensor, Tensor]:
        param = nn.Parameter(make.clone())
        opt = torch.optim.SGD([param], lr=1.0, momentum=0.5)
        for step in range(3):
            param.grad = None
            if step == 1:
                CHANGES[change](param)
            param.grad = torch.empty_like(param).copy_(numbers((4, 4), start=step))
            opt.step()
        return param.detach(), opt.state[param]["momentum_buffer"]

    for found, expected in zip(train(CHANGES[change], make.clone()), with_torch(), strict=True):
        assert torch.equal(found, expected)


REFUSED_CHANGES: dict[str, tuple[Callable[[nn.Parameter], None], type[Exception], str]] = {
    "another shape": (
        lambda param: setattr(param, "data", param.data.view(2, 8)),
        lw.ShapeMismatch,
        r'parameter "param" must keep its shape \(4, 4\), found \(2, 8\)',
    ),
    "fewer elements": (
        lambda param: setattr(param, "data", param.data[:2]),
        lw.ShapeMismatch,
        r'parameter "param" must keep its shape \(4, 4\), found \(2, 4\)',
    ),
    "shared elements": (
        lambda param: setattr(param, "data", param.data.as_strided((4, 4), (0, 1))),
        lw.InvalidArgument,
        "must have memory of its own for each element",
    ),
    "an unknown type": (
        lambda param: setattr(param, "data", param.data.view(torch.float8_e5m2).as_strided((4, 4), (4, 1))),
        lw.DTypeMismatch,
        'parameter "param" must be float64, float32, float16 or bfloat16, found torch.float8_e5m2',
    ),
}


@pytest.mark.parametrize("change", REFUSED_CHANGES)
def test_parameters_that_may_not_lie_as_they_do_now(change: str, path: str) -> None:
    """At the same address: only shape, strides or type tell."""
    move, error, message = REFUSED_CHANGES[change]
    param = nn.Parameter(numbers((4, 4)))
    opt = lwt.SGD([("param", param)], lr=1.0)
    old = param.data
    move(param)
    assert param.data_ptr() == old.data_ptr()
    param.grad = torch.ones(param.shape, dtype=param.dtype)
    with pytest.raises(error, match=message):
        opt.step()
    assert torch.equal(old, numbers((4, 4)))
    param.data = old
    param.grad = torch.ones(4, 4)
    opt.step()
    assert torch.equal(param, numbers((4, 4)) - 1)


def test_only_the_first_step_after_a_move_looks(looked_at: list[str]) -> None:
    """The new place of a parameter is remembered, also if it is one that moved among many."""
    params = parameters()
    opt = lwt.SGD(params.items(), lr=1.0)
    for name in ("image", "matrix", "image"):
        params[name].data = permuted(params[name].data.clone())
        gc.collect()
        for _ in range(2):
            for param in params.values():
                param.grad = torch.ones_like(param)
            opt.step()
        assert looked_at == [name]
        looked_at.clear()


# ---- Everything together


def test_a_mixture_is_stepped_as_in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random choices of all the above over many steps give the same bits with the interface and without."""

    def run(seed: int) -> list[Tensor]:
        generator = torch.Generator().manual_seed(seed)

        def draw(count: int) -> int:
            return int(torch.randint(count, (), generator=generator))

        params = parameters(empty=torch.zeros(0, 3))
        shapes = SHAPES | {"empty": (0, 3)}
        opt = lwt.AdamW(params.items(), lr=0.1)
        for _ in range(12):
            for name, param in params.items():
                gradient = torch.randn(shapes[name], generator=generator)
                kind = draw(8)
                if kind == 0:
                    param.grad = None
                elif kind == 1:
                    param.grad = permuted(gradient)
                elif kind == 2:
                    param.grad = torch.complex(gradient, gradient).conj().imag
                elif kind == 3:
                    param.data = permuted(param.data)
                    param.grad = gradient
                else:
                    param.grad = torch.empty_like(param).copy_(gradient)
            opt.step()
        return [tensor for name, param in params.items() for tensor in (param.detach(), *opt.state[param].values())]

    for seed in range(5):
        natively = run(seed)
        with monkeypatch.context() as without:
            without.setattr(_dlpack, "_VIEW", None)
            in_python = run(seed)
        for index, (one, other) in enumerate(zip(natively, in_python, strict=True)):
            assert torch.equal(one, other), (seed, index)
