"""TF_CONFIG: the workers of a run, and which of them this one is.

Read before TensorFlow reads it, which takes much of what is wrong there for one worker alone, or waits for ever.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

_FORM = '{"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": "worker", "index": 0}}'
_MOST = 300
"""Characters of it in a message."""


def _address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"{text!r} is not HOST:PORT")
    return text


_Addresses = list[Annotated[str, AfterValidator(_address)]]


class _Cluster(BaseModel):
    model_config = ConfigDict(extra="forbid")  # nobody serves parameters here, and nobody else evaluates

    chief: _Addresses = Field([], max_length=1)
    worker: _Addresses = []

    @model_validator(mode="after")
    def _distinct(self) -> "_Cluster":
        every = self.chief + self.worker
        twice = [address for n, address in enumerate(every) if address in every[:n]]
        if twice:
            raise ValueError(f"{twice[0]!r} is the address of two")
        return self


class _Task(BaseModel):
    type: Literal["chief", "worker"]
    index: int = Field(ge=0)


class _Config(BaseModel):
    cluster: _Cluster
    task: _Task

    @model_validator(mode="after")
    def _one_of_them(self) -> "_Config":
        count = len(getattr(self.cluster, self.task.type))
        if self.task.index >= count:
            raise ValueError(
                f"task.index {self.task.index} is not below {count}, the length of cluster.{self.task.type}"
            )
        return self


def complaint(value: str | None) -> str | None:
    """What is wrong with a value of TF_CONFIG (None: not set) and the remedy, a sentence; None if it names this worker.

    Its form is TensorFlow's; see tf.distribute.cluster_resolver.TFConfigClusterResolver.
    """
    if value is None:
        return f"TF_CONFIG is not set; set it to {_FORM}, or take another strategy"
    try:
        _Config.model_validate_json(value)
    except ValidationError as error:
        shown = repr(value) if len(value) <= _MOST else f"{value[:_MOST]!r}..."
        return f"TF_CONFIG is {shown}: {_reason(error.errors()[0])}; set it to {_FORM}"
    return None


def _reason(error: Any) -> str:
    where = ".".join(map(str, error["loc"]))
    what = str(error["ctx"]["error"]) if error["type"] == "value_error" else error["msg"]
    said = {"missing": "is missing", "extra_forbidden": "has no place there"}.get(error["type"])
    return f"{where} {said}" if said else f"{where}: {what}" if where else what
