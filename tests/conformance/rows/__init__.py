"""The rows of the contract, one table a subject. A new row is one entry in its table."""

from tests.conformance.case import Case
from tests.conformance.rows import encodings, examples, inputs, metadata, model_spec, output_filter, status, transport

ROWS: tuple[Case, ...] = (
    *model_spec.ROWS,
    *inputs.ROWS,
    *encodings.ROWS,
    *output_filter.ROWS,
    *metadata.ROWS,
    *status.ROWS,
    *examples.ROWS,
    *transport.ROWS,
)
