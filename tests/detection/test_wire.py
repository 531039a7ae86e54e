"""Observations travel exactly, and damaged ones are told from whole ones."""

import json
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.observation import DIMENSIONS, FINGERPRINT, Answers, Features, Observation
from proxy.detection.wire import UndecodableError, decode, encode
from tests.detectors.made import natural, observed

TEXT = st.text(max_size=12)
ODD = np.array([0.0, -0.0, 1e-45, 1e38, -1e38, 1.5], np.float32)


@st.composite
def observations(draw: st.DrawFn) -> Observation:
    rows, rng = draw(st.integers(0, 4)), np.random.default_rng(draw(st.integers(0, 2**32)))
    hashes = np.zeros((rows, FINGERPRINT), np.uint64)
    for row in range(rows):
        count = draw(st.sampled_from([0, 1, FINGERPRINT - 1, FINGERPRINT]))
        hashes[row, :count] = np.sort(rng.integers(1, 2**64, count, dtype=np.uint64, endpoint=False))
    embeddings = rng.normal(0, 1, (rows, DIMENSIONS)).astype(np.float32)
    embeddings[:, : len(ODD)] = ODD
    shares = np.where(rng.random((2, rows)) < 0.2, np.nan, rng.random((2, rows))).astype(np.float32)
    return Observation(
        draw(st.floats(0, 1e10)),
        draw(TEXT),
        tuple(draw(st.lists(TEXT, max_size=3))),
        "m",
        draw(TEXT),
        Features(rng.integers(0, 2**64, rows, dtype=np.uint64, endpoint=False), hashes, embeddings),
        Answers(rng.integers(-(2**31), 2**31, rows).astype(np.int32), *shares),
    )


def same(one: Observation, other: Observation) -> None:
    assert [getattr(one, name) for name in ("time", "caller", "groups", "model", "signature")] == [
        getattr(other, name) for name in ("time", "caller", "groups", "model", "signature")
    ]
    for part in ("features", "answers"):
        for field in fields(getattr(one, part)):
            here, there = getattr(getattr(one, part), field.name), getattr(getattr(other, part), field.name)
            np.testing.assert_array_equal(here, there)
            assert here.dtype == there.dtype


@given(st.lists(observations(), min_size=1, max_size=5))
def test_what_is_sent_arrives(batch: list[Observation]) -> None:
    for sent, found in zip(batch, decode(encode(batch), "m"), strict=True):
        same(sent, found)


BATCH = [
    observed(rows, float(at), f"c{at}") for at, rows in enumerate(np.split(natural(6, np.random.default_rng(0)), 3))
]
WHOLE = encode(BATCH)


@given(st.integers(0, len(WHOLE) - 1), st.binary(min_size=1, max_size=8))
def test_damage_is_told_or_harmless(at: int, other: bytes) -> None:
    for damaged in (WHOLE[:at], WHOLE[:at] + other + WHOLE[at + len(other) :], WHOLE + other):
        try:
            found = decode(damaged, "m")
        except UndecodableError:
            continue
        assert len(damaged) == len(WHOLE)
        assert all(np.isfinite(each.features.embeddings).all() for each in found)


@given(st.binary(max_size=200))
def test_anything_else_is_told(data: bytes) -> None:
    with pytest.raises(UndecodableError):
        decode(data, "m")


def test_a_later_version_is_told() -> None:
    with pytest.raises(UndecodableError, match="this version reads 1"):
        decode(WHOLE[:2] + b"\2" + WHOLE[3:], "m")


@pytest.mark.parametrize("rows", [-1, 20_000, 10**30, 1.5e300, float("inf")])
def test_claims_are_not_believed(rows: Any) -> None:
    header = json.dumps({"strings": ["c"], "calls": [[0, 0, [], 0, rows]]}).encode()
    with pytest.raises(UndecodableError):
        decode(WHOLE[:4] + len(header).to_bytes(4, "little") + header, "m")


def test_no_input_travels() -> None:
    row = np.full((1, 12), 123.456, np.float32)
    assert row.tobytes()[:4] not in encode([observed(row, 0.0, "c")])
