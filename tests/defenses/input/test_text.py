"""Text in one form: what nobody sees is gone, look-alikes are what they look like, and honest text is left alone."""

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defenses.input import InputChain, InvalidInputError, Text

hostile = st.text(
    st.one_of(
        st.characters(codec="utf-8"),
        st.sampled_from("aoeрасеоΑ\u200b\u200d\u202e\ufe0f\u0301\u0327é\U0001d41a１ﬁ\U000e0041👩💻ا"),
    ),
    max_size=40,
)


def clean(text: str | bytes, **rule: Any) -> str:
    values = np.empty(1, dtype=object)
    values[0] = text if isinstance(text, bytes) else text.encode("utf-8")
    chain = InputChain("s", (Text.model_validate({"kind": "text", **rule}),))
    cleaned: bytes = chain(values, np.zeros(1, dtype=np.uint64))[0]
    return cleaned.decode("utf-8")


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        ("pass\u200bword", "password"),
        ("a\u202eb\u2066c", "abc"),
        ("soft\u00adhyphen", "softhyphen"),
        ("tag\U000e0061\U000e007f", "tag"),
        ("nul\x00 tab\t line\n", "nul tab\t line\n"),
        ("e\u0301", "é"),
        ("👩\u200d💻 ❤\ufe0f", "👩\u200d💻 ❤\ufe0f"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("a\u200db", "ab"),
        ("plain", "plain"),
        ("", ""),
    ],
)
def test_what_nobody_sees_goes_and_what_shapes_stays(sent: str, seen: str) -> None:
    assert clean(sent) == seen


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("раураl", "paypal"),
        ("Вuy nоw", "Buy now"),
        ("оссо is a word", "occo is a word"),
        ("𝐩𝐚𝐲 𝟏𝟐", "pay 12"),
        ("Привет, как дела", "Привет, как дела"),
        ("Привет и hello", "Привет и hello"),
        ("Ελληνικά and English", "Ελληνικά and English"),
        ("naïve café ıstanbul", "naïve café ıstanbul"),
        ("日本語 text", "日本語 text"),
    ],
)
def test_look_alikes_are_folded_and_languages_left_alone(sent: str, meant: str) -> None:
    assert clean(sent, confusables="fold") == meant


def test_refusals_name_the_place() -> None:
    with pytest.raises(InvalidInputError, match=r"row 0: character 1 is invisible \(U\+200B\)"):
        clean("a\u200bb", invisible="refuse")
    with pytest.raises(InvalidInputError, match=r"character 0 \(U\+0440\) looks like 'p'"):
        clean("раураl", confusables="refuse")
    with pytest.raises(InvalidInputError, match="byte 2 is not UTF-8"):
        clean(b"ab\xff")
    with pytest.raises(InvalidInputError, match="byte 0 is not UTF-8"):
        clean(b"\xed\xa0\x80")  # a lone surrogate
    with pytest.raises(InvalidInputError, match="has 4 characters; send 0 to 3"):
        clean("four", max_chars=3)
    with pytest.raises(InvalidInputError, match="has 4 bytes; send up to 3"):
        clean("four", max_bytes=3)
    with pytest.raises(InvalidInputError, match="has 0 characters; send 1"):
        clean("\u200b", min_chars=1)


@given(hostile, st.sampled_from(["none", "NFC", "NFKC"]), st.sampled_from(["keep", "fold"]))
@settings(deadline=None, max_examples=400)
def test_cleaning_twice_is_cleaning_once(text: str, normalise: str, confusables: str) -> None:
    rule = {"normalise": normalise, "confusables": confusables}
    once = clean(text, **rule)
    assert clean(once, **rule) == once


@given(hostile)
@settings(deadline=None, max_examples=200)
def test_what_was_cleaned_is_not_refused(text: str) -> None:
    clean(clean(text), invisible="refuse")


def test_marks_are_bounded_in_number_and_time() -> None:
    zalgo = "a" + "\u0301\u0323" * 200_000
    started = time.process_time()
    cleaned = clean(zalgo, max_chars=10**6)
    assert time.process_time() - started < 10, "quadratic work would take hours"
    assert len(cleaned) <= 31


def test_wrong_types_are_refused() -> None:
    chain = InputChain("s", (Text(),))
    with pytest.raises(InvalidInputError, match="takes strings of bytes, not float32"):
        chain(np.zeros((2, 2), dtype=np.float32), np.zeros(2, dtype=np.uint64))
