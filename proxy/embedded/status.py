"""The errors of the API: a gRPC code and a text, cut as TensorFlow Serving cuts it."""

from typing import Any

import grpc

MAX_MESSAGE_BYTES = 1024  # kErrorMessageLimit of model_servers/grpc_status_util.cc

_BY_NUMBER: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


class StatusError(Exception):
    """A call that ends with `code` and `message`."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def details(self) -> bytes:
        """The message as it goes out: UTF-8, cut after 1,024 bytes (of a character, too, as C++ cuts it)."""
        encoded = self.message.encode("utf-8", "surrogateescape")
        if len(encoded) > MAX_MESSAGE_BYTES:
            return encoded[:MAX_MESSAGE_BYTES] + b"...TRUNCATED"
        return encoded


def invalid_argument(message: str) -> StatusError:
    return StatusError(grpc.StatusCode.INVALID_ARGUMENT, message)


def not_found(message: str) -> StatusError:
    return StatusError(grpc.StatusCode.NOT_FOUND, message)


def from_tensorflow(error: Any) -> StatusError:
    """The status of a `tf.errors.OpError`; TensorFlow's codes are gRPC's."""
    return StatusError(_BY_NUMBER.get(int(error.error_code), grpc.StatusCode.UNKNOWN), str(error.message))
