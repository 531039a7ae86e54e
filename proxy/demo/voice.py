"""How the demo speaks: plain lines as things happen, a little emphasis on a terminal only."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

_RAMP = np.array(list(" .:-=+*#%@"))
_BOLD, _PLAIN = "\x1b[1m", "\x1b[0m"


class Voice:
    """Writes the story.

    Args:
        out: where to.
        environment: NO_COLOR and TERM are looked up here (https://no-color.org).
    """

    def __init__(self, out: TextIO, environment: Mapping[str, str] = os.environ) -> None:
        self._out = out
        self._started = time.monotonic()
        plain = not out.isatty() or environment.get("NO_COLOR") or environment.get("TERM") == "dumb"
        self._bold = ("", "") if plain else (_BOLD, _PLAIN)

    def title(self, text: str) -> None:
        """The heading of a scene, with the seconds since the start."""
        on, off = self._bold
        print(f"\n{on}{text}{off}  ({time.monotonic() - self._started:.1f} s)", file=self._out, flush=True)

    def __call__(self, text: str) -> None:
        """One line, or a few."""
        print("\n".join(f"  {line}".rstrip() for line in text.split("\n")), file=self._out, flush=True)


def picture(image: NDArray[np.float32]) -> list[str]:
    """An image in characters, twice as wide as high since characters are narrow.

    Args:
        image: float32 (H, W, 1) in [0, 1].
    """
    grey = image[..., 0]
    if grey.shape[0] >= 20:
        grey = grey[: len(grey) // 2 * 2].reshape(-1, 2, grey.shape[1]).mean(axis=1)
    else:
        grey = grey.repeat(2, axis=1)
    shades = np.minimum((grey * len(_RAMP)).astype(int), len(_RAMP) - 1)
    return ["".join(row) for row in _RAMP[shades]]


@contextlib.contextmanager
def quiet(log: Path) -> Iterator[None]:
    """Sends this process's standard error to a file within the block.

    TensorFlow remarks on the machine from C++, before any setting of its own can stop it.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with log.open("ab") as file:
            os.dup2(file.fileno(), 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
