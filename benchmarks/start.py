"""How long `tensorwall serve` takes from start to ready, and what it weighs at rest; a model server answers beside it.

    python -m benchmarks.start

Five starts; prints medians and writes build/start.json. Linux only (memory is read from /proc).
"""

import json
import re
import statistics
import tempfile
import time
import urllib.request
from pathlib import Path

from tests.e2e.model_server import ModelServer
from tests.processes import Running, free_port

RUNS = 5


def once(folder: Path, upstream: str) -> tuple[float, float, bool]:
    """Seconds from start to ready, resident MB then, and whether TensorFlow's library is mapped."""
    admin = free_port()
    config = folder / "c.yaml"
    listen = f"{{grpc: '127.0.0.1:0', admin: '127.0.0.1:{admin}'}}"
    config.write_text(f"upstream: {upstream}\nlisten: {listen}\nshutdown: {{settle: 0}}\n")
    began = time.monotonic()
    with Running("serve", "--config", str(config)) as process:
        process.wait_until(lambda: ready(admin), "ready")
        seconds = time.monotonic() - began
        proc = Path(f"/proc/{process.process.pid}")
        kilobytes = re.search(r"VmRSS:\s+(\d+)", (proc / "status").read_text())
        assert kilobytes is not None
        return seconds, int(kilobytes[1]) / 1000, "tensorflow" in (proc / "maps").read_text()


def ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1):
            return True
    except OSError:
        return False


def main() -> None:
    with ModelServer() as server, tempfile.TemporaryDirectory() as folder:
        runs = [once(Path(folder), server.address) for _ in range(RUNS)]
    seconds, megabytes = (statistics.median(run[n] for run in runs) for n in (0, 1))
    figures = {"start_seconds": seconds, "resident_megabytes": megabytes, "tensorflow": any(run[2] for run in runs)}
    Path("build").mkdir(exist_ok=True)
    Path("build/start.json").write_text(json.dumps(figures, indent=2))
    print(f"start to ready {seconds:.2f} s, {megabytes:.0f} MB resident, TensorFlow loaded: {figures['tensorflow']}")


if __name__ == "__main__":
    main()
