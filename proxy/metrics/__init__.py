"""What the proxy counts. Every label has a bounded set of values; docs/metrics.md is the catalogue."""

from proxy.metrics.calls import Metrics
from proxy.metrics.catalogue import CATALOGUE, PUSHED, REFUSAL_REASONS, documented
from proxy.metrics.labels import MAX_LEARNED_MODELS, OTHER, ModelLabels
from proxy.metrics.limits import LimitMetrics
from proxy.metrics.protection import ProtectionMetrics

__all__ = [
    "CATALOGUE",
    "MAX_LEARNED_MODELS",
    "OTHER",
    "PUSHED",
    "REFUSAL_REASONS",
    "LimitMetrics",
    "Metrics",
    "ModelLabels",
    "ProtectionMetrics",
    "documented",
]
