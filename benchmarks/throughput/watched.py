"""What detection says of the load itself, from a proxy's metrics."""

import re
import urllib.request


def watched(admin: str, model: str) -> float | None:
    """Share of the answered rows that the detectors saw or are about to see; None if the model is not watched."""
    seen, lost = (total(admin, f"tensorwall_{kind}_rows", model) for kind in ("observed", "unobserved"))
    return None if seen is None else seen / max(1.0, seen + (lost or 0.0))


def acted(admin: str, model: str) -> int:
    """Calls that a verdict acted on."""
    return round(total(admin, "tensorwall_verdict_calls", model) or 0)


def total(admin: str, name: str, model: str) -> float | None:
    """A counter's value over all its other labels; None if there is none for the model."""
    with urllib.request.urlopen(f"http://{admin}/metrics", timeout=10) as page:
        text = page.read().decode()
    found = re.findall(rf'^{name}_total{{.*model="{model}".*}} (\S+)$', text, re.MULTILINE)
    return sum(map(float, found)) if found else None
