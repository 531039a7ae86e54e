"""job.yaml: one retraining run. Everything that decides the result is here, and the effective job is in the manifest.

TensorFlow is not imported, so that a wrong job is told at once. Relative paths are relative to the current folder.
"""

import hashlib
import json
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from defenses.retraining.after import Evaluating, Proxied, Publishing, Requirements
from defenses.retraining.recipes import Awp, Bounded, Method
from defenses.retraining.section import Positive, Section
from defenses.retraining.sources import Data, ModelSource


class Epsilon(Section):
    """The radius of the attack, in units of the model's inputs: it grows linearly from `start`, then stays."""

    value: Positive
    start: float = Field(0.0, ge=0, description="at the first step, if there is a ramp")
    ramp_epochs: float = Field(0.0, ge=0, description="epochs until it is reached; 0: from the start")


class Optimizer(Section):
    """Adam (Kingma & Ba 2015), or SGD with Nesterov momentum. Weight decay is decoupled (Loshchilov & Hutter 2019)."""

    kind: Literal["adam", "sgd"] = "adam"
    learning_rate: Positive = 1e-3
    decay: Literal["constant", "cosine"] = Field("cosine", description="of the learning rate, over all epochs, to 0")
    warmup_steps: int = Field(0, ge=0, description="steps in which the learning rate grows from 0")
    momentum: float = Field(0.9, ge=0, lt=1, description="SGD's momentum, Adam's beta_1")
    weight_decay: float = Field(0.0, ge=0)
    clip_norm: Positive | None = Field(None, description="bound of the global norm of a gradient")


class Check(Section):
    """PGD on validation rows, for early stopping and for the guard of `fgsm_rs`."""

    every_epochs: int = Field(1, gt=0)
    rows: int = Field(1000, gt=0)
    steps: int = Field(20, gt=0, le=1000)
    restarts: int = Field(1, gt=0, le=100)
    patience: int | None = Field(
        None, gt=0, description="stop after so many checks without a better one; default: never"
    )


class Training(Section):
    """How long, and with what."""

    epochs: int = Field(gt=0)
    seconds: Positive | None = Field(
        None, description="stop after so long, resumed time included; schedules still count in epochs"
    )
    batch: int = Field(128, gt=0, description="rows a step, over all replicas")
    optimizer: Optimizer = Optimizer()
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    average: float | None = Field(None, gt=0, lt=1, description="decay of the weights' moving average; default: none")
    check: Check = Check()
    checkpoint_seconds: Positive = 60.0
    xla: bool = Field(False, description="compile attack and gradients with XLA")


class Privacy(Section):
    """DP-SGD (Abadi et al. 2016, arXiv:1607.00133): what the weights tell about any one training row is bounded."""

    noise: Positive = Field(description="standard deviation of the noise on a step's sum of gradients, in clips")
    clip: Positive = Field(1.0, description="bound of the length of a row's gradient")
    delta: float = Field(1e-5, gt=0, lt=1, description="of the (epsilon, delta) that is stated at the end")


class Job(Section):
    """The top level of job.yaml."""

    name: str = Field(pattern=r"^[A-Za-z0-9][\w.-]{0,99}$", description="of the model, as it is served")
    model: ModelSource
    data: Data
    method: Method = Field(description="how the model is hardened")
    awp: Awp | None = None
    privacy: Privacy | None = Field(None, description="absent: no differential privacy")
    norm: Literal["inf", "2"] = Field("inf", description="of the radius")
    epsilon: Epsilon
    training: Training
    seed: int = Field(0, ge=0, lt=2**31, description="of the order of rows and of the attacks")
    strategy: Literal["one", "mirrored", "multi_worker"] = Field(
        "one", description="one device; all GPUs of this machine; the workers in TF_CONFIG"
    )
    output: Path = Field(description="folder of the run: checkpoint, metrics, candidate, manifest, report")
    evaluate: Evaluating = Evaluating()
    gates: Requirements = Requirements()
    publish: Publishing | None = Field(
        None, description="absent: the candidate is trained, and neither judged nor published"
    )
    proxy: Proxied | None = Field(None, description="absent: the model is judged by itself alone")

    @model_validator(mode="after")
    def _fits(self) -> "Job":
        if isinstance(self.method, Bounded) and self.norm != "inf":
            raise ValueError("interval bounds are for `norm: inf`; write that, or take another method")
        low, high = self.model.range
        if self.norm == "inf" and self.epsilon.value > high - low:
            raise ValueError(
                f"epsilon {self.epsilon.value} is larger than the inputs' range [{low}, {high}], whose unit it has"
            )
        if self.privacy is not None and (self.awp is not None or self.strategy == "multi_worker"):
            raise ValueError(
                "privacy goes neither with awp, whose perturbation depends on all rows of a step, nor with several "
                "workers, who would have to share the secret of the noise; leave one out"
            )
        if self.proxy is not None and self.publish is None:
            raise ValueError("the section proxy says how a candidate is judged; it needs the section publish")
        judged_by = getattr(self.evaluate.captured, "file", None)
        if self.data.captured is not None and self.data.captured.file == judged_by:
            raise ValueError(
                f"{judged_by} is named by data.captured and by evaluate.captured: rows that were trained on judge "
                "nothing; name two files"
            )
        if self.epsilon.start > self.epsilon.value:
            raise ValueError(
                f"epsilon starts at {self.epsilon.start}, above its value {self.epsilon.value}; lower the start"
            )
        if self.epsilon.ramp_epochs > self.training.epochs:
            raise ValueError(
                f"epsilon grows over {self.epsilon.ramp_epochs:g} epochs and training has {self.training.epochs}: it "
                "would never be reached; lower epsilon.ramp_epochs"
            )
        return self

    @property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of all in the job that decides the trained weights."""
        decides = {"model", "data", "method", "awp", "privacy", "norm", "epsilon", "training", "seed"}
        values = self.model_dump(mode="json", include=decides)
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
