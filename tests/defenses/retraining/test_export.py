"""A retrained model behind the served signatures, as a server loads it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from defenses.retraining.export import export_like
from defenses.retraining.robustness.gradients import pgd
from defenses.retraining.robustness.subject import SubjectError, of_classifier, of_saved_model
from defenses.retraining.signatures import SignatureError, differences, read_signatures
from defenses.retraining.warmup import FILE, write_warmup
from tests.defenses.retraining.subjects import EPSILON, classifier, digits, save_served, trained
from tests.savedmodels import CLASSIFY, write_toy

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_served(trained(), tmp_path_factory.mktemp("served") / "1")


@pytest.fixture(scope="module")
def exported(served: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "2"
    export_like(served, classifier(trained(robust=True)), digits().test, folder)
    return folder


def example(row: Any) -> bytes:
    import tensorflow as tf

    feature = tf.train.Feature(float_list=tf.train.FloatList(value=row.reshape(-1)))
    return bytes(tf.train.Example(features=tf.train.Features(feature={"pixels": feature})).SerializeToString())


def test_every_signature_is_kept_and_answers_for_the_new_model(served: Path, exported: Path) -> None:
    import tensorflow as tf

    assert differences(read_signatures(served), read_signatures(exported)) == []
    assert read_signatures(exported)["classify"].method == CLASSIFY
    loaded = tf.saved_model.load(str(exported))
    rows = digits().test[:40]
    expected = trained(robust=True)(rows).numpy()
    answer = loaded.signatures["serving_default"](image=tf.constant(rows))
    np.testing.assert_allclose(answer["logits"], expected, atol=1e-4)
    np.testing.assert_allclose(answer["probabilities"], tf.nn.softmax(expected), atol=1e-5)
    top = expected.argmax(axis=1)
    assert answer["class_ids"].numpy().tolist() == top.tolist()
    assert answer["names"].numpy().tolist() == [f"digit {n}".encode() for n in top]
    classified = loaded.signatures["classify"](inputs=tf.constant([example(row) for row in rows]))
    np.testing.assert_allclose(classified["scores"], tf.nn.softmax(expected), atol=1e-5)
    assert classified["classes"].numpy()[7].tolist() == [f"digit {n}".encode() for n in range(10)]


def test_the_graph_runtime_of_tensorflow_serving_has_its_weights(exported: Path) -> None:
    """It restores variables by the saver in the graph, which `tf.saved_model.load` has no need of."""
    from proxy.embedded.servable import Servable

    servable = Servable("digits", 2, exported)
    signature, rows = servable.signatures["serving_default"], digits().test[:5]
    (logits,) = servable.run([(signature.inputs["image"].name, rows)], [signature.outputs["logits"].name], None)
    np.testing.assert_allclose(logits.value, trained(robust=True)(rows), atol=1e-4)
    servable.close()


def test_a_saved_model_can_be_attacked_without_its_keras_file(served: Path) -> None:
    rows, labels = digits().test[:60], digits().test_labels[:60]
    rng = np.random.default_rng
    by_file = pgd(of_classifier("k", classifier(trained())), rows, labels, EPSILON, rng(0), steps=5, restarts=1)
    for output in (None, "probabilities"):
        subject = of_saved_model("served", served, output=output)
        found = pgd(subject, rows, labels, EPSILON, rng(0), steps=5, restarts=1)
        assert (np.abs(found - by_file) < 1e-5).mean() > 0.95, output


def test_what_cannot_be_attacked_says_why(served: Path, tmp_path: Path) -> None:
    with pytest.raises(SubjectError, match="has no signature 'x', only classify, serving_default"):
        of_saved_model("s", served, signature="x")
    with pytest.raises(SubjectError, match="takes string; a gradient needs floats"):
        of_saved_model("s", served, signature="classify")
    with pytest.raises(SubjectError, match="there is no 'x'"):
        of_saved_model("s", served, output="x")
    with pytest.raises(SubjectError, match="cannot be loaded"):
        of_saved_model("s", tmp_path)


def test_signatures_that_cannot_be_rebuilt_are_named(tmp_path: Path) -> None:
    toy = write_toy(tmp_path / "toy", [1]) / "1"
    with pytest.raises(SignatureError, match="signature classify does not take rows of"):
        export_like(toy, classifier(trained()), digits().test[:50], tmp_path / "out")
    with pytest.raises(SignatureError, match="cannot be read"):
        read_signatures(tmp_path)


def test_warm_up_records_are_what_the_version_takes(exported: Path) -> None:
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    written = write_warmup(exported, "digits", read_signatures(exported), digits().test)
    records = [bytes(each.numpy()) for each in tf.data.TFRecordDataset(str(exported / FILE))]
    assert len(records) == written == 33
    loaded = tf.saved_model.load(str(exported))
    for record in records:
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        assert (request.model_spec.name, request.model_spec.signature_name) == ("digits", "serving_default")
        loaded.signatures["serving_default"](image=tf.constant(tf.make_ndarray(request.inputs["image"])))
