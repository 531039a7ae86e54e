"""Lists of the API as the page asks for them: whole whatever the page's size, the strongest first."""

import json
import time
from typing import Any

from tests.page.conftest import Serve, Site
from tests.processes import admin_page

FOUND, QUIET = 3, 7


def get(site: Site, path: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(admin_page(site.proxy.admin, f"/api/v1{path}"))
    return found


def test_pages_of_callers_fit_together(serve: Serve) -> None:
    site = serve()
    for at in range(QUIET):
        site.ask(f"198.51.100.{at}")
    for at in range(FOUND):
        site.ask(f"203.0.113.{at}", rows=20)
    deadline = time.monotonic() + 20
    while get(site, "/summary")["standing"] < FOUND:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    pages = [get(site, f"/callers?limit=2&offset={offset}") for offset in range(0, FOUND + QUIET, 2)]
    assert {page["total"] for page in pages} == {FOUND + QUIET}
    names = [row["name"].removeprefix("forwarded_for:") for page in pages for row in page["callers"]]
    assert len(names) == len(set(names)) == FOUND + QUIET
    assert {name.rpartition(".")[0] for name in names[:FOUND]} == {"203.0.113"}
    assert names[FOUND:] == [f"198.51.100.{at}" for at in reversed(range(QUIET))], "whoever called last comes first"
    assert get(site, "/callers?limit=5&offset=50")["callers"] == []
    slow = get(site, "/callers?limit=200&sort=score&order=desc&q=forwarded")["callers"]
    assert [row["name"] for row in slow] == [f"forwarded_for:{name}" for name in names], "as when all are looked at"


def test_the_summary_says_whether_something_is_happening(serve: Serve) -> None:
    site = serve()
    quiet = get(site, "/summary")
    assert (quiet["standing"], quiet["acting"], quiet["strongest"], quiet["last_attack"]) == (0, 0, [], None)
    for at in range(12):
        site.ask(f"203.0.113.{at}", rows=20)
    deadline = time.monotonic() + 20
    while (found := get(site, "/summary"))["standing"] < 12:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert (found["acting"], found["models"], len(found["strongest"])) == (12, ["fashion"], 8)
    assert {each["step"] for each in found["strongest"]} == {"block"}
    assert found["last_attack"] <= found["now"]
