"""What one configuration brings up: keys, upstreams, the path of a call, and who watches readiness and signatures."""

import contextlib
import logging
import random
from asyncio import wait_for
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from proxy.capture.recorder import Recorder
from proxy.config.schema import Config
from proxy.credentials import upstream_credentials, upstream_fingerprint
from proxy.detection import Detection
from proxy.fingerprint import Fingerprint
from proxy.identity import Identifier
from proxy.keys import KeyFile
from proxy.limiter import Limiter
from proxy.logs import event
from proxy.metrics import LimitMetrics, Metrics, ProtectionMetrics
from proxy.pipeline import Pipeline
from proxy.protection import GuardTable, Protection, protected_models
from proxy.protection.audit import problems
from proxy.readiness import Readiness, ReadinessWatch
from proxy.signatures import Signatures, SignatureTable
from proxy.state import Store
from proxy.upstream import UpstreamPool

log = logging.getLogger("tensorwall.server")


@dataclass(frozen=True, slots=True)
class Lasting:
    """What outlives a configuration, and is used under each.

    Attributes:
        metrics, limit_metrics, protection_metrics: told of calls.
        detection: observes them.
        recorder: captures them.
        store: decides limits; the one in force when it is asked for.
        executor: defenses run there.
        rng: draws what defenses add.
        clock: monotonic seconds.
        ready: told of each change of readiness.
    """

    metrics: Metrics
    limit_metrics: LimitMetrics
    protection_metrics: ProtectionMetrics
    detection: Detection
    recorder: Recorder
    store: Callable[[], Store]
    executor: ThreadPoolExecutor
    rng: np.random.Generator
    clock: Callable[[], float]
    ready: Callable[[Readiness], None]


@dataclass(slots=True)
class Generation:
    """What is in force at one time.

    Attributes:
        config: the configuration.
        keys: callers' API keys, if there are any.
        tls_fingerprint: of the files that the connections to the upstream were made with.
    """

    config: Config
    keys: KeyFile | None
    upstream: UpstreamPool
    tls_fingerprint: Fingerprint
    pipeline: Pipeline
    watch: ReadinessWatch
    signatures: SignatureTable

    async def retire(self) -> None:
        """Closes the connections once the last call has ended, or its deadline must have passed."""
        with contextlib.suppress(TimeoutError):
            await wait_for(self.upstream.idle(), self.config.upstream.default_deadline)
        await self.upstream.close()


def bring_up(config: Config, secret: bytes, lasting: Lasting, readiness: Readiness) -> Generation:
    """Makes all that a configuration asks for; nothing runs yet.

    Args:
        config: the configuration.
        secret: of its noise and its fingerprints.
        lasting: what outlives it.
        readiness: that holds until the upstream was asked.

    Raises:
        ConfigError: a key or certificate file cannot be used.
    """
    keys = None if config.identity.api_keys is None else KeyFile(config.identity.api_keys.file)
    fingerprint = tls_fingerprint(config)
    tls = config.upstream.tls
    upstream = UpstreamPool(
        config.upstream,
        config.bounds.message_bytes,
        None if tls is None else upstream_credentials(tls),
        clock=lasting.clock,
        rng=random.Random(),  # noqa: S311  # jitter, not secrets
        retried=lasting.metrics.retried,
    )
    signatures = SignatureTable(
        protected_models(config.models),
        lambda path, body, seconds: upstream.unary(path, body, (), lasting.clock() + seconds),
        partial(_audit, config, lasting.protection_metrics),
    )
    protection = Protection(
        signatures,
        secret,
        lasting.rng,
        lasting.executor,
        lasting.protection_metrics,
        config.bounds.message_bytes,
        lasting.clock,
    )
    pipeline = Pipeline(
        config,
        Identifier(config.identity, keys),
        Limiter(config.limits, lasting.store, lasting.limit_metrics),
        GuardTable(config, upstream, lasting.protection_metrics),
        protection,
        lasting.detection,
        lasting.recorder,
        upstream,
        lasting.metrics,
        lasting.clock,
    )
    watch = ReadinessWatch(upstream, config.models, lasting.ready, lasting.metrics.target_up, readiness)
    return Generation(config, keys, upstream, fingerprint, pipeline, watch, signatures)


def tls_fingerprint(config: Config) -> Fingerprint:
    """Of the files of the connections to the upstream; changes when one of them does."""
    return () if config.upstream.tls is None else upstream_fingerprint(config.upstream.tls)


def _audit(config: Config, metrics: ProtectionMetrics, model: str, found: Signatures) -> None:
    """Says what in a model's rules contradicts its signatures or leaves a way around them."""
    said = problems(config.models[model], found)
    metrics.problems(model, len(said))
    for problem in said:
        event(log, logging.WARNING, "protection does not fit the model", model=model, problem=problem)
