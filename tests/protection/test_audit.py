"""What of a model's rules does not fit the model."""

from protos.tensor_pb2 import DT_FLOAT
from proxy.config.protection import Model
from proxy.protection.audit import problems
from proxy.signatures import Signature, TensorSpec

IMAGES = {"image": TensorSpec(DT_FLOAT, (None, 28, 28, 1))}
SCORES = {"probabilities": TensorSpec(DT_FLOAT, (None, 10)), "logits": TensorSpec(DT_FLOAT, (None, 10))}
SERVED = {"serving_default": Signature(IMAGES, SCORES, "tensorflow/serving/predict")}


def test_the_ladders_rule_for_every_output_is_no_output_of_that_name() -> None:
    assert problems(Model.model_validate({"detection": {"mode": "shadow"}}), SERVED) == []


def test_names_that_the_model_has_not_are_told() -> None:
    rules = {"outputs": {"scores": {"semantics": "probabilities", "steps": [{"kind": "round", "decimals": 1}]}}}
    (said,) = problems(Model.model_validate(rules), SERVED)
    assert (
        said == "output 'scores' is hardened, but the model has no output of that name; it has: logits, probabilities"
    )
