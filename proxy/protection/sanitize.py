"""The request's side: every input that has a rule is cleaned before the model sees it."""

import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Literal

import grpc
import numpy as np
from numpy.typing import NDArray

from defenses.input import InputChain, InvalidInputError, row_seeds
from defenses.input.base import Seeds
from protos.tensor_pb2 import DataType
from proxy.errors import Rejection
from proxy.logs import event
from proxy.metrics import ProtectionMetrics
from proxy.offload import offload
from proxy.protection.requests import Block, OpenRequest, changed_rows
from proxy.signatures import TensorSpec
from proxy.tensors import MAX_DIMENSIONS

log = logging.getLogger("tensorwall.sanitize")

Array = NDArray[Any]
Purify = Callable[[Array, float], Awaitable[Array | None]]
"""Sends rows through the purifying model, by a deadline; None if it failed and the rows may pass as they are."""


@dataclass(frozen=True, slots=True)
class InputGuard:
    """One input's rule, ready for one caller.

    Attributes:
        name: of the input.
        chain: the steps.
        enforced: False in shadow: nothing is changed or refused.
        required: tf.Examples have to have the feature.
        purify: the purifier that comes before the steps.
    """

    name: str
    chain: InputChain
    enforced: bool
    required: bool = False
    purify: Purify | None = None

    @property
    def mode(self) -> Literal["enforce", "shadow"]:
        """As the metrics name it."""
        return "enforce" if self.enforced else "shadow"


class Sanitizer:
    """Cleans requests.

    Args:
        rng: secret; the dice of every row are thrown from it.
        executor: where large requests are worked on.
        metrics: told of rows changed and refused.
    """

    def __init__(self, rng: np.random.Generator, executor: Executor, metrics: ProtectionMetrics) -> None:
        self._rng = rng
        self._executor = executor
        self._metrics = metrics

    async def clean(
        self, request: OpenRequest, model: str, guards: tuple[InputGuard, ...], size: int, deadline: float
    ) -> bool:
        """Cleans the inputs in place; says whether anything was changed.

        Args:
            request: the caller's.
            model: its name, for the metrics.
            guards: what is to be done.
            size: bytes of the request.
            deadline: of the caller, on the clock of the purifiers.

        Raises:
            Rejection: INVALID_ARGUMENT, or UNAVAILABLE if a purifier is needed and away.
        """
        changed = False
        for guard in guards:
            try:
                changed |= await self._clean_input(request, model, guard, size, deadline)
            except InvalidInputError as error:
                self._metrics.input_refused(model, guard.name, guard.mode)
                if guard.enforced:
                    raise invalid(guard.name, str(error)) from None
            except Rejection:
                self._metrics.input_refused(model, guard.name, guard.mode)
                if guard.enforced:
                    raise
            except Exception:
                if guard.enforced:
                    raise
                event(
                    log, logging.ERROR, "input defense failed in shadow", exc_info=True, model=model, input=guard.name
                )
        return changed

    async def _clean_input(
        self, request: OpenRequest, model: str, guard: InputGuard, size: int, deadline: float
    ) -> bool:
        lacking = request.lacking(guard.name) if guard.required else None
        if lacking is not None:
            raise InvalidInputError(f"the feature is missing in row {lacking}; send it in every tf.Example")
        # All blocks are cleaned before any is replaced, so that a refusal leaves nothing half done.
        cleaned = [
            (block, *await self._clean_block(block, guard, size, deadline)) for block in request.blocks(guard.name)
        ]
        touched = 0
        for block, after, rows in cleaned:
            touched += rows
            self._metrics.input_rows(model, guard.name, guard.mode, block.rows, rows)
            if rows and guard.enforced:
                block.replace(after)
        return guard.enforced and touched > 0

    async def _clean_block(self, block: Block, guard: InputGuard, size: int, deadline: float) -> tuple[Array, int]:
        """The rows cleaned, and how many of them changed."""
        values = block.values
        if guard.purify is not None and values.size:
            purified = await guard.purify(values, deadline)
            values = values if purified is None else purified
        seeds = row_seeds(self._rng, values.shape[0] if values.ndim and values.size else 0)
        try:
            return await offload(self._executor, size, _cleaned, block, guard, values, seeds)
        except InvalidInputError as error:
            raise InvalidInputError(f"{block.label}: {error}" if block.label else str(error)) from None


def _cleaned(block: Block, guard: InputGuard, values: Array, seeds: Seeds) -> tuple[Array, int]:
    after = guard.chain(values, seeds)
    return after, changed_rows(block.values, after)


def check_signature(request: OpenRequest, name: str, spec: TensorSpec) -> None:
    """Holds a Predict input against the model's signature, as far as the rules need it.

    Raises:
        InvalidInputError: the input has another type or shape.
    """
    proto = request.tensor(name)
    if proto is None:
        return
    if proto.dtype != spec.dtype:
        raise InvalidInputError(f"it is {_type(proto.dtype)}; the model takes {_type(spec.dtype)}")
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if spec.shape is not None and not spec.admits(shape):
        wanted = ["?" if size is None else size for size in spec.shape]
        got = str(list(shape)) if len(shape) <= MAX_DIMENSIONS else f"of {len(shape)} dimensions"
        raise InvalidInputError(f"its shape is {got}; the model takes [{', '.join(map(str, wanted))}]")


def invalid(name: str, problem: str) -> Rejection:
    """The refusal of a request for one of its inputs."""
    return Rejection(grpc.StatusCode.INVALID_ARGUMENT, f"input {name!r:.100}: {problem}", reason="input")


def _type(dtype: int) -> str:
    return DataType.Name(dtype) if dtype in DataType.values() else str(dtype)
