"""The Dockerfile, checked without an engine: its files are there, its commands work, and so does what they build."""

import fnmatch
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from proxy.config.schema import Listen

ROOT = Path(__file__).parents[1]
INSTALLED = "/opt/tensorwall"
MAX_SITE_PACKAGES = 150 * 10**6
"""Bytes that `pip install .` may take."""
UNPRIVILEGED = 65532


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions with their arguments, comments and continuations resolved."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    return [
        (word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)
    ]


def one(name: str) -> str:
    """The last argument of an instruction, which is the one in force."""
    return [rest for word, rest in instructions() if word == name][-1]


def stages() -> list[list[tuple[str, str]]]:
    """The instructions of each stage, FROM first."""
    found: list[list[tuple[str, str]]] = []
    for word, rest in instructions():
        found += [[]] if word == "FROM" else []
        found[-1].append((word, rest))
    return found


def command() -> list[str]:
    """What the container runs by default."""
    return [*json.loads(one("ENTRYPOINT")), *json.loads(one("CMD"))]


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps a path out: the last pattern wins that matches the path or a folder above it."""
    result = False
    above = [path, *(str(parent) for parent in Path(path).parents if str(parent) != ".")]
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        keep, pattern = pattern.startswith("!"), pattern.removeprefix("!").rstrip("/")
        anywhere = pattern.removeprefix("**/")
        names = [Path(one_above).name for one_above in above] if anywhere != pattern else above
        if any(fnmatch.fnmatchcase(name, anywhere) and ("/" not in name or "/" in anywhere) for name in names):
            result = not keep
    return result


@cache
def context() -> list[str]:
    """The files that reach the build: those of the checkout, new ones included, that are not docker-ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file() and not ignored(name)]


def copied() -> list[str]:
    """The sources of every COPY from the checkout."""
    arguments = [shlex.split(rest) for word, rest in instructions() if word == "COPY" and not rest.startswith("--from")]
    return [source for words in arguments for source in words[:-1]]


def test_every_copied_path_is_there_and_reaches_the_build() -> None:
    assert copied()
    for source in copied():
        assert any(name == source or name.startswith(f"{source}/") for name in context()), source


def test_nothing_reaches_the_build_that_is_not_copied() -> None:
    extra = [name for name in context() if not any(name == s or name.startswith(f"{s}/") for s in copied())]
    assert extra == []
    assert not any("__pycache__" in name or name.startswith((".git", "tests")) for name in context())


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (".env", True),
        ("tests/test_dockerfile.py", True),
        ("secrets/key.pem", True),
        ("proxy/__main__.py", False),
        ("proxy/config/schema.py", False),
        ("proxy/__pycache__/serve.cpython-313.pyc", True),
        ("proxy/config/__pycache__", True),
        ("constraints.txt", False),
    ],
)
def test_what_is_ignored(path: str, expected: bool) -> None:
    assert ignored(path) is expected


def test_both_stages_are_of_one_slim_python_so_that_the_environment_can_move() -> None:
    first, last = (rest.split()[0] for word, rest in instructions() if word == "FROM")
    assert first == last
    assert re.fullmatch(r"python:3\.1[123]-slim", first), "a name and a tag, no registry"
    made, moved = shlex.split(next(rest for word, rest in stages()[1] if word == "COPY"))[1:]
    assert made == moved == INSTALLED, "scripts name their interpreter by its full path"


def test_the_container_is_nobody_and_names_its_ports() -> None:
    assert one("USER") == f"{UNPRIVILEGED}:{UNPRIVILEGED}"
    ports = [address.rsplit(":", 1)[1] for address in (Listen().grpc, Listen().admin)]
    assert one("EXPOSE").split() == ports
    assert one("STOPSIGNAL") == "SIGTERM"
    assert "PYTHONDONTWRITEBYTECODE=1" in one("ENV")
    assert command() == ["tensorwall", "serve", "--config", "/etc/tensorwall/config.yaml"]


# What follows runs the build's own commands, with other folders.


