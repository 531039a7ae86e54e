"""Processes that the kernel kills when their parent ends, however that ends: prctl(2), PR_SET_PDEATHSIG. Linux only.

`python -P -m proxy.leash PARENT COMMAND...` becomes COMMAND; the signal outlives execve(2). A function run between fork
and exec could do this, but not safely in a process with threads (gRPC and TensorFlow start some), so a program does it.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""linux/prctl.h"""


def hold(parent: int) -> None:
    """Has the kernel kill this process once `parent`, or the thread of it that started this process, has ended.

    Raises:
        SystemExit: it has ended already.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit(1)


def main() -> None:
    """Replaces this process by the command."""
    hold(int(sys.argv[1]))
    command = sys.argv[2:]
    os.execv(command[0], command)  # noqa: S606  # no shell is wanted


if __name__ == "__main__":
    main()
