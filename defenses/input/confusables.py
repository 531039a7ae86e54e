"""Characters that look like Latin ones, by Unicode's own list (UTS #39, confusables.txt)."""

import re
import unicodedata
from functools import cache, lru_cache
from importlib.util import find_spec

_WORD = re.compile(r"\w+")
_NO_SCRIPT = frozenset({"COMMON", "INHERITED", "UNKNOWN"})


def needs_data() -> None:
    """Checks that Unicode's data are there, when the configuration is read.

    Raises:
        ValueError: they are not.
    """
    if find_spec("confusable_homoglyphs") is None:
        raise ValueError(
            "confusables need Unicode's data; install them: pip install 'tensorwall[text]', or set confusables: keep"
        )


def folded(text: str) -> str:
    """The text with look-alikes of Latin letters and of digits as what they look like.

    - Letters and digits of no script (mathematical and enclosed ones) always.
    - Letters of another script in a word that has Latin letters too.
    - Words of nothing but look-alikes, in a text that has Latin letters and no honest word of that script.

    Text of another script stays as it is, and so do Latin letters with and without marks.
    """
    if text.isascii():
        return text
    text = "".join(_look(char) if _script(char) in _NO_SCRIPT else char for char in text)
    words = _WORD.findall(text)
    if not any(_has_latin(word) for word in words):
        return text
    honest = {script for word in words if not _has_latin(word) for script in _genuine(word)}
    return _WORD.sub(lambda match: _folded_word(match[0], honest), text)


def _folded_word(word: str, honest: set[str]) -> str:
    if word.isascii():
        return word
    foreign = {_script(char) for char in word} - _NO_SCRIPT - {"LATIN"}
    if not foreign or not (_has_latin(word) or (foreign.isdisjoint(honest) and _looks_latin(word))):
        return word
    return "".join(_look(char) if _script(char) in foreign else char for char in word)


def _looks_latin(word: str) -> bool:
    """Every letter of it is a look-alike."""
    return all(_look(char) != char for char in word if char.isalpha())


def _genuine(word: str) -> set[str]:
    """Scripts of which a word has a letter that looks like no Latin one."""
    return {_script(char) for char in word if char.isalpha() and _look(char) == char} - _NO_SCRIPT


def _has_latin(word: str) -> bool:
    return any(_script(char) == "LATIN" for char in word)


def _look(char: str) -> str:
    return char if char.isascii() else _looks().get(char, char)


@cache
def _looks() -> dict[str, str]:
    """From a character to the ASCII letter or digit that it looks like."""
    from confusable_homoglyphs.confusables import confusables_data  # an extra

    data: dict[str, list[dict[str, str]]] = confusables_data
    found = {}
    for char, entries in data.items():
        if len(char) == 1 and not char.isascii():
            target = _target(char, [entry["c"] for entry in entries])
            if target:
                found[char] = target
    return found


def _target(char: str, candidates: list[str]) -> str:
    digit = unicodedata.decimal(char, None)
    if digit is not None and _script(char) in _NO_SCRIPT:
        return str(digit)
    for look in candidates:
        if len(look) == 1 and look.isascii() and look.isalnum():
            # The list has one prototype for I, l, 1 and |: the case tells which letter was meant.
            return "I" if look == "l" and char.isupper() else look
    return ""


@lru_cache(20_000)
def _script(char: str) -> str:
    """The Unicode script of a character, in capitals."""
    from confusable_homoglyphs.categories import alias

    if char.isascii():
        return "LATIN" if char.isalpha() else "COMMON"
    return str(alias(char))
