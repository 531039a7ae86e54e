"""The examples of defenses/README.md are those of this folder, and they work."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from defenses.imported import Imported, loaded
from defenses.input import STEP_NEEDS, InputChain, InputStep, InvalidInputError
from defenses.output import Chain, OutputDefense, Semantics

HERE = Path(__file__)
STEP: TypeAdapter[InputStep] = TypeAdapter(InputStep)
ANSWER: TypeAdapter[OutputDefense] = TypeAdapter(OutputDefense)
EXAMPLES = "tests.defenses.examples"


def test_the_page_shows_the_file() -> None:
    page = (HERE.parents[2] / "defenses" / "README.md").read_text()
    assert f"```python\n{(HERE.parent / 'examples.py').read_text()}```" in page


def test_an_input_defense() -> None:
    step = STEP.validate_python({"kind": "import", "path": f"{EXAMPLES}:Threshold", "settings": {"lowest": 0.5}})
    chain = InputChain("x", (loaded(step, STEP_NEEDS),))
    seeds = np.zeros(1, dtype=np.uint64)
    np.testing.assert_array_equal(
        chain(np.array([[0.4, 0.6]], dtype=np.float32), seeds), np.array([[0, 0.6]], dtype=np.float32)
    )
    with pytest.raises(InvalidInputError, match="row 0 is empty"):
        chain(np.array([[0.4, 0.1]], dtype=np.float32), seeds)


def test_an_answer_defense() -> None:
    step = ANSWER.validate_python({"kind": "import", "path": f"{EXAMPLES}:Flatten", "settings": {"share": 0.5}})
    assert isinstance(step, Imported)
    chain = Chain("p", Semantics.PROBABILITIES, (step.defense,))
    hardened = chain(np.array([[0.2, 0.8]], dtype=np.float32), np.zeros(1, dtype=np.uint64)).values
    np.testing.assert_allclose(hardened, [[0.35, 0.65]], rtol=1e-6)


@pytest.mark.parametrize(
    ("path", "settings", "problem"),
    [
        ("no.such.module:Thing", {}, "cannot be imported"),
        (f"{EXAMPLES}:Nothing", {}, "has no 'Nothing'"),
        (f"{EXAMPLES}:Threshold", {"lowest": 7}, "lowest is 7.*write a number from 0 to 1"),
        (f"{EXAMPLES}:Threshold", {}, "does not take these settings"),
        (f"{EXAMPLES}:EXAMPLES", {}, "does not take these settings"),
        ("nonsense", {}, "pattern"),
    ],
)
def test_what_is_wrong_with_ones_own_is_said(path: str, settings: dict[str, object], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        STEP.validate_python({"kind": "import", "path": path, "settings": settings})


def test_an_answer_defense_is_no_input_defense() -> None:
    step = STEP.validate_python({"kind": "import", "path": f"{EXAMPLES}:Flatten", "settings": {"share": 0.5}})
    with pytest.raises(ValueError, match="lack takes, ranged, finite"):
        loaded(step, STEP_NEEDS)
