"""Models and rows, in all the forms that a job may name, and what is said about those that cannot be used."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

tf = pytest.importorskip("tensorflow", reason="the extra retrain is not installed")
keras = pytest.importorskip("keras", reason="the extra retrain is not installed")

from defenses.retraining import data, model  # noqa: E402
from defenses.retraining.sources import Data, ModelSource, RowsSource  # noqa: E402
from tests.defenses.retraining import digits  # noqa: E402

FORM = data.Form((4, 3, 1), 5, 0.0, 1.0)
PIXELS = np.random.default_rng(0).integers(0, 256, (7, 4, 3, 1)).astype(np.uint8)
CLASSES = np.array([0, 1, 2, 3, 4, 0, 1])


def factory(rows: int) -> Any:
    """A tf.data.Dataset of the rows."""
    return tf.data.Dataset.from_tensor_slices((PIXELS, CLASSES)).take(rows)


def numbers() -> int:
    """What is no dataset, and no model."""
    return 3


def _records(path: Path, encode: Any) -> None:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for pixels, label in zip(PIXELS, CLASSES, strict=True):
            features = {
                "image": encode(pixels),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())


def _bytes(value: bytes) -> Any:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    np.savez(tmp_path / "rows.npz", images=PIXELS, labels=CLASSES)
    np.save(tmp_path / "x.npy", PIXELS[..., 0])
    np.save(tmp_path / "y.npy", CLASSES)
    floats = tf.train.Feature
    _records(tmp_path / "a.float32", lambda p: floats(float_list=tf.train.FloatList(value=p.ravel())))
    _records(tmp_path / "a.int64", lambda p: floats(int64_list=tf.train.Int64List(value=p.ravel())))
    _records(tmp_path / "a.raw", lambda p: _bytes(p.tobytes()))
    _records(tmp_path / "a.image", lambda p: _bytes(tf.io.encode_png(p).numpy()))
    return tmp_path


def _tfrecord(kind: str) -> dict[str, Any]:
    inputs = {"name": "image", "type": kind, "shape": [4, 3, 1]}
    return {"kind": "tfrecord", "files": [f"*.{kind}"], "inputs": inputs, "labels": {"name": "label", "type": "int64"}}


SOURCES: list[dict[str, Any]] = [
    {"kind": "npz", "file": "rows.npz", "inputs": "images", "labels": "labels"},
    {"kind": "npy", "inputs": "x.npy", "labels": "y.npy"},
    *(_tfrecord(kind) for kind in ("float32", "int64", "raw", "image")),
    {"kind": "import", "path": f"{__name__}:factory", "settings": {"rows": 7}},
]


def _read(source: dict[str, Any]) -> data.Rows:
    checked: Any = TypeAdapter(RowsSource).validate_python({"divide_by": 255, **source})
    return data.read(checked, FORM, "data.train")


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.get("inputs", source["kind"]))
def test_every_form_gives_the_same_rows(folder: Path, source: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    rows = _read(source)
    np.testing.assert_allclose(rows.x, PIXELS / 255, rtol=1e-6)
    assert rows.y.tolist() == CLASSES.tolist()
    assert len(_read(source | {"rows": 3})) == 3
    assert all(file.is_file() for file in rows.files)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"kind": "npz", "file": "none.npz"}, "none.npz cannot be read: No such file"),
        ({"kind": "npz", "file": "rows.npz"}, "has no array 'x'; it has images, labels"),
        ({**SOURCES[0], "divide_by": 1}, "leave the model's range [0, 1]; set divide_by"),
        ({"kind": "npz", "file": "rows.npz", "inputs": "labels", "labels": "labels"}, "the model takes (4, 3, 1)"),
        ({**_tfrecord("raw"), "files": ["no*"]}, "no file matches no*"),
        ({**_tfrecord("raw"), "labels": {"name": "class", "type": "int64"}}, "class"),
        ({"kind": "import", "path": f"{__name__}:numbers"}, "gives a int, not a tf.data.Dataset"),
        ({"kind": "import", "path": "nowhere:x"}, "'nowhere:x' cannot be imported"),
    ],
)
def test_rows_that_cannot_be_used(
    folder: Path, source: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(data.DataError) as caught:
        _read(source)
    assert message in str(caught.value)
    assert str(caught.value).startswith("data.train: ")


def test_a_class_that_the_model_does_not_know(folder: Path) -> None:
    source: Any = TypeAdapter(RowsSource).validate_python({"divide_by": 255, **SOURCES[0], "file": folder / "rows.npz"})
    with pytest.raises(data.DataError, match="classes 0 to 4, and the model knows 0 to 3"):
        data.read(source, data.Form((4, 3, 1), 4, 0, 1), "data.test")


def test_validation_rows_are_a_share_that_is_not_trained_on(folder: Path) -> None:
    train = {"divide_by": 255, **SOURCES[0], "file": str(folder / "rows.npz")}
    rows = data.load(Data.model_validate({"train": train, "validation": 0.3}), FORM, 0)
    assert (len(rows.train), len(rows.validation), rows.test) == (5, 2, None)
    seen = {row.tobytes() for row in (*rows.train.x, *rows.validation.x)}
    assert len(seen) == 7


def _softmax_layer() -> Any:
    return keras.Sequential([*digits.convolutional().layers, keras.layers.Softmax()])


@pytest.mark.parametrize("make", [digits.dense, _softmax_layer])
def test_probabilities_come_back_as_probabilities(tmp_path: Path, make: Any) -> None:
    x = np.random.default_rng(0).random((5, 8, 8, 1), np.float32)
    whole = make()
    whole.build((None, 8, 8, 1))
    whole.save(tmp_path / "in.keras")
    answers = whole(x).numpy()
    found = model.load(ModelSource(file=tmp_path / "in.keras", gives="probabilities"))
    np.testing.assert_allclose(tf.nn.softmax(found.logits(x)), answers, atol=1e-6)
    # New biases are 0, so that logits grow with the inputs; those of a saturated softmax would stop.
    np.testing.assert_allclose(found.logits(x * 1000), 1000 * found.logits(x).numpy(), rtol=1e-3, atol=1)
    found.save(tmp_path / "out.keras")
    np.testing.assert_allclose(keras.saving.load_model(tmp_path / "out.keras")(x), answers, atol=1e-6)


def test_a_factory_takes_weights(tmp_path: Path) -> None:
    network = digits.convolutional()
    network.save_weights(tmp_path / "some.weights.h5")
    path = f"{digits.__name__}:convolutional"
    found = model.load(ModelSource(factory=path, weights=tmp_path / "some.weights.h5", gives="logits"))
    for one, other in zip(found.whole.get_weights(), network.get_weights(), strict=True):
        assert (one == other).all()
    with pytest.raises(model.ModelError, match="has no weights for"):
        model.load(ModelSource(factory=path, weights=tmp_path / "none.weights.h5", gives="logits"))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"file": "saved"}, "a SavedModel is a graph for serving"),
        ({"file": "none.keras"}, "there is no such file"),
        ({"file": "broken.keras"}, "cannot be read as a Keras model"),
        ({"factory": f"{__name__}:numbers"}, "gives a int, not a keras.Model"),
    ],
)
def test_models_that_cannot_be_trained(
    tmp_path: Path, source: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("saved").mkdir()
    Path("broken.keras").write_bytes(b"no model")
    with pytest.raises(model.ModelError) as caught:
        model.load(ModelSource(**source, gives="logits"))
    assert message in str(caught.value)
