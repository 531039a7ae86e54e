"""Hardening one output while another tells the same is said before it is relied on."""

import pytest

from defenses.output import OutputSpec, audit_outputs

PROBS = OutputSpec("probs", "float32", (None, 3), signature="serving_default")
LOGITS = OutputSpec("logits", "float32", (None, 3), signature="serving_default")
CLS = OutputSpec("cls", "int64", (None,), signature="serving_default")
EMBEDDING = OutputSpec("embedding", "float32", (None, 128), signature="features")
SCORES = OutputSpec("scores", "float32", (None, 3), "tensorflow/serving/classify", "classify")
RANKED = OutputSpec("classes", "object", (None, 3), "tensorflow/serving/classify", "classify")


def test_nothing_hardened_or_nothing_left_open_is_nothing_to_say() -> None:
    assert audit_outputs([PROBS, LOGITS, CLS], []) == []
    assert audit_outputs([PROBS, CLS], ["probs"]) == []
    assert audit_outputs([PROBS, OutputSpec("version", "object", (None,))], ["probs"]) == []


def test_logits_beside_hardened_probabilities_are_named() -> None:
    (warning,) = audit_outputs([PROBS, LOGITS, CLS], {"probs"})
    assert warning == (
        "output 'logits' of signature 'serving_default' (float32) is not hardened and has as many classes as 'probs', "
        "so it may tell the same; harden it as well (outputs.logits), or serve a signature without it"
    )


@pytest.mark.parametrize(
    ("open_output", "words"),
    [
        (EMBEDDING, "if 'probs' can be computed from it, nothing is hidden"),
        (SCORES, "output 'scores' of signature 'classify' (float32) is not hardened and has as many classes"),
        (RANKED, "ranked class names would tell the order of 'probs'"),
        (OutputSpec("raw", "bfloat16", None), "output 'raw' (bfloat16) is not hardened and has as many classes"),
        (OutputSpec("raw", "float32", (None, None)), "has as many classes"),
        (OutputSpec("margin", "float32", (None,)), "can be computed from it"),
    ],
)
def test_every_other_way_out_is_named(open_output: OutputSpec, words: str) -> None:
    (warning,) = audit_outputs([PROBS, CLS, open_output], ["probs"])
    assert words in warning


def test_two_hardened_forms_of_the_same_are_as_weak_as_the_weaker() -> None:
    (warning,) = audit_outputs([PROBS, LOGITS, EMBEDDING, CLS], ["probs", "logits", "embedding"])
    assert warning.startswith("outputs 'logits', 'probs' have the same number of classes")


def test_a_name_that_no_signature_has_is_told() -> None:
    (warning,) = audit_outputs([PROBS, CLS], ["prob"])
    assert warning == "output 'prob' is hardened, but the model has no output of that name; it has: cls, probs"
    assert audit_outputs([], ["probs"])[0].endswith("it has: none")
