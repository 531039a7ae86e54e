"""Replay: recorded calls through a candidate configuration, with the recording's own time as the clock.

`run` has the calls' way through the limiter, the detectors and the policy that a proxy would have; `tally` counts what
they do to whom; `report` says it.
"""
