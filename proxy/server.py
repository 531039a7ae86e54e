"""A running proxy: the gRPC server and the admin port, from start through reloads to the drained end."""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

import grpc
import grpc.aio
from prometheus_client import CollectorRegistry

from proxy.admin.server import AdminServer, start_admin
from proxy.config.load import ConfigError
from proxy.config.schema import GRPC_MAX_BYTES, Config
from proxy.credentials import server_credentials, upstream_credentials, upstream_fingerprint
from proxy.fingerprint import Fingerprint
from proxy.health import Health, enable_reflection
from proxy.identity import Identifier
from proxy.keys import KeyFile
from proxy.logs import event
from proxy.metrics import Metrics
from proxy.pipeline import Pipeline
from proxy.readiness import NOT_ASKED, Readiness, ReadinessWatch
from proxy.service import Service
from proxy.upstream import COMPRESSION, UpstreamPool

log = logging.getLogger("tensorwall.server")

NEEDS_RESTART = ("listen", "bounds.message_bytes", "bounds.metadata_bytes")
"""What is fixed while the server listens; a reload that changes it takes the rest and says so."""


REFUSAL_SECONDS = 0.25
"""Between settling and the end of all connections: new calls are told to go elsewhere, begun ones go on."""


class StartError(Exception):
    """The proxy cannot start; `str()` is what the operator reads."""


@dataclass(slots=True)
class _Generation:
    """What one configuration brought up."""

    config: Config
    keys: KeyFile | None
    upstream: UpstreamPool
    tls_fingerprint: Fingerprint
    pipeline: Pipeline
    watch: ReadinessWatch


