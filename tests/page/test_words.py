"""The page has words for whatever the built-in detectors read."""

from detectors.engine import STATISTICS
from tests.page.browser import Tab

SCRIPT = """async (ids) => {
  const { statistic } = await import("/page/words.js");
  return ids.map((id) => statistic(id));
}"""


def test_every_statistic_is_said_in_words(desk: Tab) -> None:
    desk.open()
    said = desk.page.evaluate(SCRIPT, list(STATISTICS))
    for name, words in zip(STATISTICS, said, strict=True):
        assert words["meaning"], name
        assert words["name"] != name
    assert len({words["name"] + words["meaning"] for words in said}) == len(STATISTICS), "no two alike"
    own = desk.page.evaluate(SCRIPT, ["loud.noise"])
    assert own == [{"name": "loud.noise", "meaning": ""}], "an operator's own has its name"
