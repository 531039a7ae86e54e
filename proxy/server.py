"""A running proxy: the gRPC server and the admin port, from start through reloads to the drained end."""

import asyncio
import contextlib
import logging
import os
import secrets
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b

import grpc
import grpc.aio
import numpy as np
from prometheus_client import CollectorRegistry

from proxy.admin.tls import AdminCertificate
from proxy.capture.recorder import Recorder
from proxy.config import redact
from proxy.config.detection import Detection as DetectionSettings
from proxy.config.load import ConfigError
from proxy.config.schema import GRPC_MAX_BYTES, Config, ServerTls
from proxy.credentials import server_credentials
from proxy.detection import Detection
from proxy.expiry import first_end
from proxy.generation import Lasting, bring_up, tls_fingerprint
from proxy.health import Health, enable_reflection
from proxy.logs import event
from proxy.memory import keep_trimmed
from proxy.metrics import LimitMetrics, Metrics, ProtectionMetrics
from proxy.metrics.detection import DetectionMetrics
from proxy.operations import Operations
from proxy.readiness import NOT_ASKED, Readiness
from proxy.service import Service
from proxy.state import LogStore, Store, open_log, open_store
from proxy.upstream import COMPRESSION

log = logging.getLogger("tensorwall.server")

NEEDS_RESTART = ("listen", "admin.tls", "bounds.message_bytes", "bounds.metadata_bytes")
"""What is fixed while the server listens; a reload that changes it takes the rest and says so."""


REFUSAL_SECONDS = 0.25
"""Between settling and the end of all connections, and from then until calls are refused; begun ones go on."""


SECRET_BYTES = 32


class StartError(Exception):
    """The proxy cannot start; `str()` is what the operator reads."""


