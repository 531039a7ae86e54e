"""Hardening a model offline: it meets the proxy only through files."""
