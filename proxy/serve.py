"""`tensorwall serve`: start, signals, changed files, end."""

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
from pathlib import Path

from proxy import logs
from proxy.config import Config, ConfigError, load
from proxy.logs import event
from proxy.server import Proxy, StartError
from proxy.version import VERSION

log = logging.getLogger("tensorwall.serve")

POLL_SECONDS = 1.0
"""How often files are looked at; a stat a file, so that mounted ConfigMaps work as well as local files."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the configuration, one YAML file")


def run(arguments: argparse.Namespace) -> int:
    """Serves until SIGTERM or SIGINT; 0 after a clean end, 1 if it cannot start, 2 for a wrong configuration."""
    try:
        config = load(arguments.config)
        logs.configure(config.log, sys.stderr)
        return asyncio.run(_serve(arguments.config, config))
    except ConfigError as error:
        print(error, file=sys.stderr)  # noqa: T201  # no log is set up yet
        return 2
    except StartError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1


async def _serve(path: Path, config: Config) -> int:
    stop, reload = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    loop.add_signal_handler(signal.SIGHUP, reload.set)
    proxy = Proxy(config)
    grpc_address, admin_address = await proxy.start()
    event(log, logging.INFO, "listening", version=VERSION, grpc=grpc_address, admin=admin_address)
    watching = asyncio.create_task(_watch(path, proxy, reload))
    await stop.wait()
    watching.cancel()
    stop.clear()
    ending = asyncio.create_task(proxy.stop())
    hurry = asyncio.create_task(stop.wait())  # a second signal
    await asyncio.wait({ending, hurry}, return_when=asyncio.FIRST_COMPLETED)
    event(log, logging.INFO, "stopped")
    return 0


async def _watch(path: Path, proxy: Proxy, reload: asyncio.Event) -> None:
    """Takes the configuration anew on SIGHUP and whenever its file has changed."""
    seen = _state(path)
    while True:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(reload.wait(), POLL_SECONDS)
        state = _state(path)
        try:
            if reload.is_set() or state != seen:
                seen = state
                reload.clear()
                await _reload(path, proxy)
            else:
                await proxy.refresh()
        except Exception:
            event(log, logging.ERROR, "watching files failed", exc_info=True)


async def _reload(path: Path, proxy: Proxy) -> None:
    try:
        config = load(path)
        await proxy.reload(config)
    except ConfigError as error:
        proxy.reloaded(str(error).splitlines())
        event(log, logging.ERROR, "configuration refused, the old one stays", problems=str(error).splitlines())
        return
    logs.configure(config.log, sys.stderr)
    proxy.reloaded()
    event(log, logging.INFO, "configuration reloaded")


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
