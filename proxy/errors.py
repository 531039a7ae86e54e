"""How a call is refused: one exception, mapped to a gRPC status in one place (`pipeline`)."""

import grpc

Metadata = tuple[tuple[str, str | bytes], ...]

MAX_DETAILS = 500
"""Characters, of up to twelve bytes each on the wire. Clients take 8 KiB of metadata and may drop what has more (gRPC's
GRPC_ARG_MAX_METADATA_SIZE): the caller would see another status than ours."""


class Rejection(Exception):  # noqa: N818  # an answer, not a fault
    """The proxy's own answer to a call that it does not forward.

    Attributes:
        code: the gRPC status code.
        details: what the caller reads; never a score, a threshold or another caller's affairs. Cut to MAX_DETAILS.
        trailing: trailing metadata, such as `grpc-status-details-bin`.
        reason: the closed word under which the refusal is counted (`tensorwall_refusals_total`).
    """

    def __init__(
        self, code: grpc.StatusCode, details: str, trailing: Metadata = (), *, reason: str = "identity"
    ) -> None:
        super().__init__(details)
        self.code = code
        self.details = details if len(details) <= MAX_DETAILS else f"{details[: MAX_DETAILS - 3]}..."
        self.trailing = trailing
        self.reason = reason
