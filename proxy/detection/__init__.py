"""Detection beside the request path: observations of calls, a bounded queue, the detectors' process, their findings."""

from proxy.detection.glance import Glance
from proxy.detection.watch import Detection
from proxy.detection.watched import Watched

__all__ = ["Detection", "Glance", "Watched"]
