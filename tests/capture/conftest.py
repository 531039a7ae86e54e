"""The model `toy` and proxies in front of it."""

from tests.protection.conftest import direct, protect, toy

__all__ = ["direct", "protect", "toy"]
