"""One loaded version of a model: a SavedModel in a graph and session of its own, run by tensor names.

This is TensorFlow Serving's default (TF1) runtime: the v1 loader, then `DirectSession::Run`. Runs enter the C API
below `tf.Session.run`, whose own checks and casts would come before those of the C++ and with other texts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from google.protobuf import any_pb2

from proxy.embedded.apis import get_model_metadata_pb2
from proxy.embedded.runtime import tf, tf_session
from proxy.embedded.status import StatusError, from_tensorflow, invalid_argument, not_found
from proxy.embedded.tensors import Array, Opaque, cpp_name

SERVING_TAG = "serve"
DEFAULT_SIGNATURE = "serving_default"
MAX_TIMEOUT = 7 * 24 * 3600.0  # seconds; a call without a deadline has far more left


class LoadError(Exception):
    """A folder that is no SavedModel, or one that cannot be served; `str()` says why in one line."""


@dataclass(frozen=True)
class _Endpoint:
    output: Any  # a TF_Output
    dtype: Any  # a tf.DType


class Output(NamedTuple):
    """What a run gave for one tensor; the `tf.DType` tells apart what shares a numpy type."""

    value: Array
    dtype: Any


class Servable:
    """A loaded version. `run` may be called from several threads at once; `close` cancels what still runs.

    Attributes:
        signatures: SignatureDef by key.
        signature_map: the same as a packed SignatureDefMap, which is what GetModelMetadata returns.
    """

    def __init__(self, name: str, version: int, folder: Path) -> None:
        """Load the SavedModel in `folder`, its init op run.

        Raises:
            LoadError: it is none.
        """
        self.name = name
        self.version = version
        self._graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=self._graph)
        try:
            with self._graph.as_default():
                meta_graph = tf.compat.v1.saved_model.load(self._session, [SERVING_TAG], str(folder))
            self._session._extend_graph()
        except Exception as error:  # the loader raises whatever its parts raise: OSError, ValueError, tf.errors, ...
            self._session.close()
            raise LoadError(_first_line(error)) from error
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for key, signature in meta_graph.signature_def.items():
            signatures.signature_def[key].CopyFrom(signature)  # a copy, or the whole graph definition stays in memory
        self.signatures: Mapping[str, Any] = dict(signatures.signature_def)
        self.signature_map = any_pb2.Any()
        self.signature_map.Pack(signatures)
        self._endpoints: dict[str, _Endpoint] = {}

    def run(
        self, feeds: Sequence[tuple[str, Array | Opaque]], fetches: Sequence[str], timeout: float | None
    ) -> list[Output]:
        """One session run: values for the tensors named in `feeds`, the tensors named in `fetches` back.

        Raises:
            StatusError: with TensorFlow's own code and text, DEADLINE_EXCEEDED after `timeout` seconds among them.
        """
        inputs = [(self._endpoint(name, _feed_missing), value) for name, value in feeds]
        outputs = [self._endpoint(name, _fetch_missing) for name in fetches]
        _check_feeds(feeds, inputs)
        options = _run_options(timeout)
        try:
            values = self._session._call_tf_sessionrun(
                options, {point.output: value for point, value in inputs}, [point.output for point in outputs], [], None
            )
        except tf.errors.OpError as error:
            raise from_tensorflow(error) from None
        except UnicodeDecodeError as error:
            # The text quotes input that is no UTF-8, and the binding lost the code on it: what quotes is a refusal.
            raise invalid_argument(bytes(error.object).decode("utf-8", "surrogateescape")) from None
        finally:
            if options is not None:
                tf_session.TF_DeleteBuffer(options)
        return [_output(value, point.dtype) for value, point in zip(values, outputs, strict=True)]

    def close(self) -> None:
        """End the session; runs in flight end with CANCELLED, later ones too."""
        self._session.close()

    def _endpoint(self, name: str, missing: Any) -> _Endpoint:
        found = self._endpoints.get(name)
        if found is None:
            operation_name, _, index = name.partition(":")
            try:
                operation = self._graph.get_operation_by_name(operation_name)
                tensor = operation.outputs[int(index or 0)]
            except (KeyError, ValueError, IndexError):
                raise missing(name, self._graph) from None
            found = self._endpoints[name] = _Endpoint(tensor._as_tf_output(), tensor.dtype.base_dtype)
        return found


def _output(value: Any, dtype: Any) -> Output:
    """The session gives a scalar string as bytes, everything else as an array."""
    return Output(np.asarray(value, dtype=object if dtype == tf.string else None), dtype)


def _run_options(timeout: float | None) -> Any:
    """A TF_Buffer that the caller deletes; None for no time limit, which is also what gRPC's "never" comes to."""
    if timeout is None or timeout > MAX_TIMEOUT:
        return None
    options = tf.compat.v1.RunOptions(timeout_in_ms=max(1, int(timeout * 1000)))
    return tf_session.TF_NewBufferFromString(options.SerializeToString())


def _check_feeds(feeds: Sequence[tuple[str, Array | Opaque]], inputs: Sequence[tuple[_Endpoint, Any]]) -> None:
    """What the C++ would say of feeds that cannot be handed to it: a tensor fed twice, a value with no numpy form."""
    names = [name for name, _ in feeds]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise invalid_argument(f'Endpoint "{twice}" fed more than once.')
    if any(isinstance(value, Opaque) for _, value in feeds):
        in_order = sorted(zip(names, inputs, strict=True), key=lambda item: item[0])
        for index, (_, (point, value)) in enumerate(in_order):
            given = value.dtype if isinstance(value, Opaque) else cpp_name(tf.dtypes.as_dtype(value.dtype))
            expected = cpp_name(point.dtype)
            if given != expected or isinstance(value, Opaque):
                raise invalid_argument(f"Expects arg[{index}] to be {expected} but {given} is provided")


def _feed_missing(name: str, graph: Any) -> StatusError:
    del graph
    return not_found(f"FeedInputs: unable to find feed output {name}")


def _fetch_missing(name: str, graph: Any) -> StatusError:
    """The texts of `FetchOutputs` in tensorflow/core/graph/subgraph.cc."""
    operation_name = name.partition(":")[0]
    try:
        outputs = graph.get_operation_by_name(operation_name).outputs
    except (KeyError, ValueError):
        return not_found(f"FetchOutputs node {name}: not found")
    if outputs:
        return invalid_argument(f"FetchOutputs {name}: output index too large, must be < {len(outputs)}")
    return invalid_argument(
        f"Tried to fetch data for '{name}', which produces no output.  To run to a node but not fetch any data, pass "
        f"'{name}' as an argument to the 'target_node_names' argument of the Session::Run API."
    )


def _first_line(error: Exception) -> str:
    text = str(getattr(error, "message", "") or error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__