@dataclass(frozen=True)
class Image:
    """What the build stage made.

    Attributes:
        installed: stands for /opt/tensorwall.
        folder: readable by everybody, for configurations.
    """

    installed: Path
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """As the final stage's ENV sets it, and nothing else."""
        set_here = dict(word.split("=", 1) for word in shlex.split(one("ENV")))
        path = set_here.pop("PATH").replace(INSTALLED, str(self.installed)).replace("$PATH", "/usr/bin:/bin")
        return {**set_here, "PATH": path}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command of the image, to its end."""
        return subprocess.run(
            contained(arguments), env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )


def contained(arguments: Sequence[str]) -> list[str]:
    """The command as a container would run it, as far as this user may: as nobody, in / and all of it read-only."""
    return [*_container(), *arguments]


@cache
def _container() -> tuple[str, ...]:
    nobody = f'exec setpriv --reuid={UNPRIVILEGED} --regid={UNPRIVILEGED} --clear-groups --no-new-privs "$@"'
    read_only = ("unshare", "--mount", "sh", "-c", f"mount -o remount,bind,ro / && cd / && {nobody}", "sh")
    in_root = ("sh", "-c", f"cd / && {nobody}", "sh")
    for prefix in (read_only, in_root):
        tried = subprocess.run([*prefix, "true"], capture_output=True, check=False)
        if tried.returncode == 0:
            return prefix
    assert os.geteuid() != 0, "root can at least become nobody"
    return ("sh", "-c", 'cd / && exec "$@"', "sh")


def _for_everybody(program: str) -> bool:
    """Whether another user may run it."""
    path = Path(program).resolve()
    return all(step.stat().st_mode & 0o5 == 0o5 for step in (path, *path.parents))


def _interpreter() -> str:
    """A Python with pip that the unprivileged user may run, too."""
    candidates = (getattr(sys, "_base_executable", sys.executable), "/usr/local/bin/python3", "/usr/bin/python3")
    for candidate in candidates:
        if Path(candidate).exists() and (os.geteuid() != 0 or _for_everybody(candidate)):
            usable = "import sys, pip, venv; sys.exit(sys.version_info < (3, 11))"
            if subprocess.run([candidate, "-c", usable], capture_output=True, check=False).returncode == 0:
                return candidate
    return pytest.skip("no Python with pip here that an unprivileged user may run")


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """The build stage, carried out: its RUN commands on its COPY sources, in folders of their own."""
    interpreter = _interpreter()
    with tempfile.TemporaryDirectory(prefix="tensorwall-image-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        source, installed, programs = folder / "src", folder / "tensorwall", folder / "bin"
        for file in context():
            (source / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / file, source / file)
        programs.mkdir()
        (programs / "python").symlink_to(interpreter)
        for word, rest in stages()[0]:
            if word == "RUN":
                script = rest.replace(INSTALLED, str(installed)).replace("/src", str(source))
                environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "PIP_QUIET": "1"}
                subprocess.run(["sh", "-ec", script], cwd=source, env=environment, check=True, timeout=300)
        yield Image(installed, folder)


def _sizes(image: Image) -> Mapping[str, int]:
    """Bytes of each distribution that `tensorwall` without extras needs, itself included."""
    script = """
import json
from importlib.metadata import distributions
size = lambda files: sum(file.locate().stat().st_size for file in files if file.locate().exists())
print(json.dumps({d.name: [d.requires or [], size(d.files or ())] for d in distributions()}))
"""
    found = json.loads(image.run("python", "-c", script).stdout)
    known = {re.sub(r"[-_.]+", "-", name).lower(): entry for name, entry in found.items()}
    needed: dict[str, int] = {}
    waiting = ["tensorwall"]
    while waiting:
        name = waiting.pop()
        if name in needed:
            continue
        requirements, needed[name] = known[name]
        wanted = [r for r in map(Requirement, requirements) if r.marker is None or r.marker.evaluate({"extra": ""})]
        waiting += [re.sub(r"[-_.]+", "-", requirement.name).lower() for requirement in wanted]
    return needed


def test_a_bare_install_is_small_and_without_tensorflow(image: Image) -> None:
    sizes = _sizes(image)
    assert "numpy" in sizes
    assert 50 * 10**6 < sum(sizes.values()) < MAX_SITE_PACKAGES, sizes
    missing = image.run("python", "-c", "import tensorflow")
    assert "ModuleNotFoundError" in missing.stderr
    extras = image.run("python", "-c", "import redis, PIL")
    assert extras.returncode == 0, extras.stderr


@pytest.mark.parametrize("arguments", [("--help",), ("serve", "--help"), ("check-config", "--help")])
def test_the_command_line_works_there(image: Image, arguments: Sequence[str]) -> None:
    done = image.run("tensorwall", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage: tensorwall" in done.stdout


def test_a_configuration_is_checked_there(image: Image) -> None:
    good, bad = image.folder / "good.yaml", image.folder / "bad.yaml"
    good.write_text("upstream: model-server:8500\n")
    bad.write_text("upstraem: model-server:8500\n")
    done = image.run("tensorwall", "check-config", str(good))
    assert done.returncode == 0, done.stderr
    assert "model-server:8500" in done.stdout
    done = image.run("tensorwall", "check-config", str(bad))
    assert done.returncode == 2
    assert "upstraem" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("command_line", "extra"), [("demo", "demo"), ("backend --model m=/usr", "tensorflow")])
def test_what_is_not_in_the_image_is_named(image: Image, command_line: str, extra: str) -> None:
    done = image.run("tensorwall", *command_line.split())
    assert done.returncode == 2
    assert f"pip install 'tensorwall[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_default_command_without_a_configuration_says_what_to_do(image: Image) -> None:
    done = image.run(*command())
    assert done.returncode == 2
    assert "/etc/tensorwall/config.yaml" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_serves_as_nobody_on_a_read_only_root_and_the_health_check_knows(image: Image) -> None:
    grpc_port, admin_port = _free_ports()
    config = image.folder / "config.yaml"
    config.write_text(
        "upstream: 127.0.0.1:9\n"
        f"listen: {{grpc: '127.0.0.1:{grpc_port}', admin: '127.0.0.1:{admin_port}'}}\n"
        "shutdown: {settle: 0}\n"
    )
    health_check = json.loads(one("HEALTHCHECK").partition("CMD ")[2])
    assert "127.0.0.1', 8601" in health_check[-1]
    health_check[-1] = health_check[-1].replace("8601", str(admin_port))
    assert image.run(*health_check).returncode != 0, "nothing listens yet"
    arguments = [word.replace("/etc/tensorwall/config.yaml", str(config)) for word in command()]
    with subprocess.Popen(contained(arguments), env=image.environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert "listening" in process.stderr.readline()
            done = image.run(*health_check)
            assert (done.returncode, done.stderr) == (0, "")
            if os.geteuid() == 0:
                assert f"Uid:\t{UNPRIVILEGED}" in Path(f"/proc/{process.pid}/status").read_text()
            process.terminate()
            assert process.wait(20) == 0
        finally:
            process.kill()


def _free_ports() -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    try:
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()
