"""What may be set of a model's detection, and of what follows from it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, PrivateAttr, field_serializer, model_validator

from detectors.engine import DETECTORS
from detectors.findings import Technique
from detectors.profile import Profile, ProfileError
from proxy.config.imported import ImportedDetector
from proxy.config.section import PositiveSeconds, Seconds, Section, freeze, plain

StepName = Literal["observe", "slow", "coarsen", "throttle", "block"]
STEPS: tuple[StepName, ...] = ("observe", "slow", "coarsen", "throttle", "block")
"""Milder first."""


class Step(Section):
    """One step of a ladder."""

    step: StepName
    score: Annotated[float, Field(gt=0, le=100)] = Field(description="decades of evidence from which it is taken")
    ttl: PositiveSeconds = Field(description="seconds after the last evidence; then comes the step below")


_LADDER = (
    Step(step="observe", score=1.7, ttl=600),
    Step(step="coarsen", score=3, ttl=1800),
    Step(step="throttle", score=5, ttl=3600),
    Step(step="block", score=8, ttl=3600),
)


class Response(Section):
    """What follows from evidence of one technique."""

    answer: Literal["silent", "refuse"] = Field(
        default="silent",
        description="silent: answers stay plausible and nothing is refused; refuse: blocked calls are refused openly",
    )
    ladder: Annotated[tuple[Step, ...], Field(min_length=1, max_length=5)] = _LADDER
    half_life: PositiveSeconds = Field(default=1800, description="seconds in which a score falls by half")

    @model_validator(mode="after")
    def _rises(self) -> Self:
        order = [STEPS.index(each.step) for each in self.ladder]
        scores = [each.score for each in self.ladder]
        if order != sorted(set(order)) or scores != sorted(set(scores)):
            raise ValueError(
                "the ladder's steps and their scores must rise; write observe, slow, coarsen, ... in order"
            )
        return self


class Responses(Section):
    """For each technique."""

    evasion: Response = Response()
    extraction: Response = Response()
    membership: Response = Response()
    inversion: Response = Response()

    def of(self, technique: Technique) -> Response:
        """What follows from evidence of this one."""
        found: Response = getattr(self, technique.value)
        return found


class Detection(Section):
    """Query-pattern detection. Without a profile it runs on stated defaults, and in shadow whatever the mode says."""

    mode: Literal["off", "shadow", "enforce"] = Field(default="shadow", description="shadow: reported, not acted on")
    percent: Annotated[float, Field(ge=0, le=100)] = Field(
        default=100, description="callers for whom it is enforced; the others are in shadow"
    )
    profile: Path | None = Field(default=None, description="file that `tensorwall calibrate` made for this model")
    inputs: Annotated[tuple[str, ...], Field(max_length=64)] = Field(
        default=(), description="inputs or features that are looked at; all if none is named"
    )
    output: str | None = Field(
        default=None, max_length=256, description="whose rows say the class; absent: the first that is a distribution"
    )
    semantics: Literal["probabilities", "logits"] = Field(default="probabilities", description="of the output")
    detectors: Annotated[Mapping[str, bool], AfterValidator(freeze)] = Field(
        default_factory=lambda: freeze({}), description=f"false switches one off: {', '.join(DETECTORS)}"
    )
    own: Annotated[tuple[ImportedDetector, ...], Field(max_length=16)] = Field(
        default=(), description="detectors of one's own, by import path"
    )
    immune: Annotated[tuple[str, ...], Field(max_length=1000)] = Field(
        default=(), description="caller ids, with * and ?: reported, never acted on"
    )
    delay: tuple[Seconds, Seconds] = Field(
        default=(0.25, 1.0),
        description="seconds for which an answer is held back on the step slow: the least, the most",
    )
    policy: Responses = Responses()
    _loaded: Profile | None = PrivateAttr(default=None)

    @field_serializer("detectors")
    def _plain(self, value: Mapping[str, Any]) -> Any:
        return plain(value)

    @property
    def learned(self) -> Profile | None:
        """The profile's content, as it was when the configuration was read."""
        return self._loaded

    @property
    def off(self) -> frozenset[str]:
        """Detectors that are switched off."""
        return frozenset(name for name, on in self.detectors.items() if not on)

    @model_validator(mode="after")
    def _usable(self) -> Self:
        unknown = sorted(set(self.detectors) - set(DETECTORS))
        if unknown:
            raise ValueError(f"there is no detector {unknown[0]!r}; known: {', '.join(DETECTORS)}")
        if self.delay[0] > self.delay[1]:
            raise ValueError(f"delay: the least, {self.delay[0]:g}, is more than the most, {self.delay[1]:g}")
        if self.semantics == "logits" and self.output is None:
            raise ValueError("semantics says logits, but of which output is not said; name it as output")
        if self.profile is not None:
            try:
                self._loaded = Profile.read(self.profile)
            except ProfileError as error:
                raise ValueError(str(error)) from None
        return self
