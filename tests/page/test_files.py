"""The page's files: nothing from another host, nothing inline, no HTML made of text, each small."""

import re
import urllib.request
from importlib.resources import files
from pathlib import Path

import pytest

from tests.page.conftest import Site
from tests.processes import admin_page

PAGE = Path(str(files("proxy.admin").joinpath("page")))
SCRIPTS = sorted(PAGE.rglob("*.js"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(PAGE)))
def test_scripts(script: Path) -> None:
    text = script.read_text()
    makers = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser|\.style\b|cssText"
    assert not re.findall(makers, text)
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert len(text.splitlines()) <= 200
    assert text.startswith("// "), "each says what it is for"
    for name in re.findall(r'from "(.*?)"', text):
        assert name.startswith("."), name
        assert (script.parent / name).is_file(), name


def test_the_document_has_nothing_inline_and_nothing_from_elsewhere() -> None:
    text = (PAGE / "index.html").read_text()
    assert not re.findall(r"\son\w+=|style=|<style|https?://|<script(?![^>]*src=)", text)
    assert not re.findall(r"@import|url\(", (PAGE / "page.css").read_text())


def test_the_policy_is_strict(shared: Site) -> None:
    with urllib.request.urlopen(f"{shared.origin}/", timeout=5) as answer:
        policy = dict(part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert (policy["script-src"], policy["style-src"], policy["connect-src"]) == ("'self'",) * 3
        assert (policy["base-uri"], policy["frame-ancestors"]) == ("'none'", "'none'")
        assert policy["form-action"] == "'self'"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "fashion" not in admin_page(shared.proxy.admin, "/"), "the document holds nothing of the proxy's"
