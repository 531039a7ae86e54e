"""What operators do about callers: checked, taken, and put into the audit log."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from proxy.activity import CallerTable, caller_key
from proxy.activity.attacks import Attacks
from proxy.admin.access import Refused, Visitor
from proxy.detection import Detection
from proxy.events import Hub
from proxy.events.schema import AISVS_ACTION, ActionEvent, stamp
from proxy.identity import MAX_ID_CHARS
from proxy.logs import event, printable
from proxy.policy import Action, TooManyDecisionsError
from proxy.policy.manual import KINDS, MAX_REASON_CHARS, ActionKind

log = logging.getLogger("tensorwall.admin")

MAX_SECONDS = 366 * 86_400.0
MAX_MODEL_CHARS = 256
_LASTING: tuple[ActionKind, ...] = ("block", "immunise")
_FIELDS = {"reason", "model", "seconds", "name"}


class Acting:
    """Takes operators' decisions.

    Args:
        callers: known by their keys.
        detection: acts.
        attacks: told of verdicts that a release ends.
        hub: told of each decision.
        clock: seconds since 1970.
    """

    def __init__(
        self, callers: CallerTable, detection: Detection, attacks: Attacks, hub: Hub, clock: Callable[[], float]
    ) -> None:
        self._callers = callers
        self._detection = detection
        self._attacks = attacks
        self._hub = hub
        self._clock = clock

    def act(self, key: str, kind: str, asked: dict[str, Any], visitor: Visitor) -> ActionEvent:
        """Takes the decision that a request asks for.

        Args:
            key: of the caller.
            kind: one of KINDS.
            asked: `reason`, and optionally `model`, `seconds`, and `name`: the id of a caller that has not called yet.
            visitor: who decides.

        Raises:
            Refused: what is asked for is not possible.
        """
        if kind not in KINDS:
            raise Refused(404, f"there is no action of this name; known: {', '.join(KINDS)}\n")
        unknown = sorted(set(asked) - _FIELDS)
        if unknown:
            raise Refused(400, f"{unknown[0]!r:.60} is no field; there are {', '.join(sorted(_FIELDS))}\n")
        caller = self._named(key, asked.get("name"))
        reason, model = _reason(asked.get("reason")), _model(asked.get("model"))
        now = self._clock()
        until = _until(kind, asked.get("seconds"), now)
        if kind == "end_immunity" and not self._immune(caller, model, now):
            raise Refused(
                409, "the caller has no immunity that an operator gave; one of the configuration ends there\n"
            )
        action = Action(kind, caller, model, visitor.operator.name, reason, now, until)
        try:
            self._take(action)
        except TooManyDecisionsError as error:
            raise Refused(409, f"{error}\n") from None
        event(log, logging.WARNING, "operator's decision", **action.to_json())
        taken = _told(action, visitor.address)
        self._hub.publish(taken)
        try:
            self._detection.publish(action.name, action.to_json(), action.until)
        except ValueError as error:
            event(log, logging.ERROR, "decision not shared with other proxies", id=action.id, problem=str(error))
        return taken

    def follow(self, shared: Mapping[str, Any]) -> None:
        """Takes a decision that was made at another proxy, which has told of it.

        Raises:
            ValueError: it is none.
            TooManyDecisionsError: there is no room for it.
        """
        action = Action.from_json(shared)
        self._take(action)
        event(log, logging.INFO, "operator's decision at another proxy", **action.to_json())

    def _take(self, action: Action) -> None:
        ended = self._detection.apply(action)
        self._callers.remember(action.caller)
        self._attacks.released(ended, self._clock())

    def _named(self, key: str, name: object) -> str:
        known = self._callers.by_key(key)
        if known is not None:
            return known.name
        if name is not None and not (isinstance(name, str) and 0 < len(name) <= MAX_ID_CHARS):
            raise Refused(400, f"name: is a caller's id, of 1 to {MAX_ID_CHARS} characters\n")
        if name is not None and caller_key(name) == key:
            return name
        raise Refused(
            404, "there is no such caller; to decide about one that has not called yet, send its id as `name`\n"
        )

    def _immune(self, caller: str, model: str | None, now: float) -> bool:
        return any(
            each.caller == caller and each.kind == "immunise" and model in (None, each.model)
            for each in self._detection.policy.manual.standing(now)
        ) or self._detection.policy.manual.immune(caller, model or "", now)


def _told(action: Action, address: str) -> ActionEvent:
    return ActionEvent(
        time=stamp(action.time),
        action=action.kind,
        action_id=action.id,
        caller=printable(action.caller),
        model=None if action.model is None else printable(action.model),
        operator=action.operator,
        address=address,
        reason=printable(action.reason),
        until=None if action.until is None else stamp(action.until),
        owasp_aisvs=(AISVS_ACTION,),
    )


def _reason(value: object) -> str:
    reason = value.strip() if isinstance(value, str) else ""
    if not 0 < len(reason) <= MAX_REASON_CHARS:
        raise Refused(400, f"reason: say why, in 1 to {MAX_REASON_CHARS} characters; it stands in the audit log\n")
    return reason


def _model(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= MAX_MODEL_CHARS:
        raise Refused(400, f"model: is a name of 1 to {MAX_MODEL_CHARS} characters, or null for all models\n")
    return value


def _until(kind: str, seconds: object, now: float) -> float | None:
    if seconds is None:
        return None
    if kind not in _LASTING:
        raise Refused(400, f"seconds: is for {' and '.join(_LASTING)}; what {kind} ends stays ended\n")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise Refused(400, "seconds: is a number, or null for until it is ended\n")
    if not 0 < seconds <= MAX_SECONDS:
        raise Refused(400, f"seconds: is more than 0 and at most {MAX_SECONDS:.0f}\n")
    return now + seconds
