"""A short run of every target: its corpus, its seeds and a few thousand mutations of them, the same each time."""

import logging

import pytest

from tests.fuzz.driver import fuzz
from tests.fuzz.process import give_back
from tests.fuzz.targets import TARGETS

INPUTS = {"defenses": 300, "config": 400, "tfrecord": 400, "proxy": 300, "admin": 200}
OTHERS = 1500


@pytest.mark.parametrize("name", list(TARGETS))
def test_nothing_that_others_send_breaks_it(name: str) -> None:
    give_back()
    logging.disable(logging.CRITICAL)
    try:
        with TARGETS[name]() as target:
            report = fuzz(target, INPUTS.get(name, OTHERS), seed=0)
    finally:
        logging.disable(logging.NOTSET)
    assert report.findings == {}
    assert len(report.verdicts) > 1, "all inputs were judged alike: they do not reach what they are meant for"
