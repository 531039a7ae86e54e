"""What the soak calls flat."""

import pytest

from benchmarks.soak.flat import Figure, judged
from benchmarks.soak.report import table

FILES = Figure("files", "open files", 3.0)


@pytest.mark.parametrize(
    ("values", "flat"),
    [
        ([1, 50, 90, 100, 100, 100, 100, 101, 100], True),
        ([100, 100, 100, 100, 100, 100, 104, 104, 104], True),
        ([100, 100, 100, 100, 100, 100, 106, 106, 106], False),
        ([4, 4, 4, 4, 4, 4, 7, 7, 7], True),
        ([4, 4, 4, 4, 4, 4, 8, 8, 8], False),
        ([100, 100, 100, 100, 100, 100, 100, 999, 100], True),
    ],
    ids=["filled at first", "within a twentieth", "rises", "by the slack", "by more", "one moment"],
)
def test_the_last_third_is_held_against_the_middle_one(values: list[float], flat: bool) -> None:
    found = judged(FILES, values)
    assert found.flat is flat
    assert found.ends == (values[0], values[-1])


def test_the_table_says_start_end_and_verdict() -> None:
    values = [20.0, 21.0, 22.0, 30.0, 30.0, 40.0]
    intervals = [{"second": at, "ended": {"OK": 8, "CANCELLED": 2}, "files": each} for at, each in enumerate(values, 1)]
    said = table(intervals, [judged(FILES, values)])
    assert "60 calls in 6 s: OK 48 (80.0%), CANCELLED 12 (20.0%)." in said
    assert "| open files | 20 | 20.5 | 26 | 35 | 40 | 20 | 40 | NO |" in said
    with pytest.raises(ValueError, match="soak for longer"):
        judged(FILES, values[:2])
