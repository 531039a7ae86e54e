"""Feature squeezing in one call: squeezed copies ride as extra rows, are judged, and are cut from the reply.

The rows of an enlarged request are the caller's own, then the first copy of each, then the second, and so on.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from defenses.input import InputChain, InvalidInputError, row_seeds
from defenses.input.squeezing import disagreement, softmax
from defenses.output import OutputSpec, Semantics, SemanticsMismatchError, SemanticsUnknownError, resolve
from protos.example_pb2 import Example
from proxy.codec import example_input
from proxy.config.protection import Squeezing
from proxy.protection.replies import OpenReply, Scores, Tensor
from proxy.protection.requests import OpenRequest, feature_blocks, features_of
from proxy.tensors import UndecodableTensorError, refuse_repeating, set_array, to_array

Array = NDArray[Any]
_NAMED_ROWS = 10


@dataclass(frozen=True, slots=True)
class SqueezeGuard:
    """The squeezing rule, ready for one caller.

    Attributes:
        rule: the settings.
        chains: one a copy.
        enforced: False in shadow: scored, never refused.
    """

    rule: Squeezing
    chains: tuple[InputChain, ...]
    enforced: bool

    @property
    def mode(self) -> Literal["enforce", "shadow"]:
        """As the metrics name it."""
        return "enforce" if self.enforced else "shadow"


class NotSqueezableError(ValueError):
    """The request has no rows that could be squeezed."""


def enlarge(request: OpenRequest, guard: SqueezeGuard, rng: np.random.Generator) -> bytes:
    """The request's message with the squeezed copies behind the caller's own rows; the request is used up.

    Args:
        request: the caller's, cleaned.
        guard: the rule.
        rng: secret; of the rows' seeds, which are drawn under its lock.

    Raises:
        NotSqueezableError: it has no rows of the squeezed input, or they cannot be squeezed.
    """
    try:
        if request.tensor(guard.rule.input) is not None:
            _enlarge_tensors(request, guard, rng)
        elif example_input(request.message) is not None:
            _enlarge_examples(request, guard, rng)
        else:
            raise NotSqueezableError
    except (InvalidInputError, UndecodableTensorError):
        raise NotSqueezableError from None
    return request.body()


class Judged(NamedTuple):
    """What came of an enlarged call.

    Attributes:
        body: the reply without the rows that the caller did not send; None if it does not answer row by row, so that
            nothing can be cut from it and the caller's own request has to be asked by itself.
        scores: (rows,), see `defenses.input.squeezing`; None if the output does not tell probabilities.
    """

    body: bytes | None
    scores: NDArray[np.float64] | None


def judge(path: str, body: bytes, rows: int, guard: SqueezeGuard) -> Judged:
    """Scores the rows of the reply to an enlarged request and cuts the copies' rows off."""
    try:
        reply = OpenReply(path, body)
        scores = _scores(reply, rows, guard)
        whole = _cut(reply, rows, rows * (len(guard.chains) + 1))
    except (DecodeError, UndecodableTensorError):
        return Judged(None, None)
    return Judged(reply.body() if whole else None, scores)


def refused_text(rows: list[int]) -> str:
    """What a caller reads whose rows the score refuses."""
    named = ", ".join(map(str, rows[:_NAMED_ROWS])) + (", ..." if len(rows) > _NAMED_ROWS else "")
    return f"the model's protection does not accept {'row' if len(rows) == 1 else 'rows'} {named} of the request"


def _enlarge_tensors(request: OpenRequest, guard: SqueezeGuard, rng: np.random.Generator) -> None:
    tensors, rows = request.message.inputs, request.rows
    refuse_repeating(tensors.values())
    squeezed = to_array(tensors[guard.rule.input])
    if not rows or squeezed.ndim == 0 or len(squeezed) != rows:
        raise NotSqueezableError
    for name in tensors:
        values = to_array(tensors[name])
        if values.ndim == 0 or len(values) != rows:
            continue  # a setting of the whole call
        if name == guard.rule.input:
            copies = [chain(values, row_seeds(rng, rows)) for chain in guard.chains]
        else:
            copies = [values] * len(guard.chains)
        set_array(tensors[name], np.concatenate([values, *copies]))


def _enlarge_examples(request: OpenRequest, guard: SqueezeGuard, rng: np.random.Generator) -> None:
    held = example_input(request.message)
    if not held.examples or not all(guard.rule.input in features_of(example) for example in held.examples):
        raise NotSqueezableError
    own = list(held.examples)
    for chain in guard.chains:
        seeds = row_seeds(rng, len(own))
        copies = [_copy(example) for example in own]
        for block in feature_blocks(copies, guard.rule.input):
            block.replace(chain(block.values, seeds[: len(block.values)]))
        held.examples.extend(copies)


def _copy(example: Example) -> Example:
    copied = Example()
    copied.CopyFrom(example)
    return copied


def _scores(reply: OpenReply, rows: int, guard: SqueezeGuard) -> NDArray[np.float64] | None:
    for part in reply.parts(guard.rule.output):
        if not isinstance(part, Tensor | Scores):
            continue
        values = part.sample()
        copies = len(guard.chains)
        if values.ndim != 2 or len(values) != rows * (copies + 1):
            return None
        try:
            spec = OutputSpec(guard.rule.output, values.dtype.name, (None, values.shape[1]))
            semantics = resolve(spec, guard.rule.semantics, values)
        except (SemanticsMismatchError, SemanticsUnknownError):
            return None
        if semantics not in (Semantics.PROBABILITIES, Semantics.LOGITS):
            return None
        answers = softmax(values) if semantics is Semantics.LOGITS else values
        shaped = answers.reshape(copies + 1, rows, -1)
        return disagreement(shaped[0], shaped[1:])
    return None


def _cut(reply: OpenReply, rows: int, enlarged: int) -> bool:
    """Leaves the first `rows` of each output; False if one of them does not have the rows that were asked for."""
    if reply.method == "Predict":
        outputs = reply.message.outputs
        for name in outputs:
            dims = outputs[name].tensor_shape.dim
            if not dims or dims[0].size != enlarged:
                return False
            set_array(outputs[name], to_array(outputs[name])[:rows])
        return True
    for result in reply.results():
        held: Any = result.classifications if hasattr(result, "classifications") else result.regressions
        if len(held) != enlarged:
            return False
        del held[rows:]
    return True
