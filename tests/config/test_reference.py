"""The written reference is that of the models."""

from pathlib import Path

from defenses.retraining.job import Job
from proxy.config.reference import reference

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_has_the_reference() -> None:
    page = (DOCS / "configuration.md").read_text()
    assert reference() in page, "run `python -m proxy.config.reference` and put it there"


def test_so_has_that_of_the_job() -> None:
    page = (DOCS / "retraining-job.md").read_text()
    assert reference(Job) in page, "run `python -m proxy.retrain.reference` and put it there"
