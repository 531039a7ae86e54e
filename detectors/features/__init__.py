"""From a request's inputs to `Features`, and from a model's scores to `Answers`: linear in the size of the input."""

from detectors.features.answers import summarise, unknown
from detectors.features.extractor import Extractor
from detectors.features.scaling import Scaling

__all__ = ["Extractor", "Scaling", "summarise", "unknown"]
