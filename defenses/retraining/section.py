"""What the sections of a job have in common."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

ImportPath = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$", description="package.module:name")]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Section(BaseModel):
    """A frozen part of a job that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
