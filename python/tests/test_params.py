# SPDX-License-Identifier: Apache-2.0
"""Rules, policies, schedules and freezing plans as parameters of scikit-learn, and as values."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from support.recipes import PLANS, POLICIES, SCHEDULES
from support.rules import TABLE

import layerwise as lw

RULES: list[Any] = [getattr(lw, name)(**row.options) for name, row in TABLE.items()]
VALUES: list[Any] = [*RULES, *POLICIES, *SCHEDULES, *PLANS]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_are_values(value: Any) -> None:
    for made in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value)), value.set_params()):
        assert type(made) is type(value)
        assert made == value
        assert hash(made) == hash(value)
        assert repr(made) == repr(value)
    assert value != object()
    assert len({value, copy.copy(value)}) == 1


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_parameters_make_the_same_value(value: Any) -> None:
    shallow = value.get_params(deep=False)
    deep = value.get_params()
    assert all(deep[key] is shallow[key] for key in shallow)
    assert value.set_params(**shallow) == value
    assert value.set_params(**deep) == value


def test_parameters_inside_others() -> None:
    schedule = lw.Warmup(5, lw.Cosine(20, min_factor=0.1))
    assert schedule.get_params()["then__total_steps"] == 20
    assert schedule.get_params(deep=False).keys() == {
        "steps", "then", "shape", "start", "count_from", "overlap",
    }  # fmt: skip
    changed = schedule.set_params(then__total_steps=30, steps=7)
    assert changed == lw.Warmup(7, lw.Cosine(30, min_factor=0.1))
    assert schedule == lw.Warmup(5, lw.Cosine(20, min_factor=0.1))
    assert schedule.set_params(then=lw.Linear(9), then__total_steps=8) == lw.Warmup(5, lw.Linear(8))


def test_parameters_inside_lists() -> None:
    both = lw.Sequential([lw.Warmup(4), lw.Product(lw.Linear(6), lw.Constant(2.0))], [4])
    params = both.get_params()
    assert params["schedules__0"] == lw.Warmup(4)
    assert params["schedules__0__steps"] == 4
    assert params["schedules__1__schedules__1__factor"] == 2.0
    changed = both.set_params(schedules__1__schedules__1__factor=3.0, schedules__0=lw.Warmup(3))
    assert changed == lw.Sequential([lw.Warmup(3), lw.Product(lw.Linear(6), lw.Constant(3.0))], [4])
    combined = lw.Combine(lw.LayerDecay(0.5), lw.Exclude())
    assert combined.set_params(policies__0__decay=0.75) == lw.Combine(lw.LayerDecay(0.75), lw.Exclude())
    assert lw.RateSlice(0.1).set_params(lowest=0.01) == lw.RateSlice(0.01, 0.1)
    assert lw.RateSlice(0.01, 0.1).set_params(highest=0.2) == lw.RateSlice(0.01, 0.2)


def test_what_cannot_be_set() -> None:
    schedule = lw.Warmup(5, lw.Product(lw.Linear(6), lw.Constant()))
    for params, match in (
        ({"step": 3}, r"Warmup has no argument 'step'; did you mean steps\?"),
        ({"steps__by": 3}, "steps of Warmup is 5, which has no arguments of its own"),
        ({"then__gamma": 3}, "Product has no argument 'gamma'"),
        ({"then__schedules__2": lw.Linear(1)}, "has 2 parts, counted from 0, and none called '2'"),
        ({"then__schedules__0__gamma": 3}, "Linear has no argument 'gamma'"),
        ({"then__schedules__0__total_steps": 0}, "total_steps must be a whole number from 1"),
    ):
        with pytest.raises(ValueError, match=match):
            schedule.set_params(**params)


def test_dictionaries_inside_values_cannot_be_changed() -> None:
    scales = {"a": 1.0, "*": 0.5}
    policy = lw.Explicit(scales)
    scales["a"] = 2.0
    assert policy.scales == {"a": 1.0, "*": 0.5}
    held: Any = policy.scales
    for change in (
        lambda: held.update(b=1.0),
        lambda: held.pop("a"),
        lambda: held.__setitem__("a", 2.0),
        lambda: held.__delitem__("a"),
        lambda: held.setdefault("b", 1.0),
        held.clear,
        held.popitem,
    ):
        with pytest.raises(TypeError, match="cannot be changed"):
            change()
    assert policy == lw.Explicit({"a": 1.0, "*": 0.5})
    assert hash(policy) == hash(lw.Explicit({"*": 0.5, "a": 1.0}))


class TestScikitLearn:
    base = pytest.importorskip("sklearn.base")

    def estimator(self, **params: Any) -> Any:
        class Regression(self.base.RegressorMixin, self.base.BaseEstimator):  # type: ignore[misc,name-defined]
            """A linear model."""

            def __init__(self, rule: Any = None, schedule: Any = None, steps: int = 20) -> None:
                self.rule, self.schedule, self.steps = rule, schedule, steps

            def fit(self, x: Any, y: Any) -> Any:
                self.weight_ = np.zeros(x.shape[1])
                gradient = np.zeros_like(self.weight_)
                with lw.Optimizer(self.rule, schedule=self.schedule) as opt:
                    opt.add_layer("weight", self.weight_, gradient)
                    for _ in range(self.steps):
                        gradient[...] = x.T @ (x @ self.weight_ - y) / len(y)
                        opt.step()
                return self

            def predict(self, x: Any) -> Any:
                return x @ self.weight_

        return Regression(**params)

    @pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
    def test_clone(self, value: Any) -> None:
        assert self.base.clone(value) is value
        made = self.base.clone(self.estimator(rule=value))
        assert made.rule == value

    def test_parameters_of_an_estimator_show_those_of_its_rule(self) -> None:
        params = self.estimator(rule=lw.SGD(0.5), schedule=lw.Warmup(3, lw.Linear(9))).get_params()
        assert (params["rule__lr"], params["schedule__then__total_steps"]) == (0.5, 9)

    def test_a_value_is_never_changed_in_place(self) -> None:
        rule = lw.SGD(0.5)
        estimator = self.estimator(rule=rule)
        # scikit-learn drops what the inner set_params returns: it would look as if something had been set.
        with pytest.raises(TypeError, match=r"cannot be changed in place.*SGD\(\.\.\.\)\.set_params\(lr=\.\.\.\)"):
            estimator.set_params(rule__lr=0.1)
        assert estimator.rule is rule
        assert estimator.set_params(rule=rule.set_params(lr=0.1)).rule == lw.SGD(0.1)

    def test_grid_search_over_rules(self) -> None:
        selection = pytest.importorskip("sklearn.model_selection")
        random = np.random.default_rng(0)
        x = random.normal(size=(60, 3))
        y = x @ np.array([1.0, -2.0, 0.5])
        rules = [lw.SGD(1e-4), lw.SGD(0.3), lw.AdamW(1e-4)]
        search = selection.GridSearchCV(self.estimator(rule=rules[0]), {"rule": rules}, cv=3).fit(x, y)
        assert search.best_params_ == {"rule": lw.SGD(0.3)}
        assert [entry["rule"] for entry in search.cv_results_["params"]] == rules
