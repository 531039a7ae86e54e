"""An operator's own detector, named by import path: `{path: package.module:Class, settings: {...}}`."""

from typing import Any

from pydantic import Field

from defenses.imported import made
from detectors.detector import Detector
from proxy.config.section import Section

_NEEDS = ("name", "see", "stats")


class ImportedDetector(Section):
    """A class from a package that is installed beside the proxy; `detectors.detector.Detector` says what it must have.

    It is loaded when the configuration is read, so that a wrong path or setting is told there and then. A new instance
    is made for every model that names it.
    """

    path: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$", description="package.module:Class")
    settings: dict[str, Any] = Field(default_factory=dict, description="its keyword arguments")

    def model_post_init(self, context: Any) -> None:
        del context
        self.made()

    def made(self) -> Detector:
        """A new instance.

        Raises:
            ValueError: there is no such class, it does not take the settings, or it makes no detector.
        """
        detector: Detector = made(self.path, self.settings)
        missing = [name for name in _NEEDS if not hasattr(detector, name)]
        if missing:
            raise ValueError(f"{self.path!r} is no detector: its instances lack {', '.join(missing)}")
        return detector
