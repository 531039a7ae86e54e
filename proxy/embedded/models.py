"""Which versions of which models are loaded, and how that changes while calls run.

The newest version is served, and every version that has a label. A new version is loaded completely before it takes
over; the old one is unloaded when the last call that uses it has ended (availability-preserving, as TensorFlow Serving
calls it). What cannot be loaded is logged and tried again when its files change; it never takes a loaded version down.
"""

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from proxy.embedded.apis import get_model_status_pb2
from proxy.embedded.servable import LoadError, Servable
from proxy.embedded.status import invalid_argument, not_found
from proxy.embedded.versions import Fingerprint, find_versions, fingerprint, is_saved_model

log = logging.getLogger(__name__)

State = get_model_status_pb2.ModelVersionStatus
MAX_ENDED_VERSIONS = 100  # unloaded versions of a model that GetModelStatus still lists; the oldest are forgotten
_UNKNOWN = 2  # the code of a version that could not be loaded


class ModelError(Exception):
    """A model that cannot be served from the start; `str()` is one sentence for the operator."""


class VersionStatus(NamedTuple):
    """A row of GetModelStatus: a `ModelVersionStatus.State`, and why, where it ended by an error."""

    state: int
    error_code: int = 0
    error_message: str = ""


@dataclass(eq=False)
class _Loaded:
    servable: Servable
    leases: int = 0
    retired: bool = False


class Model:
    """The versions of one model."""

    def __init__(self, name: str, base: Path, labels: Mapping[str, int]) -> None:
        """Load what is to be served.

        Raises:
            ModelError: there is nothing to serve, or a label names a version that is not there.
        """
        self.name = name
        self.labels = dict(labels)
        self._base = base
        self._lock = threading.RLock()
        self._loaded: dict[int, _Loaded] = {}
        self._draining: list[_Loaded] = []
        self._statuses: dict[int, VersionStatus] = {}
        self._broken: dict[int, Fingerprint] = {}
        self._complaint: str | None = None
        self._first_load()

    @property
    def newest(self) -> int:
        """The version that is served to callers who name none."""
        with self._lock:
            return max(self._loaded)

    def statuses(self) -> list[tuple[int, VersionStatus]]:
        """Version and status, the newest first, unloaded ones included."""
        with self._lock:
            return sorted(self._statuses.items(), reverse=True)

    @contextmanager
    def lease(self, version: int | None) -> Iterator[Servable]:
        """A loaded version (the newest for None) that stays loaded until the block ends.

        Raises:
            StatusError: NOT_FOUND, that version is not loaded.
        """
        with self._lock:
            loaded = self._loaded.get(max(self._loaded) if version is None else version)
            if loaded is None:
                raise servable_not_found(self.name, version)
            loaded.leases += 1
        try:
            yield loaded.servable
        finally:
            with self._lock:
                loaded.leases -= 1
                last = loaded.retired and loaded.leases == 0
            if last:
                self._unload(loaded)

    def refresh(self) -> None:
        """Look at the folder once: load what is new, then retire what nobody should get any more."""
        try:
            folders = find_versions(self._base)
        except OSError as error:
            self._complain(f"{self._base} cannot be read ({error.strerror}); what is loaded stays")
            return
        if not folders:
            self._complain(f"{self._base} holds no version any more; what is loaded stays")
            return
        self._complaint = None
        self._broken = {version: files for version, files in self._broken.items() if version in folders}
        wanted = {self._newest_loadable(folders), *self.labels.values()}
        for version in wanted & folders.keys():
            self._load(version, folders[version])
        self._retire_all_but(wanted)

    def close(self) -> None:
        """Unload everything; runs in flight are cancelled."""
        with self._lock:
            loaded = [*self._loaded.values(), *self._draining]
        for one in loaded:
            one.servable.close()

    def _first_load(self) -> None:
        folders = _existing_versions(self.name, self._base)
        for label, version in self.labels.items():
            if version not in folders:
                there = ", ".join(map(str, sorted(folders)))
                raise ModelError(
                    f"label {self.name}:{label}={version}: {self._base} has no version {version}, only {there}"
                )
        self._newest_loadable(folders)
        for label, version in self.labels.items():
            if not self._load(version, folders[version]):
                reason = self._statuses[version].error_message
                raise ModelError(f"label {self.name}:{label}={version}: {folders[version]} cannot be loaded: {reason}")
        if not self._loaded:
            newest = max(folders)
            reason = self._statuses[newest].error_message
            raise ModelError(f"model {self.name}: {folders[newest]} cannot be loaded as a SavedModel: {reason}")

    def _newest_loadable(self, folders: Mapping[int, Path]) -> int:
        """The newest version that is or can be loaded, loaded; where none can, the newest that is."""
        for version in sorted(folders, reverse=True):
            if self._load(version, folders[version]):
                return version
        return max(self._loaded, default=0)

    def _load(self, version: int, folder: Path) -> bool:
        """Whether the version is loaded now. One that failed is not tried again until its files have changed."""
        if version in self._loaded:
            return True
        before = fingerprint(folder)
        if self._broken.get(version) == before:
            return False
        self._set_status(version, VersionStatus(State.LOADING))
        try:
            servable = Servable(self.name, version, folder)
        except LoadError as error:
            self._broken[version] = before
            self._set_status(version, VersionStatus(State.END, _UNKNOWN, str(error)))
            log.warning("model %s: version %d cannot be loaded: %s", self.name, version, error)
            return False
        self._broken.pop(version, None)
        with self._lock:
            self._loaded[version] = _Loaded(servable)
        self._set_status(version, VersionStatus(State.AVAILABLE))
        log.info("model %s: version %d loaded", self.name, version)
        return True

    def _retire_all_but(self, wanted: set[int]) -> None:
        with self._lock:
            retired = [self._loaded.pop(version) for version in self._loaded.keys() - wanted]
            self._draining.extend(retired)
            for loaded in retired:
                loaded.retired = True
                self._set_status(loaded.servable.version, VersionStatus(State.UNLOADING))
            idle = [loaded for loaded in retired if loaded.leases == 0]
        for loaded in idle:
            self._unload(loaded)

    def _unload(self, loaded: _Loaded) -> None:
        version = loaded.servable.version
        loaded.servable.close()
        with self._lock:
            self._draining.remove(loaded)
            if version not in self._loaded:  # it may have come back meanwhile
                self._set_status(version, VersionStatus(State.END))
        log.info("model %s: version %d unloaded", self.name, version)

    def _set_status(self, version: int, status: VersionStatus) -> None:
        with self._lock:
            self._statuses[version] = status
            ended = sorted(number for number, one in self._statuses.items() if one.state == State.END)
            for number in ended[: -MAX_ENDED_VERSIONS or None]:
                del self._statuses[number]

    def _complain(self, complaint: str) -> None:
        """Log a lasting trouble once, not at every look."""
        if complaint != self._complaint:
            self._complaint = complaint
            log.warning("model %s: %s", self.name, complaint)


