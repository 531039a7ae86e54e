"""Where a job's model and rows come from, as written in job.yaml. Reading them is `model.py`'s and `data.py`'s."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from defenses.retraining.section import ImportPath, Positive, Section, Share


class ModelSource(Section):
    """A classifier that can be trained: a Keras file, or what an importable factory makes.

    The factory is called with `settings` as keyword arguments, and gives a `keras.Model`.
    """

    file: Path | None = Field(None, description="a .keras file")
    factory: ImportPath | None = Field(None, description="package.module:function that makes the model")
    settings: dict[str, Any] = Field(default_factory=dict, description="keyword arguments of the factory")
    weights: Path | None = Field(
        None, description="a .weights.h5 file for what the factory makes; default: new weights"
    )
    gives: Literal["logits", "probabilities"] = Field(description="what the model answers")
    input: str | None = Field(None, description="name of the input, for the signature; default: the model's own")
    range: tuple[float, float] = Field((0.0, 1.0), description="lowest and highest value of an input")

    @model_validator(mode="after")
    def _one_source(self) -> "ModelSource":
        if (self.file is None) == (self.factory is None):
            raise ValueError(
                "give either `file` (a .keras file) or `factory` (package.module:function), not both or none"
            )
        if self.file is not None and (self.weights is not None or self.settings):
            raise ValueError("`weights` and `settings` belong to a `factory`; a file has its own weights: remove them")
        if not self.range[0] < self.range[1]:
            raise ValueError(f"the range {list(self.range)} is empty; write [lowest, highest]")
        return self


class _Rows(Section):
    rows: int | None = Field(None, gt=0, description="take the first so many; default: all")
    divide_by: Positive = Field(1.0, description="inputs are divided by this: 255 turns bytes into [0, 1]")


class NpzRows(_Rows):
    """Two arrays in one .npz file."""

    kind: Literal["npz"]
    file: Path
    inputs: str = Field("x", description="name of the array of inputs, (N, ...)")
    labels: str = Field("y", description="name of the array of classes, integers (N,)")


class NpyRows(_Rows):
    """Two .npy files."""

    kind: Literal["npy"]
    inputs: Path = Field(description="the array of inputs, (N, ...)")
    labels: Path = Field(description="the array of classes, integers (N,)")


class Feature(Section):
    """A feature of a tf.train.Example.

    `float32` and `int64` are lists of numbers; `raw` is the bytes of a uint8 array; `image` is an encoded PNG or JPEG.
    """

    name: str
    type: Literal["float32", "int64", "raw", "image"] = "float32"
    shape: tuple[Annotated[int, Field(gt=0)], ...] = ()


class TfrecordRows(_Rows):
    """tf.train.Example records; paths may hold * and ?."""

    kind: Literal["tfrecord"]
    files: list[Path] = Field(min_length=1)
    inputs: Feature
    labels: Feature


class ImportedRows(_Rows):
    """A `tf.data.Dataset` of (input, class), not batched, that an importable factory makes from `settings`.

    It is read once, to its end, and kept in memory: it has to end.
    """

    kind: Literal["import"]
    path: ImportPath
    settings: dict[str, Any] = Field(default_factory=dict)


RowsSource = Annotated[NpzRows | NpyRows | TfrecordRows | ImportedRows, Field(discriminator="kind")]


class CapturedRows(Section):
    """Rows that callers sent and a reviewer labelled, as `tensorwall quarantine --labels` writes them, to train on.

    They are attacker-made. Their influence is capped, and they are looked at for poison first. To judge the result by
    them is safer: name the file as a set to evaluate on, and leave this out.
    """

    file: Path
    divide_by: Positive = Field(1.0, description="inputs are divided by this")
    share: float = Field(0.05, gt=0, le=0.5, description="of the training rows, all callers together")
    rows_per_caller: int = Field(50, gt=0)
    poisoned: Literal["refuse", "report"] = Field("refuse", description="what to do when poison is found")


class Data(Section):
    """Rows to train on, to choose the weights by, and to judge the result by."""

    train: RowsSource = Field(description="rows to train on")
    validation: RowsSource | Share = Field(0.1, description="rows for early stopping, or a share of the training rows")
    test: RowsSource | None = Field(None, description="rows for the evaluation and the gates")
    captured: CapturedRows | None = Field(None, description="reviewed rows of callers to train on; default: none")
