"""The embedded model server: SavedModels behind TensorFlow Serving's gRPC API, for trying out and for tests.

A request goes cli/server (socket) -> service (bytes to messages, errors to statuses) -> predict, inference or metadata
(what the API means, in the order of TensorFlow Serving's checks) -> models (which version) -> servable (the run).
TensorFlow is imported in `runtime` only, and nothing of the online proxy imports this package.
"""
