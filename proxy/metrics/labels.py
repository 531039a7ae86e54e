"""Label values with bounded sets, whatever callers send."""

from collections.abc import Iterable
from hashlib import blake2b

from proxy.logs import escaped

OTHER = "other"
MAX_LEARNED_MODELS = 200
MAX_LABEL_CHARS = 128
_TAG_BYTES = 6


class ModelLabels:
    """From a request's model name to a label value: configured, or learned from the upstream, or `other`."""

    def __init__(self, configured: Iterable[str] = ()) -> None:
        self.dropped = 0
        self._learned: dict[str, str] = {}
        self.configure(configured)

    def configure(self, names: Iterable[str]) -> None:
        """Takes the names of a new configuration; what was learned stays."""
        self._configured = {name: label_value(name) for name in names}

    def learn(self, name: str) -> None:
        """Remembers a model that the upstream has answered for, as long as there is room."""
        if name not in self._learned and name not in self._configured and len(self._learned) < MAX_LEARNED_MODELS:
            self._learned[name] = label_value(name)

    def label(self, name: str) -> str:
        """The label for a name as a caller sent it."""
        found = self._configured.get(name) or self._learned.get(name)
        if found is None:
            self.dropped += 1
            return OTHER
        return found


def label_value(name: str) -> str:
    """A name as a label value: printable, bounded, never mistaken for `other`.

    A name that is too long ends with a hash of all of it: long names that begin alike stay different series.
    """
    shown = escaped(name)
    if len(shown) > MAX_LABEL_CHARS:
        tag = "…" + blake2b(shown.encode(), digest_size=_TAG_BYTES).hexdigest()
        shown = shown[: MAX_LABEL_CHARS - len(tag)] + tag
    return f"model:{shown}" if shown == OTHER else shown
