"""Files that a configuration names."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator


def _file(value: Path) -> Path:
    if not value.is_file():
        raise ValueError(
            f"{str(value)!r} is not a readable file; check the path, which counts from the working directory"
        )
    return value


File = Annotated[Path, AfterValidator(_file)]
