"""The end of a background task."""

import asyncio

AGAIN_SECONDS = 0.1


async def ended(task: "asyncio.Task[None] | None") -> None:
    """Cancels a task until it has ended.

    Once is not always enough: a client that is cleaning up a broken connection can swallow a cancellation.
    """
    while task is not None and not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=AGAIN_SECONDS)
