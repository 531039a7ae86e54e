"""Findings to verdicts, per model, subject and technique; and what verdicts mean for a call."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from hashlib import blake2b

from detectors.findings import Finding, Subject, Technique
from proxy.config.detection import STEPS, Detection, StepName
from proxy.limits import share
from proxy.policy.clusters import NOBODY, Clusters, Members
from proxy.policy.manual import Action, Manual
from proxy.policy.standing import CLEAR, Standing
from proxy.policy.verdict import Evidence, Mode, Verdict, harder, milder

MAX_VERDICTS = 10_000
EVICTED_TOGETHER = 100
"""Looking for the least costs something, so that more than one goes at a time."""
REMEMBERED = 8
"""Rows that a caller under a silent verdict for extraction is still told truly."""

SKEW = 5.0
"""Seconds by which the clocks of proxies may differ: a release is of what was found until then."""

Key = tuple[str, Subject, Technique]
Told = Callable[[Verdict, float], None]


class Policy:
    """The verdicts of all models. For one thread: the event loop's.

    Memory: MAX_VERDICTS; when they are reached, the EVICTED_TOGETHER mildest and oldest go, and are counted.

    Args:
        told: of each verdict that is new or reached a new step, and of the time.

    Attributes:
        evicted: verdicts that were forgotten before their time.
        manual: what operators decided.
    """

    def __init__(self, told: Told) -> None:
        self.evicted = 0
        self.manual = Manual()
        self._told = told
        self._models: Mapping[str, Detection] = {}
        self._verdicts: OrderedDict[Key, Verdict] = OrderedDict()
        self._by_subject: dict[tuple[str, Subject], dict[Technique, Verdict]] = {}
        self._clusters: dict[str, Clusters] = {}
        self._spared: set[str] = set()

    def configure(self, models: Mapping[str, Detection]) -> None:
        """Takes the settings of each watched model; verdicts on others end."""
        self._models = dict(models)
        for key, verdict in tuple(self._verdicts.items()):
            settings = self._models.get(verdict.model)
            if settings is None:
                self._forget(key)
            else:
                verdict.follow(settings.policy.of(verdict.technique))
                verdict.mode, verdict.immune = self._mode(verdict.model, settings, verdict.subject, verdict.updated)

    def judge(self, model: str, findings: Iterable[Finding], now: float) -> list[Verdict]:
        """Adds findings to what is known; returns the verdicts that they concern.

        Args:
            model: its name.
            findings: of its engine.
            now: seconds since 1970.
        """
        settings = self._models.get(model)
        if settings is None:
            return []
        concerned = []
        for finding in findings:
            cluster = finding.reading.cluster
            subject = finding.reading.subject
            if subject.kind == "caller" and self.manual.stale(model, subject.id, finding):
                continue
            verdict = self._hold(model, settings, subject, finding, now)
            concerned.append(verdict)
            if cluster is not None and verdict.level >= 0:
                enough = finding.surprise >= verdict.response.ladder[verdict.level].score
                if enough or cluster.blamed.keys() <= verdict.callers.keys():  # weak evidence draws nobody else in
                    verdict.callers = cluster.blamed
                    self._clusters.setdefault(model, Clusters()).put(verdict, cluster.members, cluster.radius)
                concerned += [
                    self._hold(model, settings, Subject("caller", caller), finding, now)
                    for caller in cluster.blamed
                    if not self.manual.stale(model, caller, finding)
                ]
        return concerned

    def apply(self, action: Action, now: float) -> list[Verdict]:
        """Takes an operator's decision; returns the verdicts that it ended.

        Raises:
            TooManyDecisionsError: as `Manual.decide`.
        """
        mine = [each for each in self._verdicts.values() if action.model in (None, each.model)]
        own = [each for each in mine if each.subject == Subject("caller", action.caller)]
        clusters = [each for each in mine if each.subject.kind == "cluster" and action.caller in each.callers]
        self.manual.decide(action, [*own, *clusters], now)
        if action.kind != "release":
            return []
        ended = [each for each in own if each.updated <= action.time + SKEW]
        for verdict in ended:
            self._forget((verdict.model, verdict.subject, verdict.technique))
        return [each for each in ended if each.level >= 0]

    def verdicts(self, now: float, model: str | None = None) -> list[Verdict]:
        """All that stand, on any step."""
        self._expire(now)
        found = [each for each in self._verdicts.values() if each.level >= 0 and model in (None, each.model)]
        for verdict in found:
            self._spare(verdict, now)
        return found

    def held(self) -> list[Verdict]:
        """All verdicts, those too that have run out and are not forgotten yet."""
        return list(self._verdicts.values())

    def stands(self, verdict: Verdict, now: float) -> bool:
        """Whether a verdict is still held, and on any step; settles it."""
        if self._verdicts.get((verdict.model, verdict.subject, verdict.technique)) is not verdict:
            return False
        verdict.settle(now)
        self._spare(verdict, now)
        return verdict.level >= 0

    def of_caller(self, caller: str, now: float) -> list[Verdict]:
        """The verdicts that stand on one caller."""
        subject = Subject("caller", caller)
        found = [each for model in self._models for each in self._by_subject.get((model, subject), {}).values()]
        return [verdict for verdict in found if self.stands(verdict, now)]

    def standing(self, model: str, caller: str, groups: Sequence[str], now: float) -> Standing:
        """How a caller stands by itself and by its groups; the hardest step counts, and refusing before silence."""
        if not self._by_subject:
            return CLEAR
        settings = self._models.get(model)
        if settings is None or not self._acts(model, settings, caller, now):
            return CLEAR
        found = CLEAR
        for verdict, step in self.against(model, caller, groups, now):
            found = _hardest(found, step, verdict, caller)
        return found

    def acts(self, model: str, caller: str) -> bool:
        """Whether verdicts on a model act on this caller, and are not in shadow, as configured.

        An operator's immunity is looked up where a verdict would act.
        """
        settings = self._models.get(model)
        return settings is not None and _mode(settings, Subject("caller", caller))[0] == "enforce"

    def against(self, model: str, caller: str, groups: Sequence[str], now: float) -> list[tuple[Verdict, StepName]]:
        """The verdicts that stand on a caller or its groups, and the step that each means for it, whatever the mode."""
        found = []
        for subject in (Subject("caller", caller), *(Subject("group", group) for group in groups)):
            for verdict in self._by_subject.get((model, subject), {}).values():
                if subject.kind == "group" and self.manual.excused(model, caller, verdict.since):
                    continue
                verdict.settle(now)
                step = verdict.step
                if step is not None:
                    found.append((verdict, milder(step) if subject.kind == "group" else step))
        return found

    def settings(self, model: str) -> Detection | None:
        """Of a watched model."""
        return self._models.get(model)

    def holds(self, verdict: Verdict) -> bool:
        """Whether a verdict is still the one on its subject, and stands."""
        return self._verdicts.get((verdict.model, verdict.subject, verdict.technique)) is verdict and verdict.level >= 0

    def take(self, verdict: Verdict, now: float) -> None:
        """Takes a verdict over that another process reached; the harder or longer one on a subject counts.

        Args:
            verdict: on a watched model, made with its settings.
            now: seconds since 1970.
        """
        settings = self._models[verdict.model]
        verdict.mode, verdict.immune = self._mode(verdict.model, settings, verdict.subject, now)
        verdict.settle(now)
        key = verdict.model, verdict.subject, verdict.technique
        own = self._verdicts.get(key)
        if verdict.level < 0 or (own is not None and (own.level, own.until) >= (verdict.level, verdict.until)):
            return
        if own is not None:
            self._forget(key)
        elif len(self._verdicts) >= MAX_VERDICTS:
            self._evict(now)
        self._verdicts[key] = verdict
        self._by_subject.setdefault((verdict.model, verdict.subject), {})[verdict.technique] = verdict
        for each in verdict.evidence.values():
            cluster = each.finding.reading.cluster
            if verdict.subject.kind == "cluster" and cluster is not None and len(cluster.members):
                self._clusters.setdefault(verdict.model, Clusters()).put(verdict, cluster.members, cluster.radius)

    def forget_clusters(self, model: str) -> None:
        """Rows of a model are compared with no cluster any more, until there is new evidence."""
        self._clusters.pop(model, None)

    def members(self, model: str, caller: str) -> Members:
        """What a caller's rows have to be compared with, as it is now."""
        clusters = self._clusters.get(model)
        return NOBODY if clusters is None or not self.acts(model, caller) else clusters.members

    def row_standings(self, model: str, caller: str, owners: Sequence[Verdict | None], now: float) -> list[Standing]:
        """How each row stands by the verdict on the cluster that it belongs to, as far as that concerns the caller.

        What one caller alone did is held against nobody else whose rows happen to be near.
        """
        settings = self._models.get(model)
        if settings is None or not self._acts(model, settings, caller, now):
            return [CLEAR] * len(owners)
        standings = []
        for verdict in owners:
            theirs = verdict is not None and (len(verdict.callers) != 1 or caller in verdict.callers)
            if verdict is not None and theirs and not self.manual.excused(model, caller, verdict.since):
                verdict.settle(now)
                standings.append(_hardest(CLEAR, verdict.step, verdict, verdict.id))
            else:
                standings.append(CLEAR)
        return standings

    def _hold(self, model: str, settings: Detection, subject: Subject, finding: Finding, now: float) -> Verdict:
        technique = finding.reading.technique
        key = model, subject, technique
        response = settings.policy.of(technique)
        verdict = self._verdicts.get(key)
        if verdict is None:
            if len(self._verdicts) >= MAX_VERDICTS:
                self._evict(now)
            mode, immune = self._mode(model, settings, subject, now)
            verdict = Verdict(_id(key, now), model, subject, technique, response, mode, immune, now, now)
            self._verdicts[key] = verdict
            self._by_subject.setdefault((model, subject), {})[technique] = verdict
        self._verdicts.move_to_end(key)
        verdict.settle(now)
        verdict.updated = now
        self._add(verdict, finding)
        first = verdict.highest < 0
        if verdict.rise(now):
            if first:
                verdict.since, verdict.found_at = now, finding.reading.seen
            if not verdict.acted_at and verdict.step != "observe":
                verdict.acted_at = finding.reading.seen
            if subject.kind == "cluster" and finding.reading.cluster is not None:
                verdict.callers = finding.reading.cluster.blamed
            self._told(verdict, now)
        return verdict

    def _add(self, verdict: Verdict, finding: Finding) -> None:
        """A detector's latest finding counts if it is stronger than what is left of its last."""
        decades = finding.surprise
        if finding.alone:
            acting = [each.score for each in verdict.response.ladder if each.step != "observe"]
            decades = max(decades, min(acting, default=decades))
        held = verdict.evidence.get(finding.reading.detector)
        if held is None or decades >= held.decades or finding.reading.time - held.finding.reading.time > 60:
            verdict.evidence[finding.reading.detector] = Evidence(finding, decades)

    def _acts(self, model: str, settings: Detection, caller: str, now: float) -> bool:
        return self._mode(model, settings, Subject("caller", caller), now)[0] == "enforce"

    def _mode(self, model: str, settings: Detection, subject: Subject, now: float) -> tuple[Mode, bool]:
        if subject.kind == "caller" and self.manual.immune(subject.id, model, now):
            return "shadow", True
        return _mode(settings, subject)

    def _spare(self, verdict: Verdict, now: float) -> None:
        """Shows a verdict's mode as an operator's immunity begins and ends."""
        subject = verdict.subject
        spared = subject.kind == "caller" and self.manual.immune(subject.id, verdict.model, now)
        if spared != (verdict.id in self._spared):
            (self._spared.add if spared else self._spared.discard)(verdict.id)
            verdict.mode, verdict.immune = self._mode(verdict.model, self._models[verdict.model], subject, now)

    def _expire(self, now: float) -> None:
        for key, verdict in tuple(self._verdicts.items()):
            verdict.settle(now)
            if verdict.level < 0 and now - verdict.updated > verdict.response.half_life:
                self._forget(key)

    def _evict(self, now: float) -> None:
        self._expire(now)
        if len(self._verdicts) >= MAX_VERDICTS:
            least = sorted(self._verdicts, key=lambda key: (self._verdicts[key].level, self._verdicts[key].updated))
            for key in least[:EVICTED_TOGETHER]:
                self._forget(key)
                self.evicted += 1

    def _forget(self, key: Key) -> None:
        model, subject, technique = key
        verdict = self._verdicts.pop(key)
        self._spared.discard(verdict.id)
        held = self._by_subject.get((model, subject), {})
        held.pop(technique, None)
        if not held:
            self._by_subject.pop((model, subject), None)
        if model in self._clusters:
            self._clusters[model].forget(verdict.id)


