"""Rows of one shape only."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from defenses.input.base import Array, Batch, Content, InvalidInputError, Settings

Size = Annotated[int, Field(ge=1)]


class Shape(Settings):
    """Refuses rows of another shape; null stands for any size, a pair for the lowest and the highest.

    The model's own signature is held against requests already where it is known and says sizes; this is for models
    that take any size, where a large row would cost much.
    """

    kind: Literal["shape"] = "shape"
    sizes: Annotated[tuple[Size | tuple[Size, Size] | None, ...], Field(min_length=1, max_length=8)]

    takes: ClassVar[Content] = "numbers"
    ranged: ClassVar[bool] = False
    finite: ClassVar[bool] = False

    def __call__(self, batch: Batch) -> Array:
        shape = batch.values.shape[1:]
        if len(shape) != len(self.sizes) or not all(map(_fits, self.sizes, shape)):
            wanted = ", ".join(_text(size) for size in self.sizes)
            raise InvalidInputError(f"a row has the shape {list(shape)}; [{wanted}] is accepted")
        return batch.values


def _fits(wanted: int | tuple[int, int] | None, size: int) -> bool:
    if wanted is None:
        return True
    low, high = (wanted, wanted) if isinstance(wanted, int) else wanted
    return low <= size <= high


def _text(wanted: int | tuple[int, int] | None) -> str:
    if wanted is None:
        return "any"
    return str(wanted) if isinstance(wanted, int) else f"{wanted[0]} to {wanted[1]}"
