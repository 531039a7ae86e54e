"""The defenses under test, each as an operator would configure it and as an attacker who knows it would rebuild it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from defenses.input import InputDefense, InputStep
from defenses.output import Chain, OutputDefense, Semantics

Step = Mapping[str, Any]
RANGE = (0.0, 1.0)

_INPUT_STEP: TypeAdapter[Any] = TypeAdapter(InputStep)
_ANSWER_STEP: TypeAdapter[Any] = TypeAdapter(OutputDefense)


@dataclass(frozen=True)
class Defense:
    """One line of the tables.

    Attributes:
        name: what the tables call it.
        inputs: steps for the images.
        answers: steps by output. An output left alone would be the one that attackers read, so both are hardened.
        random: the same image can be answered differently the next time.
    """

    name: str
    inputs: tuple[Step, ...] = ()
    answers: Mapping[str, Step] = field(default_factory=dict)
    random: bool = False

    @property
    def rules(self) -> dict[str, Any]:
        """The model's section of the proxy's configuration."""
        rules: dict[str, Any] = {}
        if self.inputs:
            rules["inputs"] = {"image": {"range": list(RANGE), "steps": [dict(step) for step in self.inputs]}}
        if self.answers:
            rules["outputs"] = {
                output: {"semantics": output, "steps": [dict(step)]} for output, step in self.answers.items()
            }
        return rules

    def input_steps(self) -> tuple[InputDefense, ...]:
        """The steps for images, in this process."""
        return tuple(_INPUT_STEP.validate_python(step) for step in self.inputs)

    def answer_chain(self, output: str) -> Chain:
        """The steps for an output, `probabilities` or `logits`, in this process."""
        steps = (self.answers[output],) if output in self.answers else ()
        return Chain(output, Semantics(output), tuple(_ANSWER_STEP.validate_python(step) for step in steps))


def _answers(name: str, probabilities: Step, logits: Step | None = None) -> Defense:
    return Defense(name, answers={"probabilities": probabilities, "logits": logits or probabilities})


NONE = Defense("none")
BIT_DEPTH = {"kind": "bit_depth", "bits": 3}
MEDIAN = {"kind": "median", "size": 3}
RANDOM_JPEG = {"kind": "jpeg", "quality": [25, 75]}
RANDOM_RESIZE_PAD = {"kind": "random_resize_pad", "smallest": 0.85}
LABEL_ONLY = {"kind": "label_only"}

INPUT_DEFENSES = (
    Defense("bit_depth, 1 bit", ({"kind": "bit_depth", "bits": 1},)),
    Defense("bit_depth, 3 bits", (BIT_DEPTH,)),
    Defense("median, 3x3", (MEDIAN,)),
    Defense("non_local_means, 11/3/0.1", ({"kind": "non_local_means"},)),
    Defense("jpeg, 75", ({"kind": "jpeg", "quality": 75},)),
    Defense("jpeg, random 25-75", (RANDOM_JPEG,), random=True),
    Defense("total_variation, 0.1", ({"kind": "total_variation"},)),
    Defense("random_resize_pad, 0.85", (RANDOM_RESIZE_PAD,), random=True),
    Defense("random_noise, 0.05", ({"kind": "random_noise", "sigma": 0.05},), random=True),
    Defense(
        "choice of four",
        ({"kind": "choice", "of": [[BIT_DEPTH], [MEDIAN], [RANDOM_JPEG], [{"kind": "total_variation"}]]},),
        random=True,
    ),
)
ANSWER_DEFENSES = (
    _answers("round, 1 and 0 decimals", {"kind": "round", "decimals": 1}, {"kind": "round", "decimals": 0}),
    _answers("top_k, 1", {"kind": "top_k", "k": 1}),
    _answers("label_only", LABEL_ONLY),
    _answers("temperature, 4", {"kind": "temperature", "temperature": 4.0}),
    _answers(
        "noise, l1 0.5 and linf 2",
        {"kind": "noise", "epsilon": 0.5},
        {"kind": "noise", "epsilon": 2.0, "norm": "linf"},
    ),
    _answers("reverse_sigmoid, 1/0.2", {"kind": "reverse_sigmoid"}),
)
CHAINS = (
    Defense("chain: median, bit_depth, jpeg", (MEDIAN, BIT_DEPTH, {"kind": "jpeg", "quality": 75})),
    Defense(
        "chain: resize_pad, noise, jpeg, label_only",
        (RANDOM_RESIZE_PAD, {"kind": "random_noise", "sigma": 0.05}, RANDOM_JPEG),
        {"probabilities": LABEL_ONLY, "logits": LABEL_ONLY},
        random=True,
    ),
)


class Suite(NamedTuple):
    """Lines of the tables, the undefended first: the others are compared with it.

    Attributes:
        evasion: of the table on attacks.
        secrets: of the table on membership and surrogates.
    """

    evasion: tuple[Defense, ...]
    secrets: tuple[Defense, ...]


FULL = Suite((NONE, *INPUT_DEFENSES, *ANSWER_DEFENSES, *CHAINS), (NONE, *ANSWER_DEFENSES))
TINY = Suite((NONE, CHAINS[1]), (NONE, ANSWER_DEFENSES[2]))
SUITES = {"full": FULL, "tiny": TINY}
"""By the scale's name."""