def _id(key: Key, now: float) -> str:
    """The same in all processes that come to a verdict over the same log."""
    model, subject, technique = key
    return blake2b(repr((model, subject.kind, subject.id, technique.value, now)).encode(), digest_size=6).hexdigest()


def _hardest(found: Standing, step: StepName | None, verdict: Verdict, subject: str) -> Standing:
    """The harder of what is known and one verdict more; a refusing one counts before a silent one on the same step."""
    if step is None or step == "observe":
        return found
    silent = verdict.response.answer == "silent"
    remembered = 1 if verdict.subject.kind == "cluster" else REMEMBERED
    other = Standing(step, silent, f"{verdict.model}\0{subject}", remembered)
    if found.step is None:
        return other
    if harder(found.step, step) != found.step or (STEPS.index(step) == STEPS.index(found.step) and not silent):
        return other
    return found


def _mode(settings: Detection, subject: Subject) -> tuple[Mode, bool]:
    """Whether a verdict on a subject acts, and whether the subject is immune."""
    enforced = settings.mode == "enforce" and settings.learned is not None
    if subject.kind != "caller":
        return "enforce" if enforced else "shadow", False
    immune = _immune(settings, subject.id)
    return "enforce" if enforced and not immune and share(subject.id) < settings.percent else "shadow", immune


def _immune(settings: Detection, caller: str) -> bool:
    return any(fnmatchcase(caller, pattern) for pattern in settings.immune)
