"""The key file: what it may hold, what it says of a mistake, and which keys work."""

import contextlib
import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import ConfigError
from proxy.keys import KeyFile
from proxy.keys.edit import new_key, with_record, with_revocation
from proxy.keys.file import MAX_KEYS, parse_keys


def hashed(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


HASH = hashed("a key")

BAD = [
    ("a: 1", "f:1: a list of keys is expected"),
    ("- sha256: [", "f:1: not valid YAML"),
    ("- " * 50_000, "f:1: lists and mappings nest more than 64 deep; write them flatter"),
    ("[" * 100_000, "f:1: lists and mappings nest more than 64 deep"),
    ("- plain", "f:1: a key is a mapping with at least sha256 and owner"),
    ("- owner: [a]", "f:1: a key has plain values only"),
    ("- owner: a\n  owner: b", "f:1: owner: stands twice; keep one"),
    ("- owner: a", "f:1: sha256: is required; add it"),
    (f"- sha256: {HASH}", "f:1: owner: is required; add it"),
    (f"- sha256: {HASH}\n  owner: a\n- sha256: {HASH[:-1]}\n  owner: b", "f:3: sha256: "),
    (f"- sha256: {HASH}\n  owner: ' a'", "f:1: owner: an owner is printable text without spaces around it"),
    (f"- sha256: {HASH}\n  owner: a\n  teir: gold", "f:1: teir: is not a known field; there are sha256, owner"),
    (f"- sha256: {HASH}\n  owner: a\n  tier: gold plated", "f:1: tier: "),
    (f"- sha256: {HASH}\n  owner: a\n  expires: soon", "f:1: expires: "),
    (
        f"- sha256: {HASH}\n  owner: a\n- sha256: {HASH}\n  id: x\n  owner: b",
        f"f:3: sha256: the same key as '{HASH[:12]}'",
    ),
    (
        f"- {{id: x, sha256: {HASH}, owner: a}}\n- {{id: x, sha256: {hashed('b')}, owner: a}}",
        "f:2: id: 'x' stands twice; give each key its own",
    ),
    ("- {}\n" * (MAX_KEYS + 1), f"f: {MAX_KEYS + 1} keys are more than {MAX_KEYS}"),
]


@pytest.mark.parametrize(("text", "message"), BAD, ids=[message for _, message in BAD])
def test_a_wrong_key_file_is_told_where_and_what_to_do(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_keys(text, "f")
    assert message in str(error.value)


@given(st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    with contextlib.suppress(ConfigError):
        parse_keys(text, "f")


def test_hashes_and_ids_of_digits_need_no_quotes() -> None:
    digits = "0123456789" * 6 + "0123"
    (record,) = parse_keys(f"- sha256: {digits}\n  owner: 0x10\n  id: 007\n  tier: ~\n", "f")
    assert (record.sha256, record.owner, record.id, record.tier) == (digits, "0x10", "007", None)


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "---\n"])
def test_an_empty_file_has_no_keys(text: str) -> None:
    assert parse_keys(text, "f") == ()


def test_a_key_works_until_its_last_day_is_over_or_it_is_revoked(tmp_path: Path) -> None:
    file, now = tmp_path / "keys.yaml", [0.0]
    text = f"- {{id: a, sha256: {hashed('one')}, owner: x, expires: 1970-01-02}}\n"
    text += f"- {{id: b, sha256: {hashed('two')}, owner: x, revoked: '1970-01-01T00:00:00Z'}}\n"
    file.write_text(text)
    keys = KeyFile(file, clock=lambda: now[0])
    assert len(keys) == 2
    assert (found := keys.find("one")) is not None
    assert found.id == "a"
    assert keys.find(b"one") == found
    for wrong in ("two", "on", "one ", "", hashed("one"), "\ud800", "x" * 300):
        assert keys.find(wrong) is None
    now[0] = 2 * 86400 - 1
    assert keys.find("one") == found
    now[0] = 2 * 86400
    assert keys.find("one") is None


def test_a_changed_file_is_taken_and_a_wrong_one_is_told_once(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    file.write_text("")
    keys = KeyFile(file)
    assert not keys.reload_if_changed()
    file.write_text(f"- {{sha256: {hashed('one')}, owner: x}}\n")
    assert keys.reload_if_changed()
    assert keys.find("one") is not None
    file.write_text("- [")
    with pytest.raises(ConfigError):
        keys.reload_if_changed()
    assert not keys.reload_if_changed()
    assert keys.find("one") is not None
    file.unlink()
    with pytest.raises(ConfigError, match="name a readable key file"):
        keys.reload_if_changed()
    assert keys.find("one") is not None


OWNER = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=20)


@given(st.lists(OWNER, min_size=1, max_size=5), st.data())
def test_what_is_added_is_read_and_what_is_revoked_stays_listed(owners: list[str], data: st.DataObject) -> None:
    text, ids = "# ours\n", []
    for owner in owners:
        key_id, key = new_key()
        ids.append(key_id)
        text = with_record(text, {"id": key_id, "sha256": hashed(key), "owner": owner}, "f")
    revoked = data.draw(st.sampled_from(ids))
    text = with_revocation(text, revoked, "2026-01-02T03:04:05Z", "f")
    records = parse_keys(text, "f")
    assert [record.id for record in records] == ids
    assert [record.owner for record in records] == owners
    assert [record.id for record in records if record.revoked is not None] == [revoked]
    assert text.startswith("# ours\n")


@pytest.mark.parametrize(
    "text",
    [
        "- {{id: a, sha256: {one}, owner: 'a, b'}}  # kept\n- {{id: b, sha256: {two}, owner: x}}\n",
        "  -   id: a\n      sha256: {one}\n      owner: x\n  - {{id: b, sha256: {two}, owner: '\N{GRINNING FACE}'}}",
        "# \N{GRINNING FACE}\r\n- owner: x\r\n  id: a\r\n  sha256: {one}\r\n- {{owner: y, id: b, sha256: {two}}}\r\n",
        "[{{id: a, sha256: {one}, owner: x}}, {{id: b, sha256: {two}, owner: x}}]",
    ],
)
@pytest.mark.parametrize("key_id", ["a", "b"])
def test_a_record_is_revoked_in_whatever_form_it_is_written(text: str, key_id: str) -> None:
    text = text.format(one=hashed("one"), two=hashed("two"))
    after = with_revocation(text, key_id, "2026-01-02T03:04:05Z", "f")
    assert [record.id for record in parse_keys(after, "f") if record.revoked is not None] == [key_id]
    assert after.count("\N{GRINNING FACE}") == text.count("\N{GRINNING FACE}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[{{sha256: {one}, owner: x}}]", "f: keys can be added to a list in block style only"),
        ("- {{sha256: {one}, owner: x}}\n...\n", "f: no key can be added after the list's end"),
    ],
)
def test_a_file_that_takes_no_further_record_is_left_alone(text: str, message: str) -> None:
    fields = {"id": "new", "sha256": hashed("new"), "owner": "x"}
    with pytest.raises(ConfigError) as error:
        with_record(text.format(one=hashed("one")), fields, "f")
    assert str(error.value).startswith(message)
