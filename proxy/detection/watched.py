"""One watched model: its settings, what is usual for it, and how its detectors are, which run in another process."""

from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import count
from typing import Any

from detectors.features import Extractor
from detectors.profile import Profile
from proxy.config.detection import Detection as Settings
from proxy.detection import wire
from proxy.detection.engines import Recipe, Status

_numbers = count()


@dataclass(slots=True, eq=False)
class Remote:
    """One engine in the detectors' process; after that ended it is another one.

    Attributes:
        number: no other one has it.
        status: as it was last told.
    """

    number: int = field(default_factory=lambda: next(_numbers))
    status: Status = field(default_factory=Status)


@dataclass(slots=True)
class Watched:
    """One model's detection.

    Attributes:
        name: the model's.
        settings: of its detection.
        profile: what is usual.
        extractor: of features, for rows that have to be compared before the model is asked.
        engine: its detectors.
        key: what the engine was made from; another one needs another engine.
        mark: proxies with the same one can use each other's observations; it tells nothing of the salt.
    """

    name: str
    settings: Settings
    profile: Profile
    extractor: Extractor
    engine: Remote
    key: tuple[Any, ...]
    mark: str

    @classmethod
    def made(cls, name: str, settings: Settings, salt: bytes, old: "Watched | None") -> "Watched":
        """From settings; with the old one's engine, as far as what that was made from is the same.

        Args:
            name: the model's.
            settings: of its detection.
            salt: of features where no profile has one.
            old: what there was.
        """
        profile = settings.learned or Profile.defaults(name, salt)
        key = profile.salt, profile.digest, settings.off, tuple(each.model_dump_json() for each in settings.own)
        if old is not None and old.key == key:
            return replace(old, settings=settings)
        return cls(name, settings, profile, Extractor(profile.salt, profile.scaling), Remote(), key, _mark(profile))

    @property
    def recipe(self) -> Recipe:
        """What its engine is made from."""
        return Recipe(self.settings, self.profile, self.engine.number)


def _mark(profile: Profile) -> str:
    made_from = f"{wire.VERSION} {profile.digest}".encode()
    return blake2b(made_from, key=profile.salt[:64], digest_size=6, person=b"tensorwall log").hexdigest()
