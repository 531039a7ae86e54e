"""What callers read of a refusal arrives whatever it is made of."""

import grpc

from proxy.errors import MAX_DETAILS, Rejection


def test_a_long_text_is_cut() -> None:
    assert Rejection(grpc.StatusCode.INVALID_ARGUMENT, "x" * MAX_DETAILS).details == "x" * MAX_DETAILS
    cut = Rejection(grpc.StatusCode.INVALID_ARGUMENT, "x" * 10**6).details
    assert (len(cut), cut[-4:]) == (MAX_DETAILS, "x...")
