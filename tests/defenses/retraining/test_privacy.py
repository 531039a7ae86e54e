"""Differential privacy: what is counted against published figures and the definition, and what a step reveals."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad

tf = pytest.importorskip("tensorflow", reason="the extra retrain is not installed")

from defenses.retraining import privacy, run, sampling  # noqa: E402
from defenses.retraining.loop import TrainingError  # noqa: E402
from tests.defenses.retraining import digits  # noqa: E402


@pytest.mark.parametrize(
    ("noise", "epochs", "batch", "published"),
    [(1.3, 15, 256, 1.18), (1.1, 60, 256, 3.01), (0.7, 45, 256, 7.10)],
    ids=lambda value: str(value),
)
def test_published_figures_of_mnist(noise: float, epochs: int, batch: int, published: float) -> None:
    """TensorFlow Privacy's tutorial: 60,000 rows, delta 1e-5, with the older conversion, which is never tighter."""
    rate, steps = batch / 60_000, epochs * 60_000 // batch
    older = min(steps * privacy.renyi(rate, noise, order) + math.log(1e5) / (order - 1) for order in privacy.ORDERS)
    assert older == pytest.approx(published, rel=0.03)
    assert 0.7 * older < privacy.spent(rate, noise, steps, 1e-5).epsilon < older


@pytest.mark.parametrize("rate", [0.01, 0.2, 1.0])
@pytest.mark.parametrize("noise", [0.8, 2.0])
@pytest.mark.parametrize("order", [2, 5, 16])
def test_the_divergence_is_the_integral(rate: float, noise: float, order: int) -> None:
    """The Renyi divergence of a mixture of N(0, s) and N(1, s) from N(0, s), by numbers."""

    def integrand(z: float) -> float:
        ratio = 1 - rate + rate * math.exp((2 * z - 1) / (2 * noise**2))
        return math.exp(-(z**2) / (2 * noise**2)) / (noise * math.sqrt(2 * math.pi)) * ratio**order

    ends = -12 * noise, order + 12 * noise
    expected = math.log(quad(integrand, *ends, limit=500, points=[0, 1, order])[0]) / (order - 1)
    assert privacy.renyi(rate, noise, order) == pytest.approx(expected, rel=1e-4)


def test_more_costs_more() -> None:
    base = privacy.spent(0.01, 1.0, 1000, 1e-5).epsilon
    assert privacy.spent(0.01, 1.0, 2000, 1e-5).epsilon > base
    assert privacy.spent(0.02, 1.0, 1000, 1e-5).epsilon > base
    assert privacy.spent(0.01, 1.5, 1000, 1e-5).epsilon < base
    assert privacy.spent(0.01, 1.0, 1000, 1e-7).epsilon > base
    assert privacy.spent(0.01, 1.0, 0, 1e-5).epsilon == 0


def test_no_row_moves_the_sum_by_more_than_the_bound() -> None:
    rng = np.random.default_rng(0)
    gradients = [rng.normal(0, 3, (6, 4, 2)).astype(np.float32), rng.normal(0, 3, (6, 5)).astype(np.float32)]
    gradients[0][2] = gradients[1][2] = 1e-4  # a short one stays as it is
    everyone = np.ones(6, np.float32)
    whole = privacy.clipped_sum(gradients, everyone, 1.0)
    for row in range(6):
        without = privacy.clipped_sum(gradients, everyone * (np.arange(6) != row), 1.0)
        moved = math.sqrt(sum(float(tf.reduce_sum((a - b) ** 2)) for a, b in zip(whole, without, strict=True)))
        own = math.sqrt(sum((each[row] ** 2).sum() for each in gradients))
        assert moved == pytest.approx(min(1.0, own), rel=1e-3)


