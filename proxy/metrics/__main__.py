"""`python -m proxy.metrics` writes the table of docs/metrics.md."""

from proxy.metrics import table

print(table(), end="")  # noqa: T201
