"""How a call is refused: one exception, mapped to a gRPC status in one place (`pipeline`)."""

import grpc

Metadata = tuple[tuple[str, str | bytes], ...]


class Rejection(Exception):  # noqa: N818  # an answer, not a fault
    """The proxy's own answer to a call that it does not forward.

    Attributes:
        code: the gRPC status code.
        details: what the caller reads; never a score, a threshold or another caller's affairs.
        trailing: trailing metadata, such as `grpc-status-details-bin`.
        reason: the closed word under which the refusal is counted (`tensorwall_refusals_total`).
    """

    def __init__(
        self, code: grpc.StatusCode, details: str, trailing: Metadata = (), *, reason: str = "identity"
    ) -> None:
        super().__init__(details)
        self.code = code
        self.details = details
        self.trailing = trailing
        self.reason = reason
