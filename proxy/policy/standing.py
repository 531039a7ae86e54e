"""How a caller stands with a model at this moment, which is all that the request path asks."""

from dataclasses import dataclass

from proxy.config.detection import StepName


@dataclass(frozen=True, slots=True)
class Standing:
    """What happens to one call.

    Attributes:
        step: of the ladder; None if nothing does.
        silent: nothing is refused, and answers come from earlier near rows.
        subject: whose earlier rows answer, if they do.
        remembered: rows that are answered truly before others are answered like them.
    """

    step: StepName | None = None
    silent: bool = True
    subject: str = ""
    remembered: int = 1

    @property
    def echoes(self) -> bool:
        """Whether rows are answered like earlier ones."""
        return self.silent and self.step in ("coarsen", "throttle", "block")

    @property
    def rules(self) -> StepName | None:
        """The step whose rules hold; a silent one has none by which a call is refused."""
        return "coarsen" if self.echoes else self.step

    @property
    def blocked(self) -> bool:
        """Whether the call is refused."""
        return self.step == "block" and not self.silent

    @property
    def slowed(self) -> bool:
        """Whether the answer is held back: on the step that says so, and where a silent one would have throttled."""
        return self.step == "slow" or (self.silent and self.step in ("throttle", "block"))


CLEAR = Standing()
