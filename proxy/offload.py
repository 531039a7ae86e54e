"""Work on a request: at once if it is small, else on a thread, where it holds up nobody else."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar

T = TypeVar("T")

INLINE_BYTES = 16 * 2**10
"""Up to this size work is done on the event loop; a thread costs more than it does."""


async def offload(executor: Executor, size: int, work: Callable[..., T], *arguments: Any) -> T:
    """What `work` returns.

    Args:
        executor: does it if it is large.
        size: bytes to work on: the larger of a message and of what it claims, since a few bytes may stand for many.
        work: may run beside the event loop.
        arguments: of it.

    Raises:
        Exception: what it raises.
    """
    if size <= INLINE_BYTES:
        return work(*arguments)
    return await asyncio.get_running_loop().run_in_executor(executor, work, *arguments)