class Proxy:
    """One process's proxy.

    Args:
        config: the configuration to begin with.
        clock: monotonic seconds.

    Raises:
        ConfigError: a key or certificate file cannot be used.
    """

    def __init__(self, config: Config, clock: Callable[[], float] = time.monotonic) -> None:
        self._registry = CollectorRegistry()
        self.metrics = Metrics(self._registry, config.models)
        self._store: Store | None = None
        self._log: LogStore | None = None
        self._limit_metrics = LimitMetrics(
            self._registry, self.metrics.models.label, lambda: None if self._store is None else self._store.stats()
        )
        self._protection_metrics = ProtectionMetrics(self._registry)
        self._executor = ThreadPoolExecutor(os.cpu_count(), "tensorwall-defense")
        self._own_secret = secrets.token_bytes(SECRET_BYTES)
        self._certificate = None if config.admin.tls is None else AdminCertificate(config.admin.tls)
        self._operations = Operations(
            self._registry,
            self.metrics.models.label,
            lambda: self.config,
            lambda: self.readiness,
            self._certificate,
            clock,
        )
        self._detection_metrics = DetectionMetrics(self._registry, self._operations.event_of)
        self._detection = Detection(
            self._secret(config),
            self._detection_metrics,
            self._executor,
            told=self._operations.reached,
            on_action=lambda action, _: self._operations.follow(action),
        )
        self._detection.configure(_detected(config))
        self._recorder = Recorder(self._detection, self._registry)
        self._operations.over(self._detection, self._recorder.live.observations)
        self._lasting = Lasting(
            self.metrics,
            self._limit_metrics,
            self._protection_metrics,
            self._detection,
            self._recorder,
            self._current_store,
            self._executor,
            np.random.default_rng(secrets.randbits(256)),
            clock,
            self._readiness_changed,
        )
        self._background: set[asyncio.Task[None]] = set()
        self._draining = False
        self._service = Service(lambda: self._now.pipeline, self.metrics, clock, self._operations.ended)
        self._server = grpc.aio.server(
            options=_server_options(config), compression=COMPRESSION[config.listen.compression]
        )
        self._health = Health(self._server)
        enable_reflection(self._server)
        self._server.add_generic_rpc_handlers((self._service,))
        self._now = bring_up(config, self._secret(config), self._lasting, NOT_ASKED)
        self._listen_tls, self._admin_tls = config.listen.tls, config.admin.tls  # fixed while the server listens
        self._note_certificates()
        self.metrics.configure(config.models, redact.fingerprint(config))
        self._watching: list[asyncio.Task[None]] = []

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
        loop = asyncio.get_running_loop()
        self.metrics.tasks.set_function(lambda: len(asyncio.all_tasks(loop)))
        grpc_address = self._bind()
        self._store = await self._open_store(self.config)
        self._share(self.config)
        await self._detection.start()
        self._watch()
        await self._operations.configure(self.config.events)
        self._spawn(self._detection.run())
        self._spawn(self._operations.look())
        self._spawn(keep_trimmed())
        self._recorder.configure(self.config.capture)
        await self._server.start()
        try:
            admin_address = await self._operations.start(listen.admin)
        except OSError as error:
            await self._server.stop(None)
            raise StartError(f"listen.admin: cannot listen on {listen.admin}: {error.strerror or error}") from None
        return grpc_address, admin_address

    async def reload(self, config: Config) -> None:
        """Takes a new configuration. Calls in flight end on the old one; what needs a restart is named in the log.

        Raises:
            ConfigError: a key or certificate file cannot be used; nothing has changed.
        """
        new = bring_up(config, self._secret(config), self._lasting, self._now.watch.readiness)
        if config.store != self._now.config.store:
            old_store, self._store = self._store, await self._open_store(config)
            old_log = self._share(config)
            self._spawn(_close_later((old_store, old_log), self.config.upstream.default_deadline))
        self._detection.configure(_detected(config), self._secret(config))
        self._recorder.configure(config.capture)
        old, self._now = self._now, new
        self._watch()
        self.metrics.configure(config.models, redact.fingerprint(config))
        self.metrics.forget_targets()
        await self._operations.configure(config.events)
        self._note_certificates()
        self._spawn(old.retire())
        for key in NEEDS_RESTART:
            if _at(old.config, key) != _at(config, key):
                event(log, logging.WARNING, "restart needed", key=key)

    def reloaded(self, problems: Sequence[str] = ()) -> None:
        """Notes that a changed configuration was taken, or refused for problems, of which events name the places."""
        self.metrics.reloaded(not problems)
        self._operations.reloaded(problems)

    async def refresh(self) -> None:
        """Reads the files again that the configuration names, if they have changed."""
        now = self._now
        with self._reading("keys"):
            if now.keys is not None and now.keys.reload_if_changed():
                self.metrics.file_usable("keys", True)
                event(log, logging.INFO, "keys reloaded", file=str(now.keys.path))
        with self._reading("admin_tls"):
            if self._certificate is not None and self._certificate.reload_if_changed():
                self.metrics.file_usable("admin_tls", True)
                self._note_certificates()
                event(log, logging.INFO, "certificate of the admin port reloaded")
        with self._reading("upstream_tls"):
            if tls_fingerprint(now.config) != now.tls_fingerprint:
                now.tls_fingerprint = tls_fingerprint(now.config)
                await self.reload(now.config)
                self.metrics.file_usable("upstream_tls", True)
                event(log, logging.INFO, "upstream certificates reloaded")

    @contextlib.contextmanager
    def _reading(self, kind: str) -> Iterator[None]:
        """A changed file that cannot be used is said once a change, and in the metrics until it can."""
        try:
            yield
        except ConfigError as error:
            self.metrics.file_usable(kind, False)
            event(log, logging.ERROR, "changed file refused, the old content stays", problem=str(error))

    async def stop(self) -> None:
        """Not serving at once, a settling wait in which calls are still answered, then a drain within its bound."""
        shutdown = self.config.shutdown
        self._draining = True
        await self._health.shut_down()
        event(log, logging.INFO, "settling", seconds=shutdown.settle)
        await asyncio.sleep(shutdown.settle)
        # gRPC's core answers CANCELLED to streams that meet its GOAWAY, and nobody tries that again. So calls that come
        # now are kept until callers have heard of it: who waits for an answer sends nothing. Then they are UNAVAILABLE.
        self._service.ending = asyncio.Event()
        await asyncio.sleep(REFUSAL_SECONDS)
        event(log, logging.INFO, "draining", seconds=shutdown.drain, calls=self._service.in_flight)
        draining = asyncio.get_running_loop().create_task(self._server.stop(shutdown.drain))
        await asyncio.sleep(REFUSAL_SECONDS)
        self._service.ending.set()
        await draining
        for task in self._background:
            task.cancel()
        await self._now.upstream.close()
        for store in (self._store, self._log):
            if store is not None:
                await store.close()
        self._operations.hush()
        self._detection.close()
        await self._recorder.close()
        self._executor.shutdown(wait=False, cancel_futures=True)
        await self._operations.close()

    def _secret(self, config: Config) -> bytes:
        if config.secret is None:
            return self._own_secret
        return blake2b(config.secret.encode(), digest_size=SECRET_BYTES, person=b"tensorwall").digest()

    def _current_store(self) -> Store:
        assert self._store is not None, "calls come after the start"
        return self._store

    async def _open_store(self, config: Config) -> Store:
        return await open_store(config.store, self._limit_metrics.store_took, self._limit_metrics.store_up)

    def _share(self, config: Config) -> LogStore | None:
        """Shares observations as configured; returns the log that was shared until now."""
        old = self._log
        self._log = open_log(config.store, self._detection.shared, self._detection_metrics.log_took)
        self._detection.share(self._log)
        return old

    def _watch(self) -> None:
        """Readiness and signatures of the configuration in force."""
        for task in self._watching:
            task.cancel()
        self._protection_metrics.forget_problems()
        self._watching = [self._spawn(self._now.watch.run()), self._spawn(self._now.signatures.run())]

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
                port = self._server.add_secure_port(listen.grpc, self._server_credentials(listen.tls))
        except RuntimeError:
            raise StartError(f"listen.grpc: cannot listen on {listen.grpc}; is the address in use?") from None
        return listen.grpc if listen.grpc.startswith("unix:") else f"{listen.grpc.rpartition(':')[0]}:{port}"

    def _server_credentials(self, tls: ServerTls) -> grpc.ServerCredentials:
        def told(usable: bool) -> None:
            self.metrics.file_usable("listen_tls", usable)
            if usable:
                self._note_certificates()

        return server_credentials(tls, told)

    def _note_certificates(self) -> None:
        """When they run out. What the files say is what is in force, or else `file_usable` says so."""
        files = {
            "listen_tls": None if self._listen_tls is None else self._listen_tls.cert,
            "upstream_tls": None if self.config.upstream.tls is None else self.config.upstream.tls.cert,
            "admin_tls": None if self._admin_tls is None else self._admin_tls.cert,
        }
        ends = {kind: first_end(path) for kind, path in files.items() if path is not None}
        self.metrics.certificates({kind: end for kind, end in ends.items() if end is not None})

    def _spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task


async def _close_later(stores: Iterable[Store | LogStore | None], patience: float) -> None:
    """Closes replaced stores once the calls that they decided about must have ended."""
    await asyncio.sleep(patience)
    for store in stores:
        if store is not None:
            await store.close()


def _detected(config: Config) -> dict[str, DetectionSettings]:
    return {name: model.detection for name, model in config.models.items() if model.detection is not None}


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
        ("grpc.keepalive_time_ms", round(config.listen.keepalive.interval * 1000)),
        ("grpc.keepalive_timeout_ms", round(config.listen.keepalive.timeout * 1000)),
        ("grpc.http2.ping_timeout_ms", round(config.listen.keepalive.timeout * 1000)),
        ("grpc.http2.max_pings_without_data", 0),  # a caller that reads nothing is found out while nothing is sent
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),  # callers' keepalives are welcome
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.so_reuseport", 0),  # a port that is taken is an error, not a shared port
    ]
