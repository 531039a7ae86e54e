"""A defense that fails, for tests of what happens then."""

from typing import Any

from defenses.output import Semantics


class Broken:
    """Has all that an input or an answer defense needs, and raises."""

    kind = "broken"
    takes = "numbers"
    ranged = False
    finite = False
    preserves_argmax = True
    applies_to = frozenset(Semantics)

    def __call__(self, given: Any) -> Any:
        raise ZeroDivisionError
