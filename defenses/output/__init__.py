"""Measured answers: no more of the model in a reply than a caller should have."""
