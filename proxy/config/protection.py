"""What a model's protection may be: rules for inputs, squeezing, answers and limits, per tier and per ladder step."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, Field, field_serializer, model_validator

from defenses.imported import Imported, loaded
from defenses.input import STEP_NEEDS, InputChain, InputDefense, InputStep
from defenses.output import AnswerDefense, Chain, LabelOnly, OutputDefense, Semantics
from proxy.config.detection import Detection
from proxy.config.section import PositiveSeconds, Section, freeze, plain
from proxy.limits import LimitRules

Mode = Literal["off", "shadow", "enforce"]
LadderStep = Literal["coarsen", "throttle"]
LADDER: tuple[LadderStep, ...] = get_args(LadderStep)
"""The steps of the ladder that change rules, milder first; a later step keeps what the earlier ones set."""

Name = Annotated[str, Field(min_length=1, max_length=256)]
Percent = Annotated[float, Field(ge=0, le=100)]
Range = tuple[float, float]
Shape = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1, max_length=8)]

_ANSWER_NEEDS = ("kind", "applies_to", "preserves_argmax")


def _input_steps(steps: tuple[InputStep, ...]) -> tuple[InputDefense, ...]:
    return tuple(loaded(step, STEP_NEEDS) for step in steps)


def _answer_steps(steps: tuple[OutputDefense | Imported, ...]) -> tuple[AnswerDefense, ...]:
    return tuple(loaded(step, _ANSWER_NEEDS) for step in steps)


class Rule(Section):
    """What every rule has."""

    mode: Mode = Field(default="enforce", description="shadow: judged and counted, nothing changed or refused")
    percent: Percent = Field(default=100, description="callers for whom it is enforced; the others are in shadow")


class Purifier(Section):
    """Another served model, a denoiser, that the rows pass first. It gives back what it takes: same shape and type."""

    model: Name
    signature: str = Field(default="serving_default", max_length=256)
    takes: Name = Field(description="its input's name")
    gives: Name = Field(description="its output's name")
    timeout: PositiveSeconds = Field(default=1.0, description="seconds; never longer than the caller waits")
    on_failure: Literal["refuse", "pass"] = Field(
        default="refuse", description="without it: refuse the call (UNAVAILABLE), or go on with the rows as they came"
    )


class InputRule(Rule):
    """What happens to one input: a Predict input, or a feature of tf.Examples, of this name."""

    range: Range | None = Field(default=None, description="lowest and highest value that the model expects")
    shape: Shape | None = Field(default=None, description="of one row, where it comes flat, as in a tf.Example")
    required: bool = Field(default=False, description="refuse tf.Examples that lack the feature")
    purifier: Purifier | None = None
    steps: Annotated[tuple[InputStep, ...], Field(max_length=16)] = ()

    def chain(self, name: str) -> InputChain:
        """The steps, ready to run.

        Raises:
            ValueError: they do not go together.
        """
        return InputChain(name, _input_steps(self.steps), self.range, self.shape)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        self.chain("")
        return self


class Squeezing(Rule):
    """Feature squeezing (Xu et al. 2018): copies of each row ride in the same call, and their answers are compared."""

    input: Name = Field(description="whose rows are squeezed")
    output: Name = Field(description="whose rows are compared; `scores` for Classify")
    semantics: Literal[Semantics.PROBABILITIES, Semantics.LOGITS] = Field(
        default=Semantics.PROBABILITIES, description="of the output; logits pass a softmax first"
    )
    range: Range | None = Field(default=None, description="as for inputs")
    shape: Shape | None = Field(default=None, description="as for inputs")
    copies: Annotated[tuple[Annotated[tuple[InputStep, ...], Field(min_length=1)], ...], Field(min_length=1)] = Field(
        max_length=8, description="the steps of each squeezed copy"
    )
    threshold: Annotated[float, Field(gt=0, le=2)] = Field(
        description="L1 distance of two probability vectors, 0 to 2, above which a row is refused; calibrate it"
    )

    def chains(self) -> tuple[InputChain, ...]:
        """One chain a copy.

        Raises:
            ValueError: the steps of a copy do not go together.
        """
        return tuple(InputChain(self.input, _input_steps(steps), self.range, self.shape) for steps in self.copies)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        self.chains()
        return self


class OutputRule(Rule):
    """What a caller gets of one output: a Predict output of this name, `scores` of Classify, `outputs` of Regress."""

    semantics: Semantics | None = Field(
        default=None, description="what the numbers mean; absent: only what the numbers themselves prove is believed"
    )
    threshold: Annotated[float, Field(gt=0, lt=1)] = Field(default=0.5, description="of a binary probability's yes")
    key_step: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        default=None, description="inputs this close, in their own unit, get the same noise"
    )
    key_inputs: Annotated[tuple[Name, ...], Field(max_length=64)] = Field(
        default=(), description="inputs that decide a row's noise; name them where a tf.Example may hold others besides"
    )
    on_mismatch: Literal["withhold", "pass"] = Field(
        default="withhold", description="when the numbers are not what they are said to be: no answer, or the raw one"
    )
    steps: Annotated[tuple[OutputDefense, ...], Field(max_length=16)] = ()

    def chain(self, name: str, semantics: Semantics) -> Chain:
        """The steps, ready to run.

        Raises:
            ValueError: a step does not apply to this meaning.
        """
        return Chain(name, semantics, _answer_steps(self.steps), self.threshold)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        steps = _answer_steps(self.steps)
        if self.semantics is not None and self.semantics is not Semantics.NEITHER:
            Chain("", self.semantics, steps, self.threshold)
        return self


class Rules(Section):
    """One set of rules. In a tier or on a ladder step, a section that is given takes the place of the whole section."""

    inputs: Annotated[Mapping[Name, InputRule], Field(max_length=64), AfterValidator(freeze)] | None = None
    squeezing: Squeezing | None = None
    outputs: Annotated[Mapping[Name, OutputRule], Field(max_length=64), AfterValidator(freeze)] | None = None
    limits: LimitRules | None = Field(default=None, description="of this model, beside those of all calls")

    @field_serializer("inputs", "outputs")
    def _plain(self, value: Mapping[str, Section] | None) -> Any:
        return plain(value)


class Ladder(Section):
    """What changes for callers on a step; a later step keeps what the earlier ones set."""

    coarsen: Rules | None = None
    throttle: Rules | None = None


_DEFAULT_STEPS: Mapping[LadderStep, Rules] = {
    "coarsen": Rules(outputs={"*": OutputRule(steps=(LabelOnly(),), on_mismatch="pass")}),
    "throttle": Rules.model_validate({"limits": [{"rate": "1/s", "burst": 60, "by": "caller"}]}),
}
"""Label only, wherever the numbers prove to be probabilities; a row a second."""


class Model(Rules):
    """One served model. Naming it makes readiness wait for it and gives it its own label in the metrics."""

    tiers: Annotated[Mapping[Name, Rules], Field(max_length=64), AfterValidator(freeze)] | None = None
    ladder: Ladder | None = None
    detection: Detection | None = None

    @field_serializer("tiers")
    def _plain_tiers(self, value: Mapping[str, Rules] | None) -> Any:
        return plain(value)

    def _on(self, step: LadderStep) -> Rules | None:
        """What changes on a step; a model under detection has defaults for what its ladder does not say."""
        said = getattr(self.ladder, step) if self.ladder is not None else None
        return said or (_DEFAULT_STEPS[step] if self.detection is not None else None)

    def rules(self, tier: str | None, step: LadderStep | None) -> Rules:
        """The rules for a caller: the model's, the tier's in their place, and the ladder's in the place of both."""
        sources: list[Rules] = [self]
        if self.tiers is not None and tier is not None and tier in self.tiers:
            sources.append(self.tiers[tier])
        if step is not None:
            sources += [found for name in LADDER[: LADDER.index(step) + 1] if (found := self._on(name))]
        merged: dict[str, Any] = {}
        for source in sources:
            merged |= {name: value for name in Rules.model_fields if (value := getattr(source, name)) is not None}
        return Rules.model_construct(**{name: merged.get(name) for name in Rules.model_fields})
