"""Events: what happened that somebody may have to answer for. docs/events.md describes them and where they go."""

from proxy.events.hub import Hub, Listener
from proxy.events.schema import Event

__all__ = ["Event", "Hub", "Listener"]