def test_noise_is_of_the_stated_size_and_follows_from_the_key() -> None:
    zeros = [tf.zeros((100, 100)), tf.zeros((100,))]
    key, other = tf.constant([3, 4]), tf.constant([3, 5])
    first, again = privacy.noised(zeros, 2.5, key, tf.constant(7)), privacy.noised(zeros, 2.5, key, tf.constant(7))
    assert float(tf.math.reduce_std(first[0])) == pytest.approx(2.5, rel=0.05)
    assert (first[0] == again[0]).numpy().all()
    for differs in (privacy.noised(zeros, 2.5, other, tf.constant(7)), privacy.noised(zeros, 2.5, key, tf.constant(8))):
        assert abs(float(np.corrcoef(np.ravel(first[0]), np.ravel(differs[0]))[0, 1])) < 0.05
    assert abs(float(np.corrcoef(np.ravel(first[0])[:100], np.ravel(first[1]))[0, 1])) < 0.4


def test_rows_are_drawn_one_by_one() -> None:
    of = sampling.poisson(sampling.new_key(), 1000, 50, 3)
    counts, rows = [], np.zeros(1000)
    for step in range(400):
        drawn, present = of(step)
        assert len(drawn) % 3 == 0
        chosen = drawn[present > 0]
        assert len(set(chosen.tolist())) == len(chosen)
        counts.append(len(chosen))
        rows[chosen] += 1
    assert np.mean(counts) == pytest.approx(50, abs=2)
    assert np.var(counts) == pytest.approx(50 * 0.95, rel=0.3)  # binomial, and not one number
    assert rows.min() > 2
    assert (of(3)[0] == of(3)[0]).all()


def test_a_run_states_what_it_spent(tmp_path: Path) -> None:
    rows = digits.write(tmp_path)
    changes: dict[str, Any] = {
        "privacy": {"noise": 0.5, "clip": 1.0, "delta": 1e-4},
        "model": {"factory": "tests.defenses.retraining.digits:dense", "gives": "probabilities"},
        "training": {"epochs": 6, "batch": 100, "optimizer": {"learning_rate": 0.01}},
    }
    mild = {"kind": "fgsm", "clean": 0.9}
    prepared = run.prepare(digits.job(tmp_path, rows, mild, **changes))
    steps = prepared.loop.steps
    key = prepared.loop.progress.key
    assert int(key, 16)
    trained = run.train(prepared)
    expected = privacy.spent(100 / len(prepared.rows.train), 0.5, steps, 1e-4)
    assert trained.spent == expected
    assert json.loads(trained.manifest.read_text())["privacy"] == {"epsilon": expected.epsilon, "delta": 1e-4}
    assert trained.clean > 0.3
    assert ((tmp_path / "out" / "checkpoint.npz").stat().st_mode & 0o777) == 0o600
    resumed = run.prepare(digits.job(tmp_path, rows, mild, **changes))
    assert resumed.loop.progress.key == key
    with np.load(rows) as held:
        np.savez(rows, x=held["x"], y=(held["y"] + 1) % 10)
    other = run.prepare(digits.job(tmp_path, rows, mild, **changes))
    assert (other.loop.progress.step, resumed.loop.progress.step) == (0, steps), "other rows, another run"
    run.finish(resumed)
    assert run.prepare(digits.job(tmp_path, rows, mild, **changes)).loop.progress.key != key
    assert key not in (tmp_path / "out" / "manifest.json").read_text()


def normalised() -> Any:
    """Rows that see each other."""
    import keras

    layers = [keras.layers.Flatten(), keras.layers.BatchNormalization(), keras.layers.Dense(10)]
    return keras.Sequential([keras.Input((8, 8, 1)), *layers])


def test_rows_that_see_each_other_are_refused(tmp_path: Path) -> None:
    model = {"factory": f"{__name__}:normalised", "gives": "logits"}
    job = digits.job(tmp_path, digits.write(tmp_path), {"kind": "fgsm"}, privacy={"noise": 1.0}, model=model)
    with pytest.raises(TrainingError, match="normalises over the rows of a batch"):
        run.prepare(job)
