"""API keys: 256 random bits each, of which the proxy keeps a SHA-256. docs/api-keys.md describes the file."""

from proxy.keys.file import KeyFile, KeyRecord

__all__ = ["KeyFile", "KeyRecord"]
