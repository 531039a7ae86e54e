"""The page for everybody: with a screen reader, by keyboard, on a phone, in the dark."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.page.browser import Tab, tab
from tests.page.conftest import Site
from tests.processes import TOKEN

ATTACKER = "203.0.113.7"
VIEWS = ("", "attacks", "callers", "models", "events")
RULES = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
}


@pytest.fixture(scope="module")
def attacked(shared: Site) -> Site:
    shared.ask("198.51.100.1")
    shared.ask(ATTACKER, rows=20)
    return shared


@pytest.fixture(params=["light", "dark"])
def seen(request: pytest.FixtureRequest, browser: Browser, attacked: Site) -> Iterator[Tab]:
    options: dict[str, Any] = {"color_scheme": request.param, "viewport": {"width": 1280, "height": 800}}
    with tab(browser, attacked.origin, **options) as made:
        yield made


@pytest.fixture
def phone(browser: Browser, attacked: Site) -> Iterator[Tab]:
    with tab(browser, attacked.origin, viewport={"width": 360, "height": 740}, has_touch=True) as made:
        yield made


def accessible(page: Page, where: str) -> None:
    found = Axe().run(page, options=RULES).response["violations"]
    said = [(each["id"], [node["html"][:160] for node in each["nodes"]][:3]) for each in found]
    assert not said, (where, said)


def settled(page: Page, view: str) -> None:
    page.evaluate("view => { location.hash = `#/${view}`; }", view)
    title = view.split("?")[0].capitalize() or "Overview"
    if title not in ("Caller", "Attack"):
        expect(page).to_have_title(re.compile(title))
    expect(page.get_by_text("Loading")).to_have_count(0)
    expect(page.get_by_role("main").get_by_role("region").first).to_be_visible()


def test_no_rule_of_wcag_is_broken_that_a_machine_can_check(seen: Tab) -> None:
    seen.open()
    expect(seen.page.get_by_label("Operator token")).to_be_visible()
    accessible(seen.page, "login")
    page = seen.sign_in(TOKEN)
    expect(page.get_by_role("heading", level=1)).to_contain_text("under way")
    for view in VIEWS:
        settled(page, view)
        accessible(page, view)
    settled(page, "callers")
    page.get_by_role("link", name=f"forwarded_for:{ATTACKER}").click()
    expect(page.get_by_role("button", name="Block", exact=True)).to_be_visible()
    page.get_by_text("As a table").first.click()
    accessible(page, "caller")
    page.get_by_role("link", name="The whole attack").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Extraction")
    accessible(page, "attack")
    page.go_back()
    page.get_by_role("button", name="Block", exact=True).click()
    accessible(page, "dialog")


def test_by_keyboard_alone(attacked: Site, desk: Tab) -> None:
    desk.open()
    page = desk.page
    expect(page.get_by_label("Operator token")).to_be_focused()
    page.keyboard.type(TOKEN)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("under way")
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_contain_text("under way")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == f"forwarded_for:{ATTACKER}":
            break
    outline: str = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid", "the focus is visible"
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"forwarded_for:{ATTACKER}")
    expect(page.get_by_role("main")).to_be_focused()
    reached: list[str] = []
    while "Block" not in reached:
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.textContent"))
        assert len(reached) < 20, reached
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Reason")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("button", name="Block", exact=True)).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.type("by keyboard")
    for _ in range(2):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("button", name="Close")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_contain_text("Blocked by ada")


def test_on_a_phone(phone: Tab) -> None:
    page = phone.sign_in(TOKEN)
    expect(page.get_by_role("heading", level=1)).to_contain_text("under way")
    for view in VIEWS:
        settled(page, view)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, view
        small = page.evaluate(
            "[...document.querySelectorAll('main button, main .button, main input, main select, nav a')]"
            ".filter((each) => each.getBoundingClientRect().height < 24).map((each) => each.outerHTML)"
        )
        assert not small, "WCAG 2.2 target size"
    settled(page, "callers")
    accessible(page, "callers on a phone")
    page.get_by_role("link", name=f"forwarded_for:{ATTACKER}").click()
    page.get_by_role("button", name="Release", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    box = dialog.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 360


def test_the_dark_is_dark(browser: Browser, attacked: Site) -> None:
    shades = {}
    for scheme in ("light", "dark"):
        options: dict[str, Any] = {"color_scheme": scheme}
        with tab(browser, attacked.origin, **options) as made:
            made.open()
            shade = made.page.evaluate("getComputedStyle(document.body).backgroundColor")
            shades[scheme] = sum(map(int, re.findall(r"\d+", shade)[:3]))
    assert shades["dark"] < 120
    assert shades["light"] > 600


def test_updates_leave_focus_and_selection_alone(attacked: Site, desk: Tab) -> None:
    page = desk.sign_in(TOKEN, "#/callers")
    link = page.get_by_role("link", name="forwarded_for:198.51.100.1")
    link.focus()
    attacked.ask("203.0.113.8", rows=20)
    expect(page.get_by_role("link", name="forwarded_for:203.0.113.8")).to_be_visible()
    expect(link).to_be_focused()
