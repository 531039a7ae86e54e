"""The one place that imports TensorFlow: quietly, and with the settings that have to be made before the import."""

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def _muted_stderr() -> Iterator[None]:
    """Send file descriptor 2 to nowhere: what C++ logs before its own log level applies comes through no other way."""
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def _import_tensorflow() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # By default the processor decides whether oneDNN's kernels run; which kernel runs decides the text of its errors.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    with _muted_stderr():
        tensorflow = importlib.import_module("tensorflow")
        tensorflow.zeros(())  # starts the eager runtime, which logs what hardware it did not find
    tensorflow.get_logger().setLevel("ERROR")
    return tensorflow


tf: Any = _import_tensorflow()
tf_session: Any = importlib.import_module("tensorflow.python.client.pywrap_tf_session")
