"""Admission: all limits that a call meets, decided in one step of the store."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Protocol

from proxy.addresses import origin
from proxy.identity import Caller
from proxy.limits import Charge, Limit, LimitRules, Verdict, compiled, describe, rejection
from proxy.state import Store

_WHOLE = 32, 128
"""Address bits that are kept; the network around an address has its own, fixed length (`addresses.Origin.network`)."""
_CACHED_NETWORKS = 4096


def _nothing_held() -> None:
    """There is nothing to give back."""


class Told(Protocol):
    """Is told of every decision."""

    def decided(self, model: str, verdict: Verdict, rows: int) -> None:
        """What all limits said to a call of so many rows."""


class Limiter:
    """Admits calls or refuses them.

    Args:
        rules: the limits of all calls together.
        store: where counts are kept; asked anew for each call, since a reload may bring another one.
        metrics: told of every decision.
    """

    def __init__(self, rules: LimitRules, store: Callable[[], Store], metrics: Told) -> None:
        self._limits = compiled(rules)
        self._store = store
        self._metrics = metrics

    async def admit(
        self, caller: Caller, model: str, rows: int, size: int, model_limits: tuple[Limit, ...] = ()
    ) -> Callable[[], None]:
        """Charges a call to all its limits, or to none.

        Args:
            caller: who is charged.
            model: name of the model.
            rows: examples in the request.
            size: bytes of the request.
            model_limits: those of the model, beside those of all calls.

        Returns:
            What gives back the call's slots; to be called once, however it ends.

        Raises:
            Rejection: RESOURCE_EXHAUSTED; UNAVAILABLE where limits cannot be checked and calls may not pass unchecked.
        """
        if not self._limits and not model_limits:
            return _nothing_held
        charge = Charge(caller.id, model, network(caller.address), caller.tier or "", rows, size)
        descriptors = describe((*self._limits, *model_limits), charge)
        if not descriptors:
            return _nothing_held
        store = self._store()
        verdict = await store.admit(descriptors)
        self._metrics.decided(model, verdict, rows)
        if not verdict.admitted:
            raise rejection(verdict)
        return _nothing_held if verdict.lease is None else partial(store.release, verdict.lease)


@lru_cache(_CACHED_NETWORKS)
def network(address: str) -> str:
    """The network around an address; the address itself if it is none."""
    found = origin(address, *_WHOLE)
    return address if found is None else found.network
