"""Characters that nobody sees, and where they nevertheless belong."""

import re
import unicodedata

_IGNORABLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufffb\U00013430-\U0001345f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""Default_Ignorable_Code_Point of Unicode's DerivedCoreProperties, and format characters (Cf) beside them: zero-width
ones, bidirectional controls, fillers, variation selectors, tags."""
_CONTROLS = "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"
INVISIBLE = re.compile(f"[{_IGNORABLE}{_CONTROLS}]")
"""Also the control characters of C0 and C1, but for tab, line feed and carriage return."""

_JOINERS = "\u200c\u200d"
_PRESENTATION = "\ufe0e\ufe0f"
_JOINING_SCRIPTS = (
    "ARABIC",
    "SYRIAC",
    "MONGOLIAN",
    "NKO",
    "DEVANAGARI",
    "BENGALI",
    "GURMUKHI",
    "GUJARATI",
    "ORIYA",
    "TAMIL",
    "TELUGU",
    "KANNADA",
    "MALAYALAM",
    "SINHALA",
    "KHMER",
    "MYANMAR",
)

MOST_MARKS = 30
"""Combining marks on one base: Unicode's Stream-Safe Text Format (UAX #15, section 13). Longer runs also cost
normalisation quadratic time."""


def visible(text: str) -> str:
    """The text without its invisible characters.

    Kept are joiners between letters of scripts that are shaped by them (Arabic, the Indic ones), and joiners and
    presentation selectors within emoji. A joiner that stands so changes what people see, so it is no hiding place.
    """
    if INVISIBLE.search(text) is None:
        return text
    kept: list[str] = []
    for at, char in enumerate(text):
        if INVISIBLE.match(char) is None or _belongs(char, kept[-1] if kept else "", text[at + 1 : at + 2]):
            kept.append(char)
    return "".join(kept)


def hidden(text: str) -> tuple[int, str] | None:
    """Position and name of the first invisible character that does not belong where it is."""
    if INVISIBLE.search(text) is None:
        return None
    before = ""
    for at, char in enumerate(text):
        if INVISIBLE.match(char) is not None and not _belongs(char, before, text[at + 1 : at + 2]):
            return at, f"U+{ord(char):04X}"
        before = char
    return None


def few_marks(text: str) -> str:
    """No more than `MOST_MARKS` combining marks in a row; those beyond are dropped."""
    if text.isascii():
        return text
    kept: list[str] = []
    run = 0
    for char in text:
        run = run + 1 if unicodedata.category(char) in ("Mn", "Me") else 0
        if run <= MOST_MARKS:
            kept.append(char)
    return "".join(kept) if len(kept) < len(text) else text


def _belongs(char: str, before: str, after: str) -> bool:
    if not before:
        return False
    if char in _PRESENTATION:
        return _pictures(before)
    if char in _JOINERS:
        if _pictures(before) or before == "\ufe0f":
            return char == "\u200d" and _pictures(after)
        return _joins(before) and _joins(after)
    return False


def _pictures(char: str) -> bool:
    return bool(char) and (
        (unicodedata.category(char) in ("So", "Sk") and ord(char) > 0x2000) or char in "#*0123456789"
    )


def _joins(char: str) -> bool:
    return bool(char) and unicodedata.name(char, "").startswith(_JOINING_SCRIPTS)
