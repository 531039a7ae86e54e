"""`python -m proxy.metrics docs/metrics.md` writes the page's tables anew."""

import sys
from pathlib import Path

from proxy.metrics.catalogue import documented

if len(sys.argv) != 2:
    sys.exit("name the page: python -m proxy.metrics docs/metrics.md")
page = Path(sys.argv[1])
page.write_text(documented(page.read_text(encoding="utf-8")), encoding="utf-8")
