"""An operator's own detector, named by import path: `{path: package.module:Class, settings: {...}}`."""

import importlib
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from detectors.detector import Detector

_NEEDS = ("name", "see", "stats")


class ImportedDetector(BaseModel):
    """A class from a package that is installed beside the proxy; `detectors.detector.Detector` says what it must have.

    It is loaded when the configuration is read, so that a wrong path or setting is told there and then. A new instance
    is made for every model that names it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$", description="package.module:Class")
    settings: dict[str, Any] = Field(default_factory=dict, description="its keyword arguments")
    _class: Any = PrivateAttr(default=None)

    def model_post_init(self, context: Any) -> None:
        del context
        self._class = _load(self.path)
        self.made()

    def made(self) -> Detector:
        """A new instance.

        Raises:
            ValueError: the class does not take the settings, or makes no detector.
        """
        try:
            detector: Detector = self._class(**self.settings)
        except Exception as error:  # whatever a foreign class does
            raise ValueError(f"{self.path!r} does not take these settings: {error}") from None
        missing = [name for name in _NEEDS if not hasattr(detector, name)]
        if missing:
            raise ValueError(f"{self.path!r} is no detector: its instances lack {', '.join(missing)}")
        return detector


def _load(path: str) -> Callable[..., Any]:
    module_name, _, class_name = path.partition(":")
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module_name), class_name)
    except ImportError as error:
        raise ValueError(f"{path!r} cannot be imported ({error}); install its package beside the proxy") from None
    except AttributeError:
        raise ValueError(f"{module_name!r} has no {class_name!r}; write package.module:Class") from None
    except Exception as error:  # whatever a foreign module does when it is imported
        raise ValueError(f"{path!r} cannot be imported ({type(error).__name__}: {error}); repair it") from None
    return found
