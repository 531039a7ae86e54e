"""What operators see and decide: callers, attacks, traffic, decisions, events and their outlets, and the admin port."""

import asyncio
import time
from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry

from proxy.activity import CallerTable, Traffic
from proxy.activity.attacks import Attacks
from proxy.admin.access import Access
from proxy.admin.acting import Acting
from proxy.admin.api import Handler
from proxy.admin.server import AdminServer, Shown, start_admin
from proxy.admin.tls import AdminCertificate
from proxy.admin.views import Views
from proxy.config.events import Events
from proxy.config.schema import Config
from proxy.detection import Detection
from proxy.detection.actions import Action as SharedAction
from proxy.events import Hub
from proxy.events.outlets import Outlets
from proxy.events.schema import AISVS_CHANGE, ConfigurationEvent, ProcessEvent, stamp
from proxy.metrics.operations import OperationMetrics
from proxy.pipeline import Call
from proxy.policy import Verdict
from proxy.readiness import Readiness
from proxy.version import VERSION

LOOK_SECONDS = 1.0
"""Between looks at which verdicts have come down the ladder."""


class Operations:
    """One process's. `over` has to be called before anything else.

    Args:
        registry: of its metrics.
        label: of a model's name in metrics.
        config: the configuration in force.
        readiness: of the proxy.
        certificate: of the admin port, if it has one.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        label: Callable[[str], str],
        config: Callable[[], Config],
        readiness: Callable[[], Readiness],
        certificate: AdminCertificate | None,
        clock: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._config = config
        self._readiness = readiness
        self._certificate = certificate
        self._hub = Hub()
        self._metrics = OperationMetrics(registry)
        self._attacks = Attacks(self._hub.publish)
        self._callers = CallerTable(label, time.time)
        self._traffic = Traffic(time.time)
        self._access = Access(lambda: config().admin, self._hub.publish, clock, time.time)

    def over(self, detection: Detection, observations: Handler) -> None:
        """Says what is decided about, and what answers live calibrations."""
        self._detection = detection
        self._observations = observations
        self._acting = Acting(self._callers, detection, self._attacks, self._hub, time.time)
        self._outlets = Outlets(detection.survey, self._metrics.delivered, time.time)
        self._hub.sinks += [self._outlets.put, lambda content: self._metrics.happened(content["event"], content["id"])]
        self._metrics.read(self)

    async def start(self, address: str) -> str:
        """Opens the admin port; returns its address with the port that was bound.

        Raises:
            OSError: the address cannot be bound.
        """
        context = None if self._certificate is None else self._certificate.context
        self._admin: AdminServer = await start_admin(address, self._shown(), context)
        self._process("proxy.started")
        return self._admin.address

    async def configure(self, events: Events) -> None:
        """Takes the outlets of events."""
        await self._outlets.configure(events)

    async def look(self) -> None:
        """Notices what time does to verdicts, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self._attacks.look(self._detection.policy.stands, time.time)

    def hush(self) -> None:
        """Ends the streams, which would go on for ever."""
        self._hub.close()

    async def close(self) -> None:
        """Ends the admin port, and the outlets once the last event has left."""
        await self._admin.close()
        self._process("proxy.stopped")
        await self._outlets.close()

    def ended(self, call: Call, code: str, seconds: float) -> None:
        """Notes an answered call."""
        self._traffic.note(code, call.rows, call.refused, seconds, seconds - call.upstream_seconds)
        if call.caller is not None:
            self._callers.note(call.caller, call.model, call.rows, call.refused)

    def reached(self, verdict: Verdict, now: float, own: bool) -> None:
        """Notes a verdict that is new or reached a step."""
        if verdict.subject.kind == "caller":
            self._callers.remember(verdict.subject.id)
        self._attacks.reached(verdict, now, own)

    def event_of(self, verdict: str) -> str:
        """Id of the latest event about the verdict of this id; empty if there was none."""
        attack = self._attacks.get(verdict)
        return "" if attack is None else attack.event

    def follow(self, action: SharedAction) -> None:
        """Takes a decision that another proxy shared."""
        self._acting.follow(action)

    def reloaded(self, problems: Sequence[str]) -> None:
        """Notes that a changed configuration was taken, or refused for problems, of which events name the places."""
        places = tuple(": ".join(problem.split(": ")[:2])[:300] for problem in problems[:20])
        self._hub.publish(
            ConfigurationEvent(
                event="configuration.refused" if problems else "configuration.reloaded",
                time=stamp(time.time()),
                problems=places,
                owasp_aisvs=(AISVS_CHANGE,),
            )
        )

    def decisions(self) -> dict[str, int]:
        """Operators' decisions that stand, by kind."""
        counts = dict.fromkeys(("block", "immunise"), 0)
        for each in self._detection.policy.manual.standing(time.time()):
            counts[each.kind] += 1
        return counts

    def open(self) -> dict[str, int]:
        """Sessions and streams of the admin port."""
        return {"sessions": len(self._access.sessions), "streams": self._hub.listeners}

    def waiting(self) -> dict[str, int]:
        """Events that wait, by outlet."""
        return self._outlets.waiting()

    def dropped(self) -> dict[str, int]:
        """What the admin port forgot to stay within its bounds."""
        return {
            "sessions": self._access.sessions.evicted,
            "addresses": self._access.failures.evicted,
            "streams": self._hub.lost,
            "callers": self._callers.evicted,
            "histories": self._detection.forgotten,
        }

    def _shown(self) -> Shown:
        views = Views(self._config, self._detection, self._callers, self._traffic, self._attacks, self._hub, time.time)
        return Shown(
            self._registry, self._readiness, self._config, self._access, views, self._acting, self._observations
        )

    def _process(self, event: str) -> None:
        self._hub.publish(ProcessEvent(event=event, time=stamp(time.time()), tensorwall=VERSION))
