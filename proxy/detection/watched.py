"""One watched model: its settings, what is usual for it, and its detectors."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

from detectors.engine import Engine
from detectors.features import Extractor
from detectors.profile import Profile
from proxy.config.detection import Detection as Settings
from proxy.detection import wire
from proxy.detection.history import History


@dataclass(slots=True)
class Watched:
    """One model's detection.

    Attributes:
        name: the model's.
        settings: of its detection.
        profile: what is usual.
        extractor: of features.
        engine: its detectors.
        key: what the engine was made from; another one needs another engine.
        history: of its callers, for whoever looks.
        mark: proxies with the same one can use each other's observations; it tells nothing of the salt.
    """

    name: str
    settings: Settings
    profile: Profile
    extractor: Extractor
    engine: Engine
    key: tuple[Any, ...]
    history: History
    mark: str

    @classmethod
    def made(
        cls, name: str, settings: Settings, salt: bytes, old: "Watched | None", failed: Callable[[str, Exception], None]
    ) -> "Watched":
        """From settings; with the old one's engine, as far as what that was made from is the same.

        Args:
            name: the model's.
            settings: of its detection.
            salt: of features where no profile has one.
            old: what there was.
            failed: told of a detector that raised.
        """
        profile = settings.learned or Profile.defaults(name, salt)
        key = profile.salt, profile.digest, settings.off, tuple(each.model_dump_json() for each in settings.own)
        if old is not None and old.key == key:
            return replace(old, settings=settings)
        engine = Engine(profile, [each.made() for each in settings.own], settings.off, failed=failed)
        extractor, history = Extractor(profile.salt, profile.scaling), History(profile, engine.fidelity)
        return cls(name, settings, profile, extractor, engine, key, history, _mark(profile))


def _mark(profile: Profile) -> str:
    made_from = f"{wire.VERSION} {profile.digest}".encode()
    return blake2b(made_from, key=profile.salt[:64], digest_size=6, person=b"tensorwall log").hexdigest()
