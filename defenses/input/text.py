"""Text as people see it."""

import unicodedata
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from defenses.input import confusables as looks
from defenses.input.base import Array, Batch, Content, InvalidInputError, Settings
from defenses.input.characters import few_marks, hidden, visible

_DECOMPOSED: dict[str, Literal["NFD", "NFKD"]] = {"NFC": "NFD", "NFKC": "NFKD"}


class Text(Settings):
    """Brings UTF-8 text into one form, so that what looks alike is alike.

    Against text that a model reads otherwise than people do: invisible characters, reordering by bidirectional
    controls, look-alikes and deletions (Boucher et al. 2022, "Bad Characters"). It does nothing against other words of
    the same meaning. Runs of more than 30 combining marks are cut to 30. Invalid UTF-8 is refused, never repaired.
    """

    kind: Literal["text"] = "text"
    normalise: Literal["none", "NFC", "NFKC"] = Field(default="NFC", description="UAX #15; NFKC also folds forms")
    invisible: Literal["remove", "refuse", "keep"] = "remove"
    confusables: Literal["fold", "refuse", "keep"] = Field(default="keep", description="look-alikes of Latin letters")
    min_chars: int = Field(default=0, ge=0, description="after cleaning")
    max_chars: int = Field(default=100_000, ge=1, description="after cleaning")
    max_bytes: int = Field(default=2**20, ge=1, description="as sent")

    takes: ClassVar[Content] = "bytes"
    ranged: ClassVar[bool] = False
    finite: ClassVar[bool] = False

    @model_validator(mode="after")
    def _possible(self) -> "Text":
        if self.min_chars > self.max_chars:
            raise ValueError(
                f"min_chars is {self.min_chars} and max_chars {self.max_chars}; the first may not be larger"
            )
        if self.confusables != "keep":
            looks.needs_data()
        return self

    def __call__(self, batch: Batch) -> Array:
        flat = batch.values.reshape(len(batch.values), -1)
        result = np.empty_like(flat)
        for row in range(len(flat)):
            for column in range(flat.shape[1]):
                try:
                    result[row, column] = self._clean(flat[row, column])
                except InvalidInputError as error:
                    raise InvalidInputError(f"row {row}: {error}") from None
        return result.reshape(batch.values.shape)

    def _clean(self, data: bytes) -> bytes:
        if len(data) > self.max_bytes:
            raise InvalidInputError(f"the text has {len(data)} bytes; send up to {self.max_bytes}")
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidInputError(f"byte {error.start} is not UTF-8; send text encoded as UTF-8") from None
        text = self._seen(text)
        if self.normalise != "none":
            text = few_marks(unicodedata.normalize(_DECOMPOSED[self.normalise], few_marks(text)))
            text = self._seen(text)  # compatibility forms can hold invisible characters
        text = self._told_apart(text)
        if self.normalise != "none":
            text = unicodedata.normalize("NFC", text)
        if not self.min_chars <= len(text) <= self.max_chars:
            raise InvalidInputError(f"the text has {len(text)} characters; send {self.min_chars} to {self.max_chars}")
        return text.encode("utf-8")

    def _seen(self, text: str) -> str:
        if self.invisible == "refuse":
            found = hidden(text)
            if found is not None:
                raise InvalidInputError(f"character {found[0]} is invisible ({found[1]}); send text without it")
        return visible(text) if self.invisible == "remove" else text

    def _told_apart(self, text: str) -> str:
        if self.confusables == "keep":
            return text
        folded = looks.folded(text)
        if self.confusables == "refuse" and folded != text:
            at = next((i for i, (old, new) in enumerate(zip(text, folded, strict=False)) if old != new), 0)
            raise InvalidInputError(
                f"character {at} (U+{ord(text[at]):04X}) looks like {folded[at]!r} and is not; send what is meant"
            )
        return folded
