"""`python -P -m proxy.demo.leash PARENT COMMAND...`: becomes COMMAND, which the kernel kills when PARENT ends.

A function run between fork and exec could do this, but not safely in a process with threads (gRPC and TensorFlow start
some), so a small program does it. Source: prctl(2), PR_SET_PDEATHSIG, which outlives execve(2). Linux only; elsewhere
the command is run as it is.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""linux/prctl.h"""


def main() -> None:
    """Sets the death signal and replaces this process by the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the signal was set
            sys.exit(1)
    os.execv(command[0], command)  # noqa: S606  # no shell is wanted


if __name__ == "__main__":
    main()