class Proxy:
    """One process's proxy.

    Args:
        config: the configuration to begin with.
        clock: monotonic seconds.

    Raises:
        ConfigError: a key or certificate file cannot be used.
    """

    def __init__(self, config: Config, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._registry = CollectorRegistry()
        self.metrics = Metrics(self._registry, config.models)
        self._background: set[asyncio.Task[None]] = set()
        self._draining = False
        self._service = Service(lambda: self._now.pipeline, self.metrics, clock)
        self._server = grpc.aio.server(
            options=_server_options(config), compression=COMPRESSION[config.listen.compression]
        )
        self._health = Health(self._server)
        enable_reflection(self._server)
        self._server.add_generic_rpc_handlers((self._service,))
        self._now = self._generation(config, NOT_ASKED)
        self._watching = self._spawn(self._now.watch.run())

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._now.config

    @property
    def readiness(self) -> Readiness:
        return Readiness(False, ("shutting down",)) if self._draining else self._now.watch.readiness

    async def start(self) -> tuple[str, str]:
        """Listens; returns the gRPC and the admin address, with the ports that were bound.

        Raises:
            StartError: an address cannot be bound.
            ConfigError: a certificate cannot be used.
        """
        listen = self.config.listen
        grpc_address = self._bind()
        await self._server.start()
        try:
            self._admin: AdminServer = await start_admin(
                listen.admin,
                registry=self._registry,
                readiness=lambda: self.readiness,
                config=lambda: self.config,
            )
        except OSError as error:
            await self._server.stop(None)
            raise StartError(f"listen.admin: cannot listen on {listen.admin}: {error.strerror or error}") from None
        return grpc_address, self._admin.address

    async def reload(self, config: Config) -> None:
        """Takes a new configuration. Calls in flight end on the old one; what needs a restart is named in the log.

        Raises:
            ConfigError: a key or certificate file cannot be used; nothing has changed.
        """
        old, self._now = self._now, self._generation(config, self._now.watch.readiness)
        self._watching.cancel()
        self._watching = self._spawn(self._now.watch.run())
        self.metrics.models.configure(config.models)
        self.metrics.forget_targets()
        self._spawn(_retire(old.upstream, old.config.upstream.default_deadline))
        for key in NEEDS_RESTART:
            if _at(old.config, key) != _at(config, key):
                event(log, logging.WARNING, "restart needed", key=key)

    async def refresh(self) -> None:
        """Reads the files again that the configuration names, if they have changed."""
        now = self._now
        try:
            if now.keys is not None and now.keys.reload_if_changed():
                event(log, logging.INFO, "keys reloaded", file=str(now.keys.path))
            if _tls_fingerprint(now.config) != now.tls_fingerprint:
                now.tls_fingerprint = _tls_fingerprint(now.config)
                await self.reload(now.config)
                event(log, logging.INFO, "upstream certificates reloaded")
        except ConfigError as error:
            event(log, logging.ERROR, "changed file refused, the old content stays", problem=str(error))

    async def stop(self) -> None:
        """Not serving at once, a settling wait in which calls are still answered, then a drain within its bound."""
        shutdown = self.config.shutdown
        self._draining = True
        await self._health.shut_down()
        event(log, logging.INFO, "settling", seconds=shutdown.settle)
        await asyncio.sleep(shutdown.settle)
        # gRPC's core answers CANCELLED to streams that meet its GOAWAY; a refusal before it says UNAVAILABLE.
        self._service.refusing = True
        await asyncio.sleep(REFUSAL_SECONDS)
        event(log, logging.INFO, "draining", seconds=shutdown.drain, calls=self._service.in_flight)
        await self._server.stop(shutdown.drain)
        for task in self._background:
            task.cancel()
        await self._now.upstream.close()
        await self._admin.close()

    def _generation(self, config: Config, readiness: Readiness) -> _Generation:
        keys = None if config.identity.api_keys is None else KeyFile(config.identity.api_keys.file)
        tls = config.upstream.tls
        fingerprint = _tls_fingerprint(config)
        upstream = UpstreamPool(
            config.upstream,
            config.bounds.message_bytes,
            None if tls is None else upstream_credentials(tls),
            clock=self._clock,
            rng=random.Random(),  # noqa: S311  # jitter, not secrets
            retried=self.metrics.retried,
        )
        identifier = Identifier(config.identity, keys)
        pipeline = Pipeline(config, identifier, upstream, self.metrics, self._clock)
        watch = ReadinessWatch(upstream, config.models, self._readiness_changed, self.metrics.target_up, readiness)
        return _Generation(config, keys, upstream, fingerprint, pipeline, watch)

    def _readiness_changed(self, readiness: Readiness) -> None:
        event(log, logging.INFO, "ready" if readiness.ready else "not ready", reasons=list(readiness.reasons))
        self.metrics.ready(readiness.ready)
        self._spawn(self._health.set(readiness.ready))

    def _bind(self) -> str:
        listen = self.config.listen
        try:
            if listen.tls is None:
                port = self._server.add_insecure_port(listen.grpc)
            else:
                port = self._server.add_secure_port(listen.grpc, server_credentials(listen.tls))
        except RuntimeError:
            raise StartError(f"listen.grpc: cannot listen on {listen.grpc}; is the address in use?") from None
        return listen.grpc if listen.grpc.startswith("unix:") else f"{listen.grpc.rpartition(':')[0]}:{port}"

    def _spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task


async def _retire(upstream: UpstreamPool, patience: float) -> None:
    """Closes a replaced pool once its last call has ended, or its deadline must have passed."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(upstream.idle(), patience)
    await upstream.close()


def _tls_fingerprint(config: Config) -> Fingerprint:
    return () if config.upstream.tls is None else upstream_fingerprint(config.upstream.tls)


def _at(config: Config, key: str) -> object:
    value: object = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


def _server_options(config: Config) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", config.bounds.message_bytes),
        ("grpc.max_send_message_length", GRPC_MAX_BYTES),  # replies were bounded as they came from the upstream
        ("grpc.max_metadata_size", config.bounds.metadata_bytes),
        ("grpc.absolute_max_metadata_size", config.bounds.metadata_bytes),
        ("grpc.max_concurrent_streams", config.bounds.calls_in_flight),  # on one connection
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),  # callers' keepalives are welcome
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.so_reuseport", 0),  # a port that is taken is an error, not a shared port
    ]
