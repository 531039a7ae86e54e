"""A real Chromium without a window, and a tab that takes note of everything that a page must not do."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, Request, expect, sync_playwright

from tests.programs import program

WAIT = 15_000
"""Milliseconds in which whatever is waited for has to come, on a busy machine."""
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--font-render-hinting=none",
)
_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.effectiveDirective} ${event.blockedURI} ${event.sourceFile}`));
"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser with a profile of its own, which goes with the block."""
    expect.set_options(timeout=WAIT)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program("chromium", "chromium", "chromium-browser"), args=list(ARGUMENTS)
        )
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Tab:
    """One page of the browser, in a context (cookies) of its own.

    Attributes:
        page: to drive.
        origin: scheme, host and port of the admin port; nothing else may be asked.
        allowed: texts of console errors that a test expects, such as a refused login's status.
    """

    page: Page
    origin: str
    allowed: list[str] = field(default_factory=list)
    _wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(WAIT)
        self.page.add_init_script(_VIOLATIONS)
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self._wrong.append(f"error: {error}"))
        self.page.on("dialog", self._opened)
        self.page.on("request", self._asked)

    def open(self, fragment: str = "#/") -> None:
        """Loads the page at a fragment of its address."""
        self.page.goto(f"{self.origin}/{fragment}")

    def sign_in(self, token: str, fragment: str = "#/") -> Page:
        """Loads the page and signs in."""
        self.open(fragment)
        self.page.get_by_label("Operator token").fill(token)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("button", name="Sign out").wait_for()
        return self.page

    def check(self) -> None:
        """Nothing went wrong that the test did not expect."""
        violations: list[str] = self.page.evaluate("window.violations ?? []")
        wrong = [each for each in self._wrong if not any(text in each for text in self.allowed)]
        assert not wrong + violations, wrong + violations

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._wrong.append(f"console: {message.text} {message.location.get('url', '')}")

    def _opened(self, dialog: Dialog) -> None:
        self._wrong.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((f"{self.origin}/", "data:")):
            self._wrong.append(f"asked another host: {request.url}")


@contextmanager
def tab(browser: Browser, origin: str, **options: Any) -> Iterator[Tab]:
    """A tab; the block's end checks that nothing went wrong in it.

    Args:
        browser: whose.
        origin: as in `Tab`.
        options: of the context, such as viewport and color_scheme.
    """
    context = browser.new_context(**options)
    try:
        made = Tab(context.new_page(), origin)
        yield made
        made.check()
    finally:
        context.close()
