"""What an operator may write under `limits:`; README.md has the syntax with examples.

One entry is one limit. Which of `rate`, `budget` and `in_flight` it holds says of which form it is.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from proxy.limits.gcra import NANOSECONDS, needed

By = Literal["caller", "caller_model", "prefix", "tier", "model", "global"]
"""Whose calls are counted together: one caller's, on all models or on each; those of an address prefix; of a tier; of a
model; or all."""

Unit = Literal["rows", "calls", "bytes"]
Mode = Literal["off", "shadow", "enforce"]

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_RATE = re.compile(r"(?P<count>[^/]+?)\s*(?:/|\bper\b)\s*(?P<period>s|m|h|d|sec|second|min|minute|hour|day)")
_COUNT = re.compile(r"(?P<number>(?:\d[\d_]*)?\.?\d+(?:e\+?\d+)?)\s*(?P<size>[kmgt]i?b|b)?", re.IGNORECASE)
_SIZES = {"": 1, "b": 1} | {f"{p}{i}b": (1024 if i else 1000) ** n for n, p in enumerate("kmgt", 1) for i in ("", "i")}

MAX_PER_SECOND = 1e10
"""More cannot be told apart in nanoseconds, nor reached."""

MAX_REFILL_DAYS = 31
"""How long a burst may take to refill. It keeps every sum exact in Redis' Lua, whose numbers are float64."""

MAX_COUNT = 2**50
"""Of a burst or a budget; exact as a float64 with room to add to it."""


class Rate(NamedTuple):
    """`units` every `seconds`."""

    units: float
    seconds: int

    @property
    def emission_interval(self) -> float:
        """Nanoseconds that one unit takes."""
        return self.seconds * NANOSECONDS / self.units


def parse_rate(text: str) -> Rate:
    """Reads `1000/s`, `1e6/h`, `0.5 per minute` or `10MiB/s`.

    Raises:
        ValueError: naming the text and how to write it.
    """
    match = _RATE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a rate; write a number and s, m, h or d, as in 1000/s or 1e6/h")
    rate = Rate(_count(match["count"]), SECONDS[match["period"][0]])
    if not 0 < rate.units <= MAX_PER_SECOND * rate.seconds:
        raise ValueError(f"{text!r} is out of range; write a rate above 0 and up to {MAX_PER_SECOND:g} a second")
    return rate


def _count(text: str) -> float:
    match = _COUNT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a number; write one such as 1000, 1_000, 1e6 or, for bytes, 64MiB")
    factor: int = _SIZES[(match["size"] or "").lower()]
    return float(match["number"]) * factor


def _whole(value: object) -> object:
    """Whole numbers as people write them: `100_000`, `1e5`, `64MiB`."""
    if isinstance(value, str):
        value = _count(value.strip())
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _rate_text(value: str) -> str:
    parse_rate(value)
    return value


Count = Annotated[int, BeforeValidator(_whole), Field(ge=1, le=MAX_COUNT)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}$")]


class _Rule(BaseModel):
    """What all limits have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    counts_sizes: ClassVar[tuple[str, ...]] = ()

    by: By = Field(description="whose calls are counted together")
    mode: Mode = Field(default="enforce", description="shadow: counted and reported, never refused")
    percent: float = Field(default=100, ge=0, le=100, description="callers enforced, the rest are in shadow")
    name: Name = Field(
        default="", validate_default=False, description="in metrics and in the store's keys; made up if absent"
    )

    @model_validator(mode="before")
    @classmethod
    def _sizes_are_bytes(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("unit", "rows") != "bytes":
            for key in cls.counts_sizes:
                text = value.get(key)
                if isinstance(text, str) and re.search(r"\db|[kmgt]i?b\b", text, re.IGNORECASE):
                    raise ValueError(f"{key} {text!r} is a size; set unit: bytes, or write a plain number")
        return value


class RateLimit(_Rule):
    """At most `rate` over time and `burst` at once (GCRA)."""

    counts_sizes = ("rate", "burst")

    unit: Unit = "rows"
    rate: Annotated[str, AfterValidator(_rate_text)] = Field(description="such as 1000/s, 1e6/h or, of bytes, 10MiB/s")
    burst: Count | None = Field(default=None, description="units at once; one period's worth if absent")

    @property
    def units_at_once(self) -> int:
        """The burst, given or one period's worth: 1000 of `1000/m`, at least 1."""
        return self.burst or max(1, int(parse_rate(self.rate).units))

    @property
    def label(self) -> str:
        """The name, or one with the period and not the count: a changed rate goes on from where the old one was."""
        period = next(letter for letter, seconds in SECONDS.items() if seconds == parse_rate(self.rate).seconds)
        return self.name or f"{self.by}_{self.unit}_{period}"

    @model_validator(mode="after")
    def _refills(self) -> "RateLimit":
        refill = needed(self.units_at_once, parse_rate(self.rate).emission_interval) / NANOSECONDS / SECONDS["d"]
        if refill > MAX_REFILL_DAYS:
            raise ValueError(
                f"a burst of {self.units_at_once} takes {refill:.0f} days to refill at {self.rate}; "
                f"keep it within {MAX_REFILL_DAYS} days, or write a budget"
            )
        return self


class BudgetLimit(_Rule):
    """At most `budget` a UTC calendar day, or ever."""

    counts_sizes = ("budget",)

    unit: Unit = "rows"
    budget: Count
    per: Literal["day", "lifetime"] = Field(description="day: renewed at 00:00 UTC; lifetime: never renewed")

    @property
    def label(self) -> str:
        """The name, or one without the amount: a raised budget goes on from what is spent."""
        return self.name or f"{self.by}_{self.unit}_{'daily' if self.per == 'day' else 'lifetime'}"


class InFlightLimit(_Rule):
    """At most `in_flight` calls at the same time."""

    in_flight: Annotated[int, Field(ge=1, le=1_000_000)]

    @property
    def label(self) -> str:
        """The name, or one that says whose calls."""
        return self.name or f"{self.by}_in_flight"


_FORMS = {"rate": "rate_limit", "budget": "budget_limit", "in_flight": "in_flight_limit"}


def _form(value: Any) -> str | None:
    """The tag of the one form that the keys speak of."""
    if isinstance(value, _Rule):
        return next((tag for key, tag in _FORMS.items() if hasattr(value, key)), None)
    found = [tag for key, tag in _FORMS.items() if key in value] if isinstance(value, Mapping) else []
    return found[0] if len(found) == 1 else None


LimitRule = Annotated[
    Annotated[RateLimit, Tag("rate_limit")]
    | Annotated[BudgetLimit, Tag("budget_limit")]
    | Annotated[InFlightLimit, Tag("in_flight_limit")],
    Discriminator(
        _form,
        custom_error_type="limit_form",
        custom_error_message="a limit has exactly one of the keys rate, budget and in_flight",
    ),
]
"""One limit of any form."""


def distinct(rules: Sequence[LimitRule]) -> Sequence[LimitRule]:
    """Checks that no two rules of a list go by one name.

    Raises:
        ValueError: naming the rules and the remedy.
    """
    seen: dict[str, int] = {}
    for index, rule in enumerate(rules):
        first = seen.setdefault(rule.label, index)
        if first != index:
            raise ValueError(f"limits {first} and {index} are both called {rule.label!r}; give one of them a name")
    return rules


LimitRules = Annotated[tuple[LimitRule, ...], Field(max_length=64), AfterValidator(distinct)]
"""The limits of one list, names distinct."""
