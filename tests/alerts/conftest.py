"""The model `toy` and proxies in front of it."""

from tests.protection.conftest import protect, toy

__all__ = ["protect", "toy"]
