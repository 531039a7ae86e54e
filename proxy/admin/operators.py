"""Operators and their tokens."""

import hashlib
import hmac
import time
from collections.abc import Callable, Sequence

from proxy.config.admin import Operator

MAX_TOKEN_CHARS = 256


def token_hash(token: str) -> str:
    """The hash that the configuration holds: lower-case hexadecimal SHA-256."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


class Operators:
    """The operators of one configuration.

    Args:
        operators: as configured.
        clock: seconds since 1970, for expiry.
    """

    def __init__(self, operators: Sequence[Operator], clock: Callable[[], float] = time.time) -> None:
        self._operators = tuple(operators)
        self._clock = clock

    def __bool__(self) -> bool:
        return bool(self._operators)

    def by_token(self, token: str) -> Operator | None:
        """Whose token this is. All hashes are compared, each in constant time, whatever is found."""
        if len(token) > MAX_TOKEN_CHARS:
            return None
        digest = token_hash(token)
        found = None
        for each in self._operators:
            if hmac.compare_digest(each.sha256, digest):
                found = each
        return self._works(found)

    def again(self, operator: Operator) -> Operator | None:
        """An operator as configured now; None if it is gone, has another token or has expired."""
        found = next((each for each in self._operators if each.sha256 == operator.sha256), None)
        return self._works(found if found is not None and found.name == operator.name else None)

    def _works(self, operator: Operator | None) -> Operator | None:
        if operator is None or (operator.expires is not None and self._clock() >= operator.expires.timestamp()):
            return None
        return operator
