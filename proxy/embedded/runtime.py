"""Where the model server imports TensorFlow: quietly, and with the settings that have to be made before the import."""

import importlib
import os
from typing import Any

from proxy.muted import muted_stderr


def _import_tensorflow() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # By default the processor decides whether oneDNN's kernels run; which kernel runs decides the text of its errors.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    with muted_stderr():
        tensorflow = importlib.import_module("tensorflow")
        tensorflow.zeros(())  # starts the eager runtime, which logs what hardware it did not find
    tensorflow.get_logger().setLevel("ERROR")
    return tensorflow


tf: Any = _import_tensorflow()
tf_session: Any = importlib.import_module("tensorflow.python.client.pywrap_tf_session")
