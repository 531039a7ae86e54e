"""Memory that is free goes back to the system, which glibc's allocator does by itself only in part.

After a burst of large messages it would keep hundreds of megabytes, and a container is judged by what it has.
"""

import asyncio
import ctypes

EVERY_SECONDS = 10.0


async def keep_trimmed() -> None:
    """Until cancelled; does nothing where the C library is another one."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    while trim is not None:
        await asyncio.sleep(EVERY_SECONDS)
        await asyncio.to_thread(trim, 0)  # milliseconds, without the interpreter's lock
