"""The configuration as it may be shown: what is in force, without what opens doors."""

import hashlib
import json
import re
from typing import Any

from pydantic import BaseModel

HIDDEN = "(hidden)"
_SECRET_KEY = re.compile(r"(^|_)(secret|password|token|passphrase)($|_)")
_USERINFO = re.compile(r"(?<=://)[^/@\s]+(?=@)")


def redact(config: BaseModel) -> dict[str, Any]:
    """Plain values, ready for YAML or JSON.

    Hidden are the values of keys whose name says secret, password, token or passphrase, and the user and password in
    URLs. Paths of key files show; their contents are never part of the configuration.
    """
    shown: dict[str, Any] = _redacted(config.model_dump(mode="json"), "")
    return shown


def fingerprint(config: BaseModel) -> str:
    """Twelve hexadecimal digits that differ once what `redact` shows does."""
    return hashlib.sha256(json.dumps(redact(config), sort_keys=True).encode()).hexdigest()[:12]


def _redacted(value: Any, key: str) -> Any:
    if isinstance(value, dict):
        return {name: _redacted(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_redacted(item, key) for item in value]
    if value is not None and _SECRET_KEY.search(key):
        return HIDDEN
    return _USERINFO.sub(HIDDEN, value) if isinstance(value, str) else value
