"""From a model's rules to what is done to one caller's call."""

from bisect import bisect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from proxy.config.detection import StepName
from proxy.config.protection import LADDER, InputRule, LadderStep, Model, Rule, Rules
from proxy.config.schema import Config
from proxy.identity import Caller
from proxy.limits import Limit, compiled, share
from proxy.metrics import ProtectionMetrics
from proxy.protection.purify import PurifierCall
from proxy.protection.sanitize import InputGuard, Purify
from proxy.protection.shield import OutputGuard, keyed, working_chains
from proxy.protection.squeeze import SqueezeGuard
from proxy.upstream import UpstreamPool


@dataclass(frozen=True, slots=True)
class Guards:
    """What is done to a call; nothing of it is off.

    Attributes:
        inputs: the inputs' rules.
        squeezing: the squeezing rule.
        outputs: the outputs' rules.
        limits: of this model.
        coarser: answers are coarsened by a step of the ladder.
    """

    inputs: tuple[InputGuard, ...] = ()
    squeezing: SqueezeGuard | None = None
    outputs: tuple[OutputGuard, ...] = ()
    limits: tuple[Limit, ...] = ()
    coarser: bool = False

    @property
    def names(self) -> set[str]:
        """All inputs and features that a rule names."""
        keys = {name for guard in self.outputs for name in guard.rule.key_inputs}
        return keys | {guard.name for guard in self.inputs}

    @property
    def protects(self) -> bool:
        """Whether requests or replies are looked into."""
        return bool(self.inputs or self.outputs or self.squeezing)

    @property
    def outcome(self) -> str:
        """What becomes of the rows if nothing refuses them, as the metrics name it."""
        return "coarsened" if self.coarser else "admitted"


NOTHING = Guards()


class GuardTable:
    """The guards of every configured model, for each tier and ladder step; made once a configuration.

    Args:
        config: the configuration in force.
        upstream: where purifying models are served.
        metrics: told of purifiers' calls.
    """

    def __init__(self, config: Config, upstream: UpstreamPool, metrics: ProtectionMetrics) -> None:
        self._models = config.models
        self._steps = config.callers
        self._upstream = upstream
        self._metrics = metrics
        self._made: dict[tuple[str, str | None, LadderStep | None], _Template] = {}

    def of(self, model: str, caller: Caller, step: StepName | None = None) -> Guards:
        """What is done to a caller's call of a model, on this step or the configured one, whichever is later.

        A step that is no set of rules keeps those of the step before it.
        """
        configured = self._models.get(model)
        if configured is None:
            return NOTHING
        tier = caller.tier if configured.tiers is not None and caller.tier in configured.tiers else None
        key = model, tier, _later(self._steps.get(caller.id), _RULES_OF[step])
        template = self._made.get(key)
        if template is None:
            template = self._made[key] = self._template(model, configured.rules(tier, key[2]), key[2])
        return template.of(caller.id)

    def _template(self, model: str, rules: Rules, step: LadderStep | None) -> "_Template":
        return _Template(
            tuple(
                (rule, InputGuard(name, rule.chain(name), True, rule.required, self._purifier(model, rule)))
                for name, rule in (rules.inputs or {}).items()
                if rule.mode != "off"
            ),
            None
            if rules.squeezing is None or rules.squeezing.mode == "off"
            else SqueezeGuard(rules.squeezing, rules.squeezing.chains(), True),
            tuple(
                (rule, OutputGuard(name, rule, True, working_chains(name, rule), keyed(rule.steps)))
                for name, rule in (rules.outputs or {}).items()
                if rule.mode != "off"
            ),
            compiled(rules.limits or (), f"model:{model}"),
            step is not None,
        )

    def _purifier(self, model: str, rule: InputRule) -> Purify | None:
        if rule.purifier is None:
            return None
        return PurifierCall(
            rule.purifier, self._upstream, rule.shape, rule.range, partial(self._metrics.purified, model)
        )


class _Template:
    """Guards before it is known for which caller; which rules are in force depends on the caller's share alone."""

    def __init__(
        self,
        inputs: tuple[tuple[Rule, InputGuard], ...],
        squeezing: SqueezeGuard | None,
        outputs: tuple[tuple[Rule, OutputGuard], ...],
        limits: tuple[Limit, ...],
        coarser: bool,
    ) -> None:
        self._inputs = inputs
        self._squeezing = squeezing
        self._outputs = outputs
        self._limits = limits
        self._coarser = coarser
        rules = [rule for rule, _ in (*inputs, *outputs)] + ([squeezing.rule] if squeezing is not None else [])
        self._steps = sorted({rule.percent for rule in rules if rule.mode == "enforce" and 0 < rule.percent < 100})
        self._made = [self._at(caller_share) for caller_share in (0.0, *self._steps)]

    def of(self, caller: str) -> Guards:
        """The guards for a caller, by its id."""
        return self._made[bisect(self._steps, share(caller)) if self._steps else 0]

    def _at(self, caller_share: float) -> Guards:
        """For callers from this share of all, in percent, to the next that makes a difference."""
        squeezing = self._squeezing
        if squeezing is not None:
            squeezing = replace(squeezing, enforced=_enforced(squeezing.rule, caller_share))
        outputs = tuple(replace(guard, enforced=_enforced(rule, caller_share)) for rule, guard in self._outputs)
        return Guards(
            tuple(replace(guard, enforced=_enforced(rule, caller_share)) for rule, guard in self._inputs),
            squeezing,
            outputs,
            self._limits,
            self._coarser and any(guard.enforced for guard in outputs),
        )


_RULES_OF: Mapping[StepName | None, LadderStep | None] = {
    None: None,
    "observe": None,
    "slow": None,
    "coarsen": "coarsen",
    "throttle": "throttle",
    "block": "throttle",
}


def _later(one: LadderStep | None, other: LadderStep | None) -> LadderStep | None:
    return max(one, other, key=LADDER.index) if one is not None and other is not None else one or other


def _enforced(rule: Rule, caller_share: float) -> bool:
    return rule.mode == "enforce" and caller_share < rule.percent


def protected_models(models: Mapping[str, Model]) -> list[str]:
    """Models of which any rule looks into requests or replies, so that their signatures are worth knowing."""
    return [name for name, model in models.items() if any(_looks_in(rules) for rules in all_rules(model))]


def all_rules(model: Model) -> list[Rules]:
    """Every set of rules that some caller can meet, as it then is."""
    tiers: list[str | None] = [None, *(model.tiers or {})]
    steps: list[LadderStep | None] = [None, "coarsen", "throttle"]
    return [model.rules(tier, step) for tier in tiers for step in steps]


def must_parse(config: Config) -> bool:
    """Whether a request that cannot be read has to be refused: any model has a rule or a limit that it might evade."""
    return bool(config.limits) or any(
        _watched(model) or _looks_in(rules) or rules.limits
        for model in config.models.values()
        for rules in all_rules(model)
    )


def _watched(model: Model) -> bool:
    return model.detection is not None and model.detection.mode != "off"


def _looks_in(rules: Rules) -> bool:
    squeezing = [rules.squeezing] if rules.squeezing is not None else []
    found: list[Rule] = [*(rules.inputs or {}).values(), *(rules.outputs or {}).values(), *squeezing]
    return any(rule.mode != "off" for rule in found)
