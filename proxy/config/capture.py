"""What may be set of capture: whose calls, how many of them, and where they go."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, field_serializer, model_validator

from proxy.config.section import PositiveSeconds, Section, Size, freeze, plain

Share = Annotated[float, Field(gt=0, le=1)]


def _place(value: str) -> str:
    protocol, _, _ = value.rpartition("://")
    if not value.strip():
        raise ValueError("the path is empty; write a folder, or a URL such as s3://BUCKET/PREFIX")
    if protocol and protocol != "file":
        _known(protocol)
    return value


def _known(protocol: str) -> None:
    if find_spec("fsspec") is None:
        raise ValueError(f"{protocol}:// needs fsspec; install it with: pip install 'tensorwall[capture]'")
    from fsspec import get_filesystem_class  # an extra

    try:
        get_filesystem_class(protocol)
    except (ImportError, ValueError) as error:
        raise ValueError(f"{protocol}:// cannot be used: {error}") from None


class Capture(Section):
    """Answered inference calls, sampled, to files of PredictionLog. They hold raw inputs. Absent: no capture."""

    path: Annotated[str, AfterValidator(_place), Field(max_length=1024)] = Field(
        description="folder, or URL of an object store (s3://BUCKET/PREFIX, gs://...)"
    )
    models: Annotated[
        Mapping[Annotated[str, Field(min_length=1, max_length=256)], Share],
        Field(min_length=1, max_length=100),
        AfterValidator(freeze),
    ] = Field(description="for each model that is captured, the share of its calls, more than 0 to 1")
    rows_per_hour: int = Field(default=10_000, ge=1, description="captured of one caller; further calls are left out")
    rows_per_hour_under_verdict: int = Field(
        default=10_000, ge=1, description="the same for a caller under a verdict, counted apart"
    )
    file_bytes: Size = Field(default=64 * 2**20, description="a file is finished at this size,")
    file_seconds: PositiveSeconds = Field(default=3600, description="at this age,")
    file_records: int | None = Field(
        default=None, ge=1, description="or with so many calls; 1000 makes each a TensorFlow Serving warm-up file"
    )
    disk_bytes: Size = Field(default=2**30, description="all files in the folder together; the oldest finished ones go")
    queue_bytes: Size = Field(default=64 * 2**20, description="calls that wait to be written; further ones are dropped")
    spool: Path | None = Field(default=None, description="folder where files wait for their upload, for URLs")

    @field_serializer("models")
    def _plain(self, value: Mapping[str, float]) -> Any:
        return plain(value)

    @property
    def url(self) -> str | None:
        """Where files are uploaded to; None if they stay in a folder."""
        return self.path if "://" in self.path and not self.path.startswith("file://") else None

    @property
    def folder(self) -> Path:
        """Where files are written."""
        return self.spool or Path(self.path.removeprefix("file://"))

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if find_spec("google_crc32c") is None:
            raise ValueError("capture needs google-crc32c; install it with: pip install 'tensorwall[capture]'")
        if self.url is not None and self.spool is None:
            raise ValueError("path is a URL; set spool, a folder of this machine where files wait for their upload")
        if self.url is None and self.spool is not None:
            raise ValueError("path is a folder, and files in it wait for nothing; remove spool")
        if self.disk_bytes < 2 * self.file_bytes:
            raise ValueError(
                f"disk_bytes ({self.disk_bytes}) is less than two files of file_bytes ({self.file_bytes}); "
                "raise it or make files smaller"
            )
        return self