def _existing_versions(name: str, base: Path) -> dict[int, Path]:
    try:
        folders = find_versions(base)
    except FileNotFoundError:
        raise ModelError(f"model {name}: there is no folder {base}") from None
    except OSError as error:
        raise ModelError(f"model {name}: {base} cannot be read: {error.strerror}") from None
    if not folders and is_saved_model(base):
        remedy = f"give the folder above it, {base.parent}" if base.name.isdigit() else f"move it to {base}/1"
        raise ModelError(f"model {name}: {base} is itself a SavedModel, where its version folders should be; {remedy}")
    if not folders:
        raise ModelError(
            f"model {name}: {base} has no version folder with a SavedModel, such as {base}/1/saved_model.pb"
        )
    return folders


def servable_not_found(name: str, version: int | None) -> Any:
    request = f"Latest({name})" if version is None else f"Specific({name}, {version})"
    return not_found(f"Servable not found for request: {request}")


class Models:
    """All models of the server, and how a request names one of their versions."""

    def __init__(self, models: Sequence[Model]) -> None:
        self._models = {model.name: model for model in models}

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models.values())

    def get(self, name: str) -> Model | None:
        return self._models.get(name)

    @contextmanager
    def lease(self, spec: Any) -> Iterator[Servable]:
        """The servable that a ModelSpec asks for, loaded until the block ends (`ServerCore::GetServableHandle`).

        Raises:
            StatusError: no name, an unknown label, or nothing loaded under that name and version.
        """
        if not spec.name:
            raise invalid_argument("ModelSpec has no name specified.")
        model = self._models.get(spec.name)
        version = self._version(spec, model)
        if model is None:
            raise servable_not_found(spec.name, version)
        with model.lease(version) as servable:
            yield servable

    @staticmethod
    def _version(spec: Any, model: Model | None) -> int | None:
        choice = spec.WhichOneof("version_choice")
        if choice == "version":
            return int(spec.version.value)
        if choice == "version_label":
            labels = model.labels if model is not None else {}
            if spec.version_label not in labels:
                raise invalid_argument(f"Unrecognized servable version label: {spec.version_label}")
            return labels[spec.version_label]
        return None
