"""A short run of every target: its corpus, its seeds and some hundred mutations of them, the same each time."""

import gc
import logging

import pytest

from tests.fuzz.driver import fuzz
from tests.fuzz.process import give_back
from tests.fuzz.targets import TARGETS

INPUTS = {"defenses": 60, "config": 100, "tfrecord": 200, "proxy": 150, "admin": 100}
OTHERS = 1000


@pytest.mark.timeout(300)  # on a busy machine; a few seconds each otherwise
@pytest.mark.parametrize("name", list(TARGETS))
def test_nothing_that_others_send_breaks_it(name: str) -> None:
    give_back()
    gc.freeze()  # what earlier tests left in the process is not looked through again and again
    logging.disable(logging.CRITICAL)
    try:
        with TARGETS[name]() as target:
            report = fuzz(target, INPUTS.get(name, OTHERS), seed=0)
    finally:
        logging.disable(logging.NOTSET)
        gc.unfreeze()
    assert report.findings == {}
    assert len(report.verdicts) > 1, "all inputs were judged alike: they do not reach what they are meant for"
