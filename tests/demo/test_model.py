"""The demo's model: what is kept, what is served, and that both are the same model."""

import json
from pathlib import Path

import numpy as np
import pytest

from proxy.demo.data import Dataset, load
from proxy.demo.model import DemoModel, demo_model
from tests.demo.conftest import FirstRun


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


@pytest.fixture(scope="module")
def kept(first_run: FirstRun, digits: Dataset) -> DemoModel:
    return demo_model(digits, first_run.cache)


def test_a_model_of_the_same_recipe_is_kept(kept: DemoModel) -> None:
    assert kept.reused
    assert kept.name == "digits"
    assert kept.accuracy > 0.95
    assert [path.name for path in kept.versions.iterdir()] == ["1"]
    assert (kept.versions / "1" / "saved_model.pb").is_file()
    assert kept.keras.is_file()


def test_the_record_names_the_recipe(kept: DemoModel) -> None:
    record = json.loads((kept.versions.parent / "model.json").read_text())
    assert record["accuracy"] == kept.accuracy
    assert record["seed"] == 0
    assert "tensorflow" in record["libraries"]


def test_what_is_served_is_the_keras_model_with_a_softmax(kept: DemoModel, digits: Dataset) -> None:
    import keras
    import tensorflow as tf

    images = digits.x_test[:32]
    served = tf.saved_model.load(str(kept.versions / "1")).signatures
    answers = {name: tensor.numpy() for name, tensor in served["serving_default"](image=images).items()}
    logits = keras.saving.load_model(kept.keras)(images).numpy()
    np.testing.assert_allclose(answers["logits"], logits, atol=1e-5)
    np.testing.assert_allclose(answers["probabilities"], tf.nn.softmax(logits).numpy(), atol=1e-6)
    np.testing.assert_array_equal(answers["class_ids"], logits.argmax(axis=-1))
    assert answers["class_ids"].dtype == np.int64

    values = [tf.train.Feature(float_list=tf.train.FloatList(value=image.ravel())) for image in images]
    examples = [tf.train.Example(features=tf.train.Features(feature={"image": value})) for value in values]
    classified = served["classify"](inputs=tf.constant([example.SerializeToString() for example in examples]))
    np.testing.assert_allclose(classified["scores"].numpy(), answers["probabilities"], atol=1e-6)
    assert classified["classes"].numpy()[0].tolist() == [name.encode() for name in digits.class_names]


def test_another_recipe_or_a_broken_model_is_made_anew(tmp_path: Path, digits: Dataset) -> None:
    few = Dataset(
        digits.name,
        digits.x_train[:64],
        digits.y_train[:64],
        digits.x_test[:64],
        digits.y_test[:64],
        digits.class_names,
        digits.source,
    )
    said: list[str] = []
    made = demo_model(few, tmp_path, said.append)
    assert not made.reused
    assert len(said) == 4
    assert said[-1].startswith("epoch 40 of 40: ")
    (made.versions.parent / "model.json").unlink()  # as if a copy had been cut off
    again = demo_model(few, tmp_path)
    assert not again.reused
    assert again.versions == made.versions
    assert demo_model(few, tmp_path).reused
    assert [path.name for path in tmp_path.iterdir()] == [made.versions.parent.name], "nothing half-made is left"
