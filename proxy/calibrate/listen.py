"""A running proxy's traffic as observations: a live window of its admin port, listened to."""

import http.client
import io
import json
import time
from typing import cast

import numpy as np
from google.protobuf.message import DecodeError
from google.protobuf.proto import parse_length_prefixed

from detectors.features import Scaling
from detectors.observation import Observation
from protos.capture_pb2 import Live
from proxy.admin.client import AdminClient
from proxy.calibrate.traffic import MAX_ROWS, Traffic, TrafficError, left_out
from proxy.capture.observed import from_wire


def listened(proxy: AdminClient, model: str, seconds: float, salt: bytes) -> Traffic:
    """What a running proxy observes of a model for some time.

    Args:
        proxy: its admin port; the token has to be one of the role operator.
        model: its name; detection has to watch it.
        seconds: to listen.
        salt: of the features; new, so that the proxy's own stays there.

    Raises:
        ClientError: the proxy cannot be reached, refuses, or does not watch the model.
        TrafficError: it went away.
    """
    heard = _Heard(model)
    asked = json.dumps({"model": model, "seconds": seconds, "salt": salt.hex()})
    connection, response = proxy.open("POST", "/observations", asked)
    try:
        _listen(response, heard, seconds)
    except (OSError, http.client.HTTPException, DecodeError, ValueError) as error:
        raise TrafficError(f"--live: {proxy.address}: {error or type(error).__name__}") from None
    finally:
        connection.close()
    return heard.traffic()


def _listen(response: http.client.HTTPResponse, heard: "_Heard", seconds: float) -> None:
    from tqdm import tqdm  # an extra

    stream = cast(io.BytesIO, io.BufferedReader(response))  # anything that reads will do
    began = time.monotonic()
    with tqdm(total=round(seconds), desc="listening", unit="s", disable=None) as progress:
        while heard.end is None:
            part = parse_length_prefixed(Live, stream)
            if part is None:
                raise ValueError("the proxy went away before the end of the window")
            heard.take(part)
            progress.set_postfix(rows=heard.rows, refresh=False)
            progress.update(min(round(seconds), int(time.monotonic() - began)) - progress.n)


class _Heard:
    """What came so far."""

    def __init__(self, model: str) -> None:
        self.end: Live.End | None = None
        self.rows = 0
        self._model = model
        self._scaling: dict[str, Scaling] = {}
        self._seen: list[Observation] = []
        self._marked: set[str] = set()
        self._too_many = 0

    def take(self, part: Live) -> None:
        kind = part.WhichOneof("part")
        if kind == "scaling":
            for name, scale in part.scaling.inputs.items():
                self._scaling[name] = Scaling(np.array(scale.centre, np.float32), np.array(scale.scale, np.float32))
        elif kind == "observed":
            self._observed(from_wire(part.observed, self._model), part.observed.marked)
        elif kind == "end":
            self.end = part.end

    def _observed(self, seen: Observation, marked: bool) -> None:
        if marked:
            self._marked.add(seen.caller)
        if self.rows >= MAX_ROWS:
            self._too_many += seen.rows
            return
        self.rows += seen.rows
        self._seen.append(seen)

    def traffic(self) -> Traffic:
        """All of it, without callers that were under a verdict at any time."""
        assert self.end is not None, "the window has ended"
        benign = [each for each in self._seen if each.caller not in self._marked]
        benign.sort(key=lambda each: each.time)
        notes = left_out(self.rows - sum(each.rows for each in benign), len(self._marked))
        if self.end.reason:
            notes.append(f"the window ended early: {self.end.reason}")
        if self.end.dropped_rows:
            notes.append(f"{self.end.dropped_rows:,} rows were dropped, since the window was behind")
        if self._too_many:
            notes.append(f"{self._too_many:,} rows more came than a calibration takes")
        return Traffic(benign, self._scaling, notes)
