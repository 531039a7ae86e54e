"""A model's benign profile: what is usual, in one versioned file, and what is unusual in its light."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from hashlib import blake2b
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from detectors.benign import Benign
from detectors.features.extractor import MIN_SALT
from detectors.features.scaling import Scaling
from detectors.findings import Finding, Reading, Technique
from detectors.novelty import Novelty
from detectors.observation import Floats
from detectors.rows import Serials
from detectors.tail import Tail

FORMAT = 3
DEFAULTS = "defaults.json"
"""A profile of Fashion-MNIST under simulated benign callers: thresholds for shadow where none were learned."""
LEAST_SURPRISE = 1.0
RADIUS_SHARE = 0.5
"""Of the median distance to the nearest of so many rows, within which two rows are near."""


class ProfileError(Exception):
    """A profile cannot be used; `str()` is what the operator reads."""


@dataclass(frozen=True)
class Profile:
    """What a calibration learned. The salt is a secret: whoever has it can make rows that look alike.

    Attributes:
        model: its name.
        salt: of the features.
        calibrated: False for the defaults.
        created: UTC, ISO 8601.
        rate: share of benign callers that may be found wrongly, by all statistics together.
        rows, callers, seconds: of the traffic that it was learned from.
        levels: for each technique, the decades of evidence that a share `rate` of benign callers ever exceeds, all
            detectors added up. Surprise is scaled so that this comes out as -log10(rate).
        shared: fingerprint hashes that make rows near.
        nearest: (number of rows, median distance to the nearest of them), ascending.
        scaling: of inputs' columns, by input.
        benign: a sample of rows.
        novelty: of traces, by statistic.
        tails: of statistics, by name.
    """

    model: str
    salt: bytes
    calibrated: bool = False
    created: str = ""
    rate: float = 0.001
    rows: int = 0
    callers: int = 0
    seconds: float = 0.0
    levels: Mapping[str, float] = field(default_factory=dict)
    shared: int = 6
    nearest: tuple[tuple[int, float], ...] = ()
    scaling: Mapping[str, Scaling] = field(default_factory=dict)
    benign: Benign = field(default_factory=Benign)
    novelty: Mapping[str, Novelty] = field(default_factory=dict)
    tails: Mapping[str, Tail] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Profile":
        """From a file.

        Raises:
            ProfileError: it cannot be read, or is no profile of this format.
        """
        try:
            value = json.loads(path.read_text())
        except OSError as error:
            raise ProfileError(f"{path}: cannot be read: {error.strerror or error}") from None
        except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            raise ProfileError(f"{path}: is no profile: {error}; make one with tensorwall calibrate") from None
        made = cls._from(value, str(path))
        mistake = made._mistake()
        if mistake is not None:
            raise ProfileError(f"{path}: is no whole profile ({mistake}); calibrate anew")
        return made

    @classmethod
    def defaults(cls, model: str, salt: bytes) -> "Profile":
        """Stated defaults, for shadow only: no reference sample, since embeddings of another salt do not compare."""
        value = json.loads(files("detectors").joinpath(DEFAULTS).read_text())
        shipped = cls._from(value, DEFAULTS)
        return replace(shipped, model=model, salt=salt, calibrated=False, benign=Benign(), scaling={})

    def write(self, path: Path) -> None:
        """To a file that only its owner reads, in one step.

        Raises:
            OSError: it cannot be written.
        """
        made = path.with_name(path.name + ".new")
        made.touch(mode=0o600)
        made.write_text(json.dumps(self.to_json()) + "\n")
        made.replace(path)

    def __getstate__(self) -> dict[str, Any]:
        """What it is made of; what was worked out from it is worked out again."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @cached_property
    def digest(self) -> str:
        """Names what was learned: 12 hexadecimal digits, or `defaults`."""
        if not self.calibrated:
            return "defaults"
        return blake2b(json.dumps(self.to_json(), sort_keys=True).encode(), digest_size=6).hexdigest()

    @cached_property
    def radius(self) -> Callable[[Serials], Floats]:
        """From a number of rows to the distance within which a row is near to one of them."""
        counts = np.log2([count for count, _ in self.nearest] or [1])
        medians = np.array([median for _, median in self.nearest] or [0.1])
        return lambda rows: (RADIUS_SHARE * np.interp(np.log2(rows), counts, medians)).astype(np.float32)

    def level(self, technique: Technique) -> float:
        """Decades that benign callers hardly exceed for a technique."""
        return self.levels.get(technique.value, -math.log10(self.rate))

    def judge(self, reading: Reading) -> Finding | None:
        """A reading in the light of the profile; None if it is nothing unusual.

        A statistic that the profile does not know, as of one's own detector before the next calibration, is taken for
        decades of surprise as it is, and never enough by itself.
        """
        tail = self.tails.get(reading.statistic)
        if tail is None:
            surprise, threshold = reading.value, math.inf
        else:
            level = self.level(reading.technique)
            surprise = min(tail.most, tail.surprise(reading.value) * -math.log10(self.rate) / level)
            threshold = tail.value(level)
        if not surprise >= LEAST_SURPRISE:
            return None
        alone = tail is not None and math.isinf(tail.most) and reading.value > threshold
        return Finding(reading, surprise, threshold, alone)

    def to_json(self) -> dict[str, Any]:
        """What the file holds."""
        return {
            "tensorwall_profile": FORMAT,
            "model": self.model,
            "salt": self.salt.hex(),
            "created": self.created,
            "rate": self.rate,
            "rows": self.rows,
            "callers": self.callers,
            "seconds": self.seconds,
            "levels": dict(self.levels),
            "shared": self.shared,
            "nearest": [list(each) for each in self.nearest],
            "scaling": {
                name: {"centre": each.centre.tolist(), "scale": each.scale.tolist()}
                for name, each in self.scaling.items()
            },
            "benign": self.benign.to_json(),
            "novelty": {name: each.to_json() for name, each in self.novelty.items()},
            "tails": {name: each.to_json() for name, each in self.tails.items()},
        }

    @classmethod
    def _from(cls, value: Any, where: str) -> "Profile":
        found = value.get("tensorwall_profile") if isinstance(value, dict) else None
        if found != FORMAT:
            raise ProfileError(
                f"{where}: is a profile of format {found!r}, and this version reads {FORMAT}; calibrate anew"
            )
        try:
            return cls(
                str(value["model"]),
                bytes.fromhex(value["salt"]),
                True,
                str(value["created"]),
                float(value["rate"]),
                int(value["rows"]),
                int(value["callers"]),
                float(value["seconds"]),
                {str(name): float(level) for name, level in value["levels"].items()},
                int(value["shared"]),
                tuple((int(count), float(median)) for count, median in value["nearest"]),
                {
                    name: Scaling(np.array(each["centre"], np.float32), np.array(each["scale"], np.float32))
                    for name, each in value["scaling"].items()
                },
                Benign.from_json(value["benign"]),
                {name: Novelty.from_json(each) for name, each in value["novelty"].items()},
                {name: Tail.from_json(each) for name, each in value["tails"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ProfileError(f"{where}: is no whole profile ({error!r}); calibrate anew") from None

    def _mistake(self) -> str | None:
        """What no calibration writes, and what detectors could not reckon with."""
        counts = [count for count, _ in self.nearest]
        held = {
            f"salt: has {len(self.salt)} bytes and needs {MIN_SALT}": len(self.salt) >= MIN_SALT,
            f"rate: {self.rate} is no share": 0 < self.rate < 1,
            "levels: are not all above 0": all(0 < level < math.inf for level in self.levels.values()),
            f"shared: {self.shared} is below 1": self.shared >= 1,
            "nearest: numbers of rows do not rise from 1 on": [*counts] == sorted({*counts} - {0}),
            "nearest: distances are not all above 0": all(0 < median < math.inf for _, median in self.nearest),
            "benign: bandwidth is not above 0": 0 < self.benign.bandwidth < math.inf,
        }
        return next((mistake for mistake, holds in held.items() if not holds), None)
