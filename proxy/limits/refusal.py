"""A refusal as the caller reads it: status, text and google.rpc details.

It says what there is too much of, whose count it is and when to come back. Numbers are told only of counts that are the
caller's own: those of an address prefix, a tier, a model or the whole service speak of other callers too.

The details are those of https://cloud.google.com/apis/design/errors; `grpc-retry-pushback-ms` is gRPC proposal A6, with
-1 for "do not retry".
"""

import math
from collections.abc import Mapping

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from proxy.errors import Metadata, Rejection
from proxy.limits.rules import By
from proxy.limits.verdict import Refusal, Verdict

DOMAIN = "tensorwall"
DETAILS = "grpc-status-details-bin"
PUSHBACK = "grpc-retry-pushback-ms"
_MAX_PUSHBACK_MS = 2**31 - 1

_WHOSE: Mapping[By, str] = {
    "caller": "this caller",
    "caller_model": "this caller on this model",
    "prefix": "this network",
    "tier": "this tier",
    "model": "this model",
    "global": "this service",
}
_OWN: frozenset[By] = frozenset({"caller", "caller_model"})


def rejection(verdict: Verdict) -> Rejection:
    """The answer to a call that was not admitted: RESOURCE_EXHAUSTED, or UNAVAILABLE if limits cannot be checked.

    Raises:
        ValueError: the call was admitted.
    """
    refusal = verdict.strictest()
    if verdict.admitted or (refusal is None and verdict.source != "closed"):
        raise ValueError("the verdict does not refuse the call")
    return unavailable() if refusal is None else _exhausted(refusal)


def unavailable() -> Rejection:
    """The answer to a call that cannot be checked, because the store is away that must not be."""
    text = "limits cannot be checked at present; retry later"
    info = error_details_pb2.ErrorInfo(reason="LIMITS_UNAVAILABLE", domain=DOMAIN)
    trailing = ((DETAILS, _status(grpc.StatusCode.UNAVAILABLE, text, info)),)
    return Rejection(grpc.StatusCode.UNAVAILABLE, text, trailing, reason="limit_store")


def _exhausted(refusal: Refusal) -> Rejection:
    text = _text(refusal)
    limit = refusal.descriptor.limit
    subject = limit.by.replace("_", " ")
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=_reason(refusal), domain=DOMAIN, metadata=_facts(refusal)),
        error_details_pb2.QuotaFailure(
            violations=[error_details_pb2.QuotaFailure.Violation(subject=subject, description=text)]
        ),
    ]
    pushback = -1
    if refusal.retry_after is not None:
        pushback = _milliseconds(refusal.retry_after)
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(pushback)
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    trailing: Metadata = ((DETAILS, _status(code, text, *details)), (PUSHBACK, str(pushback)))
    return Rejection(code, text, trailing, reason="limit")


def _milliseconds(seconds: float) -> int:
    """Rounded up, so that who waits as told is not refused for coming too early."""
    return min(math.ceil(seconds * 1000), _MAX_PUSHBACK_MS)


def _reason(refusal: Refusal) -> str:
    limit = refusal.descriptor.limit
    unit = limit.unit.upper()
    if refusal.too_large:
        return f"{unit}_PER_CALL_LIMIT"
    match limit.measure:
        case "backlog":
            return f"{unit}_RATE_LIMIT"
        case "day":
            return f"{unit}_DAILY_BUDGET"
        case "lifetime":
            return f"{unit}_LIFETIME_BUDGET"
        case "slots":
            return "CALLS_IN_FLIGHT_LIMIT"


def _facts(refusal: Refusal) -> dict[str, str]:
    limit = refusal.descriptor.limit
    facts = {"by": limit.by, "unit": limit.unit, "cost": str(refusal.descriptor.cost)}
    if limit.by in _OWN:
        facts["most"] = str(limit.burst)
        facts["remaining"] = str(refusal.remaining)
    return facts


def _text(refusal: Refusal) -> str:
    limit = refusal.descriptor.limit
    whose = _WHOSE[limit.by]
    if refusal.too_large:
        most = f" ({limit.burst})" if limit.by in _OWN else ""
        sent = f"the call has {refusal.descriptor.cost} {limit.unit}"
        return f"{sent}, more than {whose} may ever have at once{most}; split it into smaller calls"
    left = f", {refusal.remaining} left" if limit.by in _OWN else ""
    retry = "" if refusal.retry_after is None else f"retry in {_duration(refusal.retry_after)}"
    match limit.measure:
        case "backlog":
            return f"the rate of {limit.unit} for {whose} is reached; {retry}"
        case "day":
            return f"the daily budget of {limit.unit} for {whose} is too small for this call{left}; {retry}"
        case "lifetime":
            return f"the budget of {limit.unit} for {whose} is too small for this call{left}; it is not renewed"
        case "slots":
            return f"{whose} has too many calls in flight; {retry}"


def _duration(seconds: float) -> str:
    """As people read it, never shorter than it is: 0.042 s, 1.5 s, 37 s, 5 h 12 min."""
    if seconds < 10:
        return f"{math.ceil(seconds * 1000) / 1000:g} s"
    if seconds < 120:
        return f"{math.ceil(seconds)} s"
    minutes = math.ceil(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _status(code: grpc.StatusCode, text: str, *details: Message) -> bytes:
    packed = []
    for detail in details:
        any_ = any_pb2.Any()
        any_.Pack(detail, deterministic=True)
        packed.append(any_)
    status = status_pb2.Status(code=code.value[0], message=text, details=packed)
    raw: bytes = status.SerializeToString(deterministic=True)
    return raw
