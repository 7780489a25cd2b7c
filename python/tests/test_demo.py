# SPDX-License-Identifier: Apache-2.0
"""The demo: its hand-written gradients, its data, and what it prints and draws."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"

sys.path.insert(0, str(EXAMPLES))
try:
    import auto_rates
    import changed_digits as digits
    import find_policy
    import which_layers
    from small_network import Network
    from which_layers_results import Results
finally:
    sys.path.remove(str(EXAMPLES))

PERCENT = re.compile(r"(\d+\.\d) ± (\d+\.\d)")


def test_backward_agrees_with_finite_differences() -> None:
    """Every gradient of a small float64 network against central differences."""
    rng = np.random.default_rng(1)
    network = Network((6, 5, 4, 3), rng, np.float64)
    images, labels = rng.normal(size=(7, 6)), rng.integers(3, size=7)
    network.backward(images, labels)
    step = 1e-6
    for layer in network.layers:
        for name, parameters in layer.parameters.items():
            for index in np.ndindex(parameters.shape):
                value = parameters[index]
                parameters[index] = value + step
                above = network.loss(images, labels)
                parameters[index] = value - step
                below = network.loss(images, labels)
                parameters[index] = value
                slope = (above - below) / (2 * step)
                assert layer.gradients[name][index] == pytest.approx(slope, rel=1e-5, abs=1e-8), (
                    layer.name,
                    name,
                    index,
                )


def test_backward_writes_into_the_buffers_that_it_was_given() -> None:
    """Registered addresses stay valid: no step of training makes new arrays."""
    rng = np.random.default_rng(2)
    network = Network((6, 5, 3), rng)
    buffers = [array for layer in network.layers for array in (*layer.parameters.values(), *layer.gradients.values())]
    addresses = [array.ctypes.data for array in buffers]
    network.backward(rng.normal(size=(4, 6)).astype(np.float32), np.array([0, 1, 2, 0]))
    network.copy_parameters_from(Network((6, 5, 3), rng))
    after = [array for layer in network.layers for array in (*layer.parameters.values(), *layer.gradients.values())]
    assert [array.ctypes.data for array in after] == addresses
    assert all(array.dtype == np.float32 for array in after)


def test_parts_share_no_image_and_every_class_has_its_examples() -> None:
    """Pixels of different digits differ in this data set, so rows tell images apart."""
    pretraining, target = digits.split(digits.load(), np.random.default_rng(3))
    parts = [pretraining, target.examples, target.validation, target.test]
    rows = [{image.tobytes() for image in part.pixels} for part in parts]
    assert sum(len(part) for part in parts) == len(set.union(*rows)) == len(digits.load())
    assert np.bincount(target.examples.labels).tolist() == [digits.EXAMPLES_PER_CLASS] * digits.CLASSES


@pytest.mark.parametrize("steps", [1, 4, 5, 30, 100])
def test_rates_rise_to_the_highest_once_and_fall(steps: int) -> None:
    """One step has the highest rate, and no step has none."""
    rates = list(which_layers.schedule(steps).evaluate(steps, base=0.5))
    peak = which_layers.warm_up_steps(steps)
    assert rates.count(0.5) == 1
    assert rates[peak] == 0.5
    assert rates == sorted(rates[:peak]) + sorted(rates[peak:], reverse=True)
    assert min(rates) > 0


def test_rates_are_chosen_on_validation_only() -> None:
    """A rate that shines on test images alone is not chosen, and a clear difference is no tie."""
    results = Results.empty(["mirrored"], ["one rate", "head only"], [0.1, 1.0], seeds=2)
    results.validation[0] = [[[0.8, 0.8], [0.6, 0.6]], [[0.5, 0.5], [0.7, 0.7]]]
    results.test[0] = [[[0.6, 0.6], [0.9, 0.9]], [[0.9, 0.9], [0.7, 0.75]]]
    assert [results.rate(0, way) for way in range(2)] == [0.1, 1.0]
    (comparison,) = results.compare(one_rate=0)
    assert comparison.gain == pytest.approx(0.125)
    assert comparison.error == pytest.approx(0.025)
    assert comparison.verdict == "layer-wise"


def test_demo_prints_a_table_and_draws_a_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quick run from end to end: accuracies are possible, adapting helps, the picture is there."""
    monkeypatch.setenv("COLUMNS", "100")
    which_layers.main(["--quick", "--output", str(tmp_path)])
    printed = capsys.readouterr().out

    rows = {}
    for name in ["before", *(way.name for way in which_layers.WAYS)]:
        row = next(line for line in printed.splitlines() if line.strip().startswith(name) and "±" in line)
        rows[name] = [float(mean) for mean, _ in PERCENT.findall(row)]
        assert len(rows[name]) == len(digits.CHANGES), row
        assert all(0 <= accuracy <= 100 for accuracy in rows[name]), row
    before = rows.pop("before")
    gains = np.array(list(rows.values())) - before
    assert np.any(gains > 10)

    assert all(layer in printed for layer in ("hidden1", "hidden2", "hidden3", "head"))  # explain()
    picture = tmp_path / "which_layers.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert str(picture) in printed


def test_measured_policies_are_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quick run: every way has its accuracies, every measured policy its two differences, and the finder its rows."""
    monkeypatch.setenv("COLUMNS", "120")
    auto_rates.main(["--quick", "--output", str(tmp_path)])
    rows = [line for line in capsys.readouterr().out.splitlines() if "±" in line]
    assert (tmp_path / "auto_rates.png").read_bytes().startswith(b"\x89PNG")
    for name in auto_rates.FOUND:
        (row,) = (line for line in rows if line.strip().startswith(name))
        assert len(PERCENT.findall(row)) == len(digits.CHANGES), name
    for way in auto_rates.WAYS:
        assert any(line.strip().startswith(way.name.strip()) for line in rows), way.name
    for measured in auto_rates.MEASURED:
        for other in ("less one rate", "less the best by hand"):
            name = f"{measured.name.strip()}, {other}"
            assert sum(line.strip().startswith(name) for line in rows) == 1, name
    of_norms = {"relative_gradient_norm", "update_ratio", "larc", "auto_lr", "gradient_noise"}
    of_elements = {"hypergradient", "sign_agreement", "ldog_scale"}
    of_spectra = {"temp_balance", "alpha_decay"}
    assert {way.policy.name for way in auto_rates.MEASURED} == of_norms | of_elements | of_spectra
    with pytest.raises(SystemExit):
        auto_rates.main(["--seeds", "1"])


def test_found_rates_and_policies_are_compared(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quick run: every way has its accuracies in all four worlds."""
    monkeypatch.setenv("COLUMNS", "120")
    find_policy.main(["--quick"])
    rows = [line for line in capsys.readouterr().out.splitlines() if "±" in line]
    for way in find_policy.WAYS:
        row = next(line for line in rows if line.strip().startswith(way))
        assert len(PERCENT.findall(row)) == len(digits.CHANGES), way
    with pytest.raises(SystemExit):
        find_policy.main(["--seeds", "1"])


def test_impossible_options_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """One seed has no spread."""
    with pytest.raises(SystemExit):
        which_layers.main(["--seeds", "1"])
    assert "at least 2 seeds" in capsys.readouterr().err
