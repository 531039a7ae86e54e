"""The written reference is that of the models."""

from pathlib import Path

from proxy.config.reference import reference

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_page_has_the_reference() -> None:
    assert reference() in PAGE.read_text(), "run `python -m proxy.config.reference` and put it there"
