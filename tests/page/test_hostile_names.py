"""Names that others chose stay text: in the page, whatever is in them, and still readable."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.page.browser import Tab, tab
from tests.page.conftest import MODEL, Serve, Site, detection
from tests.processes import TOKEN

MARKUP = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
OVERRIDE = "txt.\u202egnp.live\u202c\u2066\u200b"
LINES = "first\nsecond\r\n\tthird\x00\x1b[31m"
LONG = "long-" + "x" * 246 + "-ends"
"""As long as the configuration lets a name be."""
ENDLESS = "long-" + "x" * 9_990 + "-ends"
NAMES = {"markup": MARKUP, "override": OVERRIDE, "lines": LINES, "long": LONG}


@pytest.fixture
def hostile(serve: Serve, tmp_path: Path) -> Site:
    """Models with such names, each attacked."""
    site = serve({name: {"detection": detection(tmp_path)} for name in (MODEL, *NAMES.values())})
    for at, name in enumerate(NAMES.values()):
        site.ask(f"203.0.113.{at}", rows=20, model=name)
    return site


@pytest.fixture
def hostile_view(browser: Browser, hostile: Site) -> Iterator[Tab]:
    with tab(browser, hostile.origin) as made:
        yield made


def harmless(page: Page) -> None:
    """Nothing became an element, nothing turns its surroundings around, nothing is wider than the window."""
    assert page.locator("main img, main script, main iframe").count() == 0
    assert "owned" not in page.title()
    text = page.locator("main").inner_text()
    assert not any(letter in text for letter in "\u202e\u202c\u2066\u200b\x00\x1b"), text
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("width", [1280, 360])
def test_in_every_view(hostile_view: Tab, width: int) -> None:
    page = hostile_view.page
    page.set_viewport_size({"width": width, "height": 800})
    hostile_view.sign_in(TOKEN)
    expect(page.get_by_role("heading", level=1)).to_have_text("4 attacks under way on 4 models")
    harmless(page)
    for view in ("Attacks", "Callers", "Models", "Events"):
        page.get_by_role("navigation", name="Main").get_by_role("link", name=view).click()
        expect(page.get_by_role("heading", level=1)).to_have_text(view)
        expect(page.get_by_role("table").first).to_be_visible()
        harmless(page)
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Models").click()
    models = page.get_by_role("table")
    expect(models).to_contain_text("<img src=x onerror=")
    expect(models).to_contain_text("\\u202egnp.live")
    expect(models).to_contain_text("first\\nsecond")


def test_a_long_name_is_short_and_can_be_read_to_its_end(hostile_view: Tab) -> None:
    page = hostile_view.page

    def answered(route: Route) -> None:
        found = route.fetch().json()
        found["models"][0]["name"] = ENDLESS
        route.fulfill(json=found)

    page.route("**/api/v1/models", answered)
    hostile_view.sign_in(TOKEN, "#/models")
    expect(page.get_by_text("(all 256 characters)")).to_be_visible()
    summary = page.get_by_text("(all 10,000 characters)")
    expect(summary).to_be_visible()
    assert len(summary.inner_text()) < 140
    summary.click()
    whole = page.get_by_role("region", name="The whole name of the model")
    expect(whole).to_have_text(ENDLESS)
    box = whole.bounding_box()
    assert box is not None
    assert box["height"] < 220, "in a box that scrolls"


def test_names_are_isolated_from_their_surroundings(hostile_view: Tab) -> None:
    page = hostile_view.sign_in(TOKEN)
    expect(page.get_by_role("heading", level=1)).to_contain_text("4 attacks")
    assert page.locator(".name").count() > 4
    outside = page.evaluate("[...document.querySelectorAll('.name')].filter((each) => each.tagName !== 'BDI').length")
    assert outside == 0


def test_a_hostile_reason_is_text_too(hostile: Site, hostile_view: Tab) -> None:
    page = hostile_view.sign_in(TOKEN, "#/callers")
    page.get_by_role("link", name="forwarded_for:203.0.113.0").click()
    page.get_by_role("button", name="Block", exact=True).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Reason").fill(f"{MARKUP}\u202eevil")
    dialog.get_by_role("button", name="Block caller").click()
    expect(dialog).to_contain_text("<script>")
    assert dialog.locator("img, script").count() == 0
    dialog.get_by_role("button", name="Close").click()
    expect(page.get_by_role("region", name="What happened to it")).to_contain_text("<script>")
    harmless(page)
