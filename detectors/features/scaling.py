"""Location and scale of an input's columns, so that no unit drowns the others."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

CLIP = 8.0
"""Scaled values beyond are cut: one broken sensor shall not decide what is near."""
_NORMAL_IQR = 1.349
"""Interquartile range of a standard normal distribution."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """Of one input's columns, as a calibration found them.

    Attributes:
        centre: (columns,) medians.
        scale: (columns,) interquartile ranges over that of a standard normal; positive.
    """

    centre: NDArray[np.float32]
    scale: NDArray[np.float32]

    @classmethod
    def of(cls, columns: NDArray[Any]) -> "Scaling":
        """Learns it from (rows, columns) of benign traffic; constant columns keep a scale of 1."""
        low, centre, high = np.quantile(np.asarray(columns, dtype=np.float64), (0.25, 0.5, 0.75), axis=0)
        spread = np.std(columns, axis=0, dtype=np.float64)
        scale = np.where(high > low, (high - low) / _NORMAL_IQR, np.where(spread > 0, spread, 1))
        return cls(centre.astype(np.float32), scale.astype(np.float32))

    def __call__(self, columns: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scaled columns; as they are if there are other columns than were learned."""
        if columns.shape[1] != len(self.centre):
            return columns
        scaled: NDArray[np.float32] = ((columns - self.centre) / self.scale).clip(-CLIP, CLIP)
        return scaled
