"""Writes the tables of an earlier `make drill` into the README, between its two marks.

python -m benchmarks.drill.readme [build/drill.json]
"""

import sys
from pathlib import Path

from proxy.drill.report import markdown
from proxy.drill.results import Results

README = Path("README.md")
BEGIN, END = "<!-- make drill -->", "<!-- end -->"


def written(text: str, tables: str) -> str:
    """The README's text with these tables between the marks.

    Raises:
        ValueError: a mark is missing.
    """
    before, begun, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not begun or not ended:
        raise ValueError(f"{README} needs {BEGIN} and {END}, each in a line of its own, where the tables go")
    return f"{before}{BEGIN}\n\n{tables}\n{END}{after}"


def main() -> None:
    """Runs it."""
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "build/drill.json")
    README.write_text(written(README.read_text(), markdown(Results.read(path))))


if __name__ == "__main__":
    main()
