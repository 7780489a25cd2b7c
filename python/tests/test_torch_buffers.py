# SPDX-License-Identifier: Apache-2.0
"""torch tensors as buffers, which may move although they are held."""

from collections.abc import Callable

import pytest
import torch

import layerwise as lw

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


@pytest.mark.parametrize("dtype", DTYPES)
def test_stepped_in_place(dtype: torch.dtype) -> None:
    weight = torch.nn.Parameter(torch.ones(2, 3, dtype=dtype))
    with lw.Optimizer(lw.SGD(lr=0.5)) as opt:
        opt.add_layer("a", weight)
        for _ in range(2):
            weight.grad = None
            weight.sum().backward()  # type: ignore[no-untyped-call]
            opt.step({"a": weight.grad})
    assert weight.eq(0).all()


def test_empty_and_scalar_tensors() -> None:
    empty, scalar = torch.ones(0, 3), torch.tensor(1.0)
    with lw.Optimizer(lw.SGD(lr=1.0)) as opt:
        opt.add_layer(
            "a", {"e": empty, "f": torch.ones(0), "s": scalar}, grads={"e": torch.ones(0, 3), "s": scalar + 0}
        )
        opt.step()
        opt.step({"a": {"e": torch.ones(0, 3), "s": torch.tensor(-2.0)}})
    assert scalar.item() == 2.0


REFUSED: dict[str, tuple[Callable[[], torch.Tensor], type[lw.LayerwiseError], str]] = {
    "strided": (lambda: torch.ones(4, 4).t()[:2], lw.InvalidArgument, "contiguous"),
    "expanded": (lambda: torch.ones(1).expand(4), lw.InvalidArgument, "contiguous"),
    "sparse": (lambda: torch.eye(3).to_sparse(), lw.InvalidArgument, "dense tensor, found layout torch.sparse_coo"),
    "meta": (lambda: torch.ones(4, device="meta"), lw.InvalidArgument, "on the CPU, found device meta"),
    "int64": (lambda: torch.ones(4, dtype=torch.int64), lw.DTypeMismatch, "found int64"),
    "bool": (lambda: torch.ones(4, dtype=torch.bool), lw.DTypeMismatch, "found torch.bool"),
    "complex": (lambda: torch.ones(4, dtype=torch.complex64), lw.DTypeMismatch, "found torch.complex64"),
    "float8": (lambda: torch.ones(4).to(torch.float8_e5m2), lw.DTypeMismatch, "found torch.float8_e5m2"),
}


@pytest.mark.parametrize(("make", "exception", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(make: Callable[[], torch.Tensor], exception: type[lw.LayerwiseError], message: str) -> None:
    with lw.Optimizer(lw.SGD()) as opt, pytest.raises(exception, match=message):
        opt.add_layer("a", make())


def freed(tensor: torch.Tensor) -> None:
    tensor.untyped_storage().resize_(0)


MOVES: dict[str, Callable[[torch.Tensor], object]] = {
    "data assigned": lambda tensor: setattr(tensor, "data", torch.zeros(1000)),
    "grown": lambda tensor: tensor.resize_(2000),
    "shrunk in place": lambda tensor: tensor.resize_(10),
    "set": lambda tensor: tensor.set_(torch.zeros(1000)),  # type: ignore[call-overload]
    "storage freed": freed,
}


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
def test_a_moved_parameter_is_refused_at_the_step(move: Callable[[torch.Tensor], object]) -> None:
    steady, weight, gradient = torch.ones(2), torch.zeros(1000), torch.ones(1000)
    with lw.Optimizer(lw.SGD(lr=1.0)) as opt:
        opt.add_layer("steady", steady, grads=torch.ones(2))
        opt.add_layer("a", {"w": weight}, grads={"w": gradient})
        opt.step()
        move(weight)
        for grads in (None, {"a": {"w": gradient}}):
            with pytest.raises(
                lw.InvalidArgument, match=r'layer "a": tensor "w": parameters must stay.*moved or resized.*layer\.bind'
            ):
                opt.step(grads)
        assert steady.eq(0).all()
        assert gradient.eq(1).all()
        new = torch.zeros(1000)
        opt.layer("a").bind(new, gradient)
        opt.step()
        assert new.eq(-1).all()
        assert steady.eq(-1).all()


def test_a_moved_gradient_is_refused_unless_another_is_given() -> None:
    weight, gradient = torch.zeros(1000), torch.ones(1000)
    with lw.Optimizer(lw.SGD(lr=1.0)) as opt:
        opt.add_layer("a", weight, grads=gradient)
        gradient.data = torch.ones(1000)
        with pytest.raises(lw.InvalidArgument, match="gradient must stay"):
            opt.step()
        opt.step({"a": gradient})
        assert weight.eq(-1).all()


def test_states_into_torch() -> None:
    with lw.Optimizer(lw.Adam()) as opt:
        layer = opt.add_layer("a", torch.ones(3), grads=torch.ones(3))
        opt.step()
        out = torch.zeros(3)
        assert layer.read_state("weight", "exp_avg", out) is out
        assert torch.allclose(out, torch.full((3,), 0.1))
        layer.write_state("weight", "step", torch.tensor([5]))
        assert layer.info.steps == 5
