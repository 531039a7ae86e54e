"""What operators do with the page, and what it does to callers."""

import re

import grpc
import pytest
from playwright.sync_api import Page, expect

from tests.page.browser import Tab
from tests.page.conftest import VIEWER_TOKEN, Site
from tests.processes import TOKEN


def open_caller(page: Page, caller: str) -> None:
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Callers").click()
    page.get_by_role("table").get_by_role("link", name=f"forwarded_for:{caller}").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"forwarded_for:{caller}")


def decide(page: Page, action: str, confirm: str, reason: str) -> str:
    """Goes through the dialog; the audit event's id."""
    page.get_by_role("button", name=action, exact=True).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Reason").fill(reason)
    dialog.get_by_role("button", name=confirm).click()
    expect(dialog.get_by_role("heading")).to_have_text("Done, and in the audit log")
    expect(dialog).to_contain_text(reason)
    event = dialog.locator("code").inner_text()
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_be_hidden()
    return event


def test_an_attack_appears_without_a_reload(site: Site, view: Tab, caller: str) -> None:
    site.ask("198.51.100.1")
    page = view.sign_in(TOKEN)
    expect(page.get_by_role("heading", level=1)).to_have_text("No attack is under way")
    expect(page.get_by_role("status").filter(has_text="Live")).to_be_visible()
    page.evaluate("window.sameDocument = true")
    site.ask(caller, rows=20)
    expect(page.get_by_role("heading", level=1)).to_have_text("1 attack under way on fashion")
    lanes = page.get_by_role("region", name="Attacks as they unfold")
    expect(lanes.get_by_role("listitem")).to_have_count(1)
    expect(lanes).to_contain_text("Extraction on fashion")
    expect(lanes).to_contain_text("block")
    expect(lanes.get_by_role("link", name=f"forwarded_for:{caller}")).to_be_visible()
    expect(page.locator("#announcer")).to_contain_text("Extraction on fashion: block")
    expect(page.get_by_role("region", name="Latest events")).to_contain_text("AML.T0024.002")
    assert page.evaluate("window.sameDocument"), "the page was never loaded again"


def test_an_operator_blocks_a_caller_and_releases_it(shared: Site, desk: Tab, caller: str) -> None:
    assert shared.ask(caller).code is grpc.StatusCode.OK
    page = desk.sign_in(TOKEN)
    open_caller(page, caller)
    expect(page.get_by_role("main")).to_contain_text("In good standing")

    event = decide(page, "Block", "Block caller", "hunting since three")
    refused = shared.ask(caller)
    assert refused.code is grpc.StatusCode.PERMISSION_DENIED
    assert "hunting" not in refused.details, "the caller learns nothing of why"
    expect(page.get_by_role("main")).to_contain_text("Blocked by ada")
    expect(page.get_by_role("region", name="What happened to it")).to_contain_text("hunting since three")
    assert shared.ask("198.51.100.1").code is grpc.StatusCode.OK, "nobody else is"

    assert decide(page, "Release", "Release caller", "was a test of ours") != event
    assert shared.ask(caller).code is grpc.StatusCode.OK
    expect(page.get_by_role("main")).to_contain_text("In good standing")
    expect(page.get_by_role("button", name="Block", exact=True)).to_be_visible()


def test_whom_detection_blocked_can_be_released_and_immunised(shared: Site, desk: Tab, caller: str) -> None:
    shared.ask(caller, rows=20)
    page = desk.sign_in(TOKEN)
    open_caller(page, caller)
    evidence = page.get_by_role("region", name="Extraction: the evidence")
    expect(evidence).to_contain_text("rows.count")
    expect(evidence).to_contain_text("as good as certain")
    assert shared.ask(caller).code is grpc.StatusCode.PERMISSION_DENIED
    decide(page, "Immunise", "Immunise caller", "our own load test")
    assert shared.ask(caller, rows=20).code is grpc.StatusCode.OK
    expect(page.get_by_role("button", name="End immunity")).to_be_visible()
    decide(page, "End immunity", "End immunity", "the load test is over")
    decide(page, "Release", "Release caller", "and what it did does not count")
    assert shared.ask(caller).code is grpc.StatusCode.OK


