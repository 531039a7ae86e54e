"""The version folders under a model's base path: `BASE/NUMBER/saved_model.pb`."""

from pathlib import Path

MODEL_FILES = ("saved_model.pb", "saved_model.pbtxt")

MAX_VERSION = 2**63 - 1  # an int64 in ModelSpec

Fingerprint = frozenset[tuple[str, int, int]]


def find_versions(base: Path) -> dict[int, Path]:
    """Version number -> folder, of those that hold a model already; a folder that is still being written is not yet.

    Raises:
        OSError: `base` cannot be listed.
    """
    numbered = sorted(folder for folder in base.iterdir() if folder.name.isascii() and folder.name.isdigit())
    found = {int(folder.name): folder for folder in numbered if is_saved_model(folder)}
    return {version: folder for version, folder in found.items() if version <= MAX_VERSION}


def is_saved_model(folder: Path) -> bool:
    return any((folder / name).is_file() for name in MODEL_FILES)


def fingerprint(folder: Path) -> Fingerprint:
    """Path, size in bytes and time of change of every file in a folder: equal as long as nobody writes there."""
    files = set()
    for path in folder.rglob("*"):
        try:
            stat = path.stat()
        except OSError:  # it went while we looked; the next look differs
            continue
        files.add((str(path.relative_to(folder)), stat.st_size, stat.st_mtime_ns))
    return frozenset(files)
