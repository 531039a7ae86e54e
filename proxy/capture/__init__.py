"""Capture: answered calls to files of PredictionLog, and observations of a live window; off unless configured.

    pipeline ► Recorder ─┬─ sampled, capped ► queue ► writer thread ► rolling files ► uploader thread
                         └─ a window is open ► queue ► its thread ► observations to the admin port

`tfrecord` has the framing, `record` the message, `source` reads captured files back in the order of their times.
"""