def test_a_reason_is_needed_and_what_the_proxy_refuses_is_said(shared: Site, desk: Tab, caller: str) -> None:
    shared.ask(caller)
    page = desk.sign_in(TOKEN)
    open_caller(page, caller)
    page.get_by_role("button", name="Block", exact=True).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Reason").fill("   ")
    dialog.get_by_role("button", name="Block caller").click()
    expect(dialog.get_by_role("alert")).to_contain_text("Say why")
    expect(dialog.get_by_label("Reason")).to_be_focused()
    assert shared.ask(caller).code is grpc.StatusCode.OK
    desk.page.context.clear_cookies()
    desk.allowed.append("401")
    dialog.get_by_label("Reason").fill("now with a reason, and without a session")
    dialog.get_by_role("button", name="Block caller").click()
    expect(page.get_by_label("Operator token")).to_be_visible()
    assert shared.ask(caller).code is grpc.StatusCode.OK


def test_a_viewer_sees_all_and_has_no_buttons(shared: Site, desk: Tab, caller: str) -> None:
    shared.ask(caller, rows=20)
    page = desk.sign_in(VIEWER_TOKEN)
    open_caller(page, caller)
    expect(page.get_by_role("region", name="Extraction: the evidence")).to_be_visible()
    expect(page.get_by_role("banner")).to_contain_text("viewer")
    expect(page.get_by_role("main").get_by_role("button")).to_have_count(0)


def test_signing_in_and_out(shared: Site, desk: Tab, caller: str) -> None:
    desk.allowed.append("401")
    desk.open()
    page = desk.page
    page.get_by_label("Operator token").fill("no token of anybody")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("That token is not valid.")
    desk.sign_in(TOKEN)
    page.reload()
    expect(page.get_by_role("banner")).to_contain_text("ada")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Operator token")).to_be_visible()
    page.reload()
    expect(page.get_by_label("Operator token")).to_be_visible()
    assert page.evaluate("[document.cookie, sessionStorage.length, localStorage.length].join()") == ",0,0"


@pytest.mark.parametrize("view_name", ["Attacks", "Callers", "Models", "Events"])
def test_each_view_shows_what_the_proxy_knows(shared: Site, desk: Tab, caller: str, view_name: str) -> None:
    shared.ask(caller, rows=20)
    shared.ask("198.51.100.1")
    page = desk.sign_in(TOKEN)
    expect(page.get_by_role("heading", level=1)).to_contain_text("under way on fashion")
    page.get_by_role("navigation", name="Main").get_by_role("link", name=view_name).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(view_name)
    expect(page).to_have_title(re.compile(view_name))
    expected = {
        "Attacks": "AML.T0024.002",
        "Callers": "forwarded_for:198.51.100.1",
        "Models": "enforce",
        "Events": "ada signed in",
    }
    expect(page.get_by_role("table")).to_contain_text(expected[view_name])


def test_filters_and_sorting_are_in_the_address(shared: Site, desk: Tab) -> None:
    for at in range(1, 4):
        shared.ask(f"198.18.7.{at}", rows=at)
    page = desk.sign_in(TOKEN, "#/callers?q=198.18.7")
    rows = page.get_by_role("table").get_by_role("rowheader")
    expect(rows).to_have_count(3)
    page.get_by_role("link", name="Rows", exact=True).click()
    expect(rows.first).to_contain_text("198.18.7.3")
    page.get_by_role("link", name="Rows").click()
    expect(rows.first).to_contain_text("198.18.7.1")
    expect(page.get_by_role("columnheader", name="Rows")).to_have_attribute("aria-sort", "ascending")
    page.get_by_label("Name or group contains").fill("198.18.7.2")
    expect(rows).to_have_count(1)
    assert "q=198.18.7.2" in page.url
    page.reload()
    expect(rows).to_have_count(1)
    expect(page.get_by_label("Name or group contains")).to_have_value("198.18.7.2")
    page.go_back()
    expect(rows).to_have_count(3)
