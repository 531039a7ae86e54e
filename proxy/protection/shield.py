"""The reply's side: no more of each output than this caller should have."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Literal

import grpc
import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from defenses.output import (
    Chain,
    OutputSpec,
    Semantics,
    SemanticsMismatchError,
    SemanticsUnknownError,
    harden_lists,
    is_float,
    resolve,
    row_keys,
)
from proxy.config.protection import OutputRule
from proxy.errors import Rejection
from proxy.logs import event
from proxy.metrics import ProtectionMetrics
from proxy.protection.replies import OpenReply, Scores, Tensor, Values
from proxy.protection.requests import changed_rows
from proxy.tensors import UndecodableTensorError

log = logging.getLogger("tensorwall.shield")

_WITHHELD = "the answer is withheld: the model's output is not what its protection was made for; tell its operator"
_MAX_KNOWN = 1000
"""Outputs whose meaning was proved by their numbers; a model version has few."""

Keys = NDArray[np.uint64]
Part = Tensor | Scores | Values


@dataclass(frozen=True, slots=True)
class OutputGuard:
    """One output's rule, ready for one caller.

    Attributes:
        name: of the output.
        rule: the settings.
        enforced: False in shadow: nothing is changed or withheld.
        chains: one for each meaning that the steps apply to.
        keyed: a step draws noise from the rows' keys.
        every: it is one of all outputs that have no rule of their own.
    """

    name: str
    rule: OutputRule
    enforced: bool
    chains: dict[Semantics, Chain]
    keyed: bool
    every: bool = False

    @property
    def mode(self) -> Literal["enforce", "shadow"]:
        """As the metrics name it."""
        return "enforce" if self.enforced else "shadow"


class Shield:
    """Hardens replies.

    Args:
        secret: keys the noise; 16 to 64 bytes.
        metrics: told of rows changed and answers withheld.
    """

    def __init__(self, secret: bytes, metrics: ProtectionMetrics) -> None:
        self._secret = secret
        self._metrics = metrics
        self._known: dict[tuple[str, int, str], Semantics] = {}

    def harden(
        self,
        path: str,
        body: bytes,
        model: str,
        guards: tuple[OutputGuard, ...],
        identities: Callable[[OutputGuard], Sequence[bytes]],
    ) -> bytes:
        """The reply as the caller may have it; the same bytes if nothing was changed.

        Args:
            path: full method name.
            body: the upstream's reply.
            model: its name as asked for.
            guards: what is to be done.
            identities: what identifies the input of each row, for a guard's keys.

        Raises:
            Rejection: an answer is withheld.
        """
        try:
            reply = OpenReply(path, body)
        except DecodeError:
            return self._unreadable(model, body, guards)
        changed = False
        ruled = {guard.name for guard in guards}
        for guard in guards:
            for name in reply.names(guard.name):
                if name != guard.name and name in ruled:
                    continue
                own = guard if name == guard.name else replace(guard, name=name, every=True)
                for part in reply.parts(name):
                    changed |= self._harden_part(part, model, reply.version, own, identities)
        return reply.body() if changed else body

    def _unreadable(self, model: str, body: bytes, guards: tuple[OutputGuard, ...]) -> bytes:
        for guard in guards:
            self._mismatch(model, guard, "the reply is no valid message")
        return body

    def _harden_part(
        self,
        part: Part,
        model: str,
        version: int,
        guard: OutputGuard,
        identities: Callable[[OutputGuard], Sequence[bytes]],
    ) -> bool:
        try:
            values = part.sample()
            if values.size == 0:
                return False
            chain = self._chain(part, values, model, version, guard)
            if chain is None:
                return False
            keys = self._keys(part.rows(), guard, f"{model}\0{version}\0{guard.name}", identities)
            rows, changed, replace = _hardened(part, values, chain, keys)
        except (SemanticsMismatchError, SemanticsUnknownError, UndecodableTensorError) as error:
            self._mismatch(model, guard, str(error))
            return False
        except Exception:
            if guard.enforced:
                raise
            event(log, logging.ERROR, "answer defense failed in shadow", exc_info=True, model=model, output=guard.name)
            return False
        self._metrics.answer_rows(model, guard.name, guard.mode, rows, changed)
        if changed and guard.enforced:
            replace()
        return guard.enforced and changed > 0

    def _chain(self, part: Part, values: NDArray[Any], model: str, version: int, guard: OutputGuard) -> Chain | None:
        """None for an output that has no numbers to harden.

        Raises:
            SemanticsUnknownError: its meaning is neither configured nor proved, or the steps do not apply to it.
            SemanticsMismatchError: it cannot mean what is configured.
        """
        key = model, version, guard.name
        semantics = guard.rule.semantics or self._known.get(key)
        if semantics is None or not is_float(values.dtype):
            if semantics not in (None, Semantics.NEITHER):
                raise SemanticsMismatchError(guard.name, semantics, f"its type is {values.dtype.name}, not a float")
            shape = None if values.ndim == 0 else (None, *values.shape[1:])
            semantics = resolve(OutputSpec(guard.name, values.dtype.name, shape), None, values)
            if values.size and len(self._known) < _MAX_KNOWN:
                self._known[key] = semantics
        if semantics is Semantics.NEITHER or (isinstance(part, Scores) and not values.any()):
            return None  # a classification without scores has zeros in their place
        chain = guard.chains.get(semantics)
        if chain is None:
            raise SemanticsUnknownError(
                f"output {guard.name!r} holds {semantics}, to which not all of its steps apply; correct outputs."
                f"{guard.name}.steps"
            )
        return chain

    def _keys(
        self, rows: int, guard: OutputGuard, context: str, identities: Callable[[OutputGuard], Sequence[bytes]]
    ) -> Keys:
        if not guard.keyed:
            return np.zeros(rows, dtype=np.uint64)
        own = identities(guard)
        if len(own) != rows:  # the model does not answer row by row: all rows belong to all of the request
            whole = blake2b(digest_size=32)
            for one in own:
                whole.update(len(one).to_bytes(8, "little") + one)
            own = [whole.digest() + at.to_bytes(8, "little") for at in range(rows)]
        return row_keys(own, self._secret, context)

    def _mismatch(self, model: str, guard: OutputGuard, problem: str) -> None:
        if guard.every:
            return  # nobody said what this output means
        self._metrics.answer_mismatch(model, guard.name, guard.mode)
        withheld = guard.enforced and guard.rule.on_mismatch == "withhold"
        event(log, logging.ERROR, "answer defense cannot work", model=model, problem=problem, withheld=withheld)
        if withheld:
            raise Rejection(grpc.StatusCode.FAILED_PRECONDITION, _WITHHELD, reason="output")


def _hardened(part: Part, before: NDArray[Any], chain: Chain, keys: Keys) -> tuple[int, int, Callable[[], None]]:
    """Rows, how many of them changed, and what puts the new ones in place."""
    match part:
        case Tensor() | Values():
            after = chain(before, keys).values
            return part.rows(), changed_rows(before, after), lambda: part.replace(after)
        case Scores():
            lists = part.lists()
            hardened = harden_lists(chain, lists, keys)
            changed = sum(old != new for old, new in zip(lists, hardened, strict=True))
            return len(lists), changed, lambda: part.replace(hardened)


def working_chains(name: str, rule: OutputRule) -> dict[Semantics, Chain]:
    """A chain for each meaning that all steps of a rule apply to."""
    wanted: Iterator[Semantics] = iter(Semantics if rule.semantics is None else (rule.semantics,))
    chains: dict[Semantics, Chain] = {}
    for semantics in wanted:
        if semantics is Semantics.NEITHER:
            continue
        try:
            chains[semantics] = rule.chain(name, semantics)
        except ValueError:
            continue  # said when an output of this meaning comes
    return chains


def keyed(steps: Sequence[Any]) -> bool:
    """Whether steps need the rows' keys: noise, and whatever somebody else wrote."""
    return any(step.kind in ("noise", "import") for step in steps)
