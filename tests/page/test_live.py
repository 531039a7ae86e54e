"""The stream: what is shown is live, or says that it is not; and however much happens, the page stays small."""

from itertools import pairwise
from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.e2e.model_server import ModelServer
from tests.page.browser import Tab, tab
from tests.page.conftest import Serve, Site
from tests.processes import TOKEN, free_port

_LOADS = """
performance.getEntriesByType("resource")
  .filter((entry) => entry.name.endsWith("/summary"))
  .map((entry) => entry.startTime)
"""


def test_a_proxy_that_is_gone_shows_and_one_that_is_back_asks_to_sign_in(
    browser: Browser, serve: Serve, upstream: ModelServer, tmp_path: Path
) -> None:
    port = free_port()
    site = serve(listen={"admin": f"127.0.0.1:{port}"})
    site.ask("198.51.100.1")
    with tab(browser, site.origin) as made:
        made.allowed += ["ERR_", "401"]
        page = made.sign_in(TOKEN)
        expect(page.get_by_role("status").filter(has_text="Live")).to_be_visible()
        assert site.proxy.process.stop() == 0
        expect(page.get_by_role("status").filter(has_text="Stale")).to_be_visible()
        expect(page.get_by_role("main")).to_have_class("stale")
        expect(page.get_by_role("heading", level=1)).to_have_text("No attack is under way")  # what was known stays
        serve(listen={"admin": f"127.0.0.1:{port}"})
        expect(page.get_by_label("Operator token")).to_be_visible()


def test_a_stream_that_breaks_is_taken_up_again(site: Site, view: Tab) -> None:
    view.allowed.append("ERR_")
    page = view.sign_in(TOKEN)
    live, stale = (page.get_by_role("status").filter(has_text=word) for word in ("Live", "Stale"))
    expect(live).to_be_visible()
    page.context.set_offline(True)
    expect(stale).to_be_visible()
    site.ask("203.0.113.9", rows=20)
    page.context.set_offline(False)
    expect(live).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_text("1 attack under way on fashion")


def test_a_flood_of_events_is_few_loads_and_a_small_page(site: Site, view: Tab) -> None:
    page = view.sign_in(TOKEN)
    expect(page.get_by_role("heading", level=1)).to_have_text("No attack is under way")
    for at in range(80):
        site.ask(f"203.0.113.{at}", rows=20)
    expect(page.get_by_role("heading", level=1)).to_have_text("80 attacks under way on fashion")
    loads: list[float] = page.evaluate(_LOADS)
    apart = [later - sooner for sooner, later in pairwise(loads)]
    assert all(gap > 1900 for gap in apart), apart
    assert page.evaluate("document.querySelectorAll('*').length") < 1200
    page.evaluate("location.hash = '#/callers'")
    rows = page.get_by_role("table").get_by_role("rowheader")
    expect(rows).to_have_count(50)
    page.get_by_role("link", name="Next").click()
    expect(rows).to_have_count(30)
