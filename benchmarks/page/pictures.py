"""The pictures of the page in docs/, taken anew: a deployment in small, two minutes into an attack.

    python -m benchmarks.page.pictures [--folder docs] [--seconds 150]

Needs chromium and Fashion-MNIST (Debian's `dataset-fashion-mnist`). The page's fonts are the system's; the pictures in
docs/ were taken where Inter is installed (Debian's `fonts-inter`).
"""

import argparse
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Browser, Page

from benchmarks.page import fashion
from benchmarks.page.stage import Play, Stage, stage
from tests.page.browser import chromium, tab
from tests.processes import TOKEN

SIZES = {
    "light": {"viewport": {"width": 1280, "height": 1010}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 1010}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light", "device_scale_factor": 2},
}
LADDER = [
    {"step": "observe", "score": 2, "ttl": 600},
    {"step": "coarsen", "score": 2.5, "ttl": 1800},
    {"step": "block", "score": 3, "ttl": 3600},
]
SEARCHER, COPIER, THIEF = "203.0.113.7", "198.51.100.23", "192.0.2.61"
RING = [f"203.0.113.{at}" for at in (88, 112, 141, 190)]


def play(on: Stage) -> Play:
    """Benign callers; natural images, many of them; a search by one, another shared by four; noise, seen in shadow."""
    rng = np.random.default_rng(7)
    usual = fashion.images("t10k")[1000:]
    scene = Play(on, "image")

    def draw(dice: random.Random) -> fashion.Rows:
        return usual[[dice.randrange(len(usual)) for _ in range(dice.randint(1, 3))]]

    for at in range(12):
        scene.benign("fashion", f"10.{20 + at}.0.{5 + 7 * at}", draw, pause=2.5, seed=at)
    for at in range(4):
        scene.benign("returns", f"10.{80 + at}.0.{9 + 5 * at}", draw, pause=4, seed=100 + at)
    noise = [rng.uniform(0, 1, (6, 28, 28, 1)).astype(np.float32) for _ in range(400)]
    natural = fashion.images("train")[20_000:]
    scene.attack("fashion", [COPIER], np.array_split(natural[:12_000], 1000), pause=0.5, after=20)
    scene.attack("fashion", [SEARCHER], fashion.search(3, 2000), pause=0.15, after=45)
    scene.attack("returns", [THIEF], noise, pause=0.8, after=70)
    scene.attack("fashion", RING, fashion.search(40, 2000), pause=0.15, after=90)
    return scene


def take(browser: Browser, on: Stage, folder: Path) -> None:
    """The overview in all sizes, and a caller."""
    for name, options in SIZES.items():
        shown: dict[str, Any] = dict(options)
        with tab(browser, f"http://{on.proxy.admin}", **shown) as view:
            page = view.sign_in(TOKEN)
            page.get_by_role("heading", level=1, name="under way").wait_for()
            shoot(page, folder / f"page-{name}.png")
            if name != "light":
                continue
            page.get_by_role("link", name=f"forwarded_for:{COPIER}").first.click()
            page.get_by_text("Answers that a copy foretells").first.wait_for()
            shoot(page, folder / "page-caller.png")


def shoot(page: Page, path: Path) -> None:
    """What is seen of a page that has come to rest, with nothing in focus."""
    page.wait_for_timeout(2500)
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    page.screenshot(path=path)
    print(path, path.stat().st_size // 1000, "KB")


def main() -> None:
    """Plays, waits and takes the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("docs"))
    parser.add_argument("--seconds", type=float, default=150, help="of the play before the first picture")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        watched = {
            "mode": "enforce",
            "profile": str(fashion.write_profile(folder / "profile.json")),
            "policy": {"evasion": {"answer": "refuse", "ladder": LADDER}},
        }
        rounded = {"semantics": "probabilities", "steps": [{"kind": "round", "decimals": 2}]}
        models = {
            "fashion": {"detection": watched, "outputs": {"probabilities": rounded}},
            "returns": {
                "detection": watched | {"mode": "shadow"},
                "limits": [{"by": "caller", "rate": "1000/m", "mode": "shadow"}],
            },
        }
        with stage(folder, fashion.answer, models) as on, chromium() as browser:
            scene = play(on)
            time.sleep(asked.seconds)
            take(browser, on, asked.folder)
            scene.stop()


if __name__ == "__main__":
    main()
