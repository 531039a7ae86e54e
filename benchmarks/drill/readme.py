"""Writes the tables of an earlier `make drill` into the README, between its two marks.

python -m benchmarks.drill.readme [build/drill.json]
"""

import sys
from pathlib import Path

from proxy.drill.report import markdown
from proxy.drill.results import Results

README = Path("README.md")
BEGIN, END = "<!-- make drill -->", "<!-- end -->"


def written(text: str, tables: str, begin: str = BEGIN, end: str = END) -> str:
    """A page's text with these tables between its two marks.

    Raises:
        ValueError: a mark is missing.
    """
    before, begun, rest = text.partition(begin)
    _, ended, after = rest.partition(end)
    if not begun or not ended:
        raise ValueError(f"the page needs {begin} and {end}, each in a line of its own, where the tables go")
    return f"{before}{begin}\n\n{tables}\n{end}{after}"


def main() -> None:
    """Runs it."""
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "build/drill.json")
    README.write_text(written(README.read_text(), markdown(Results.read(path))))


if __name__ == "__main__":
    main()
