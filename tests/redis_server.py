"""A real Redis of a test's own: on a free port and a unix socket, in a folder that goes with it.

with redis_server(tmp_path) as server:
    store = RedisStore(RedisStoreSettings(kind="redis", url=server.url))
"""

import contextlib
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import redis

from tests.processes import free_port
from tests.programs import program

START_SECONDS = 20.0


@dataclass
class RedisServer:
    """One server process; it can be killed and started again on the same port.

    Attributes:
        folder: its working directory.
        port: of the loopback interface, plain text.
        arguments: further ones of its command line.
        password: that clients need, if any.
    """

    folder: Path
    port: int
    arguments: tuple[str, ...] = ()
    password: str = ""
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """For clients over TCP."""
        return f"redis://{f':{self.password}@' if self.password else ''}127.0.0.1:{self.port}/0"

    @property
    def socket_url(self) -> str:
        """For clients over the unix socket."""
        return f"unix://{self.folder / 'redis.sock'}"

    def start(self) -> None:
        """Starts it and waits until it answers."""
        command = [
            program("redis-server", "redis-server", "valkey-server"),
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--dir",
            str(self.folder),
        ]
        command += ["--unixsocket", str(self.folder / "redis.sock"), "--save", "", "--daemonize", "no"]
        command += ["--requirepass", self.password] if self.password else []
        with (self.folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen([*command, *self.arguments], stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self._process.poll() is None, f"redis-server ended:\n{self.log()}"
            assert time.monotonic() < deadline, f"redis-server does not answer:\n{self.log()}"
            time.sleep(0.01)

    def kill(self) -> None:
        """Ends it as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """It accepts connections and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def client(self) -> "redis.Redis":
        """A client, to look inside or to upset things."""
        return redis.Redis.from_url(self.url, decode_responses=True)

    def log(self) -> str:
        """What it has printed."""
        return (self.folder / "redis.log").read_text(errors="replace")

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False


@contextlib.contextmanager
def redis_server(folder: Path, *arguments: str, password: str = "") -> Iterator[RedisServer]:
    """A running server, ended with the block."""
    server = RedisServer(folder, free_port(), arguments, password)
    server.start()
    try:
        yield server
    finally:
        server.kill()
