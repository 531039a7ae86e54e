"""What is done to the requests and replies of protected models: cleaned, squeezed, hardened."""

from proxy.protection.guards import Guards, GuardTable, must_parse, protected_models
from proxy.protection.protection import Exchange, Protection

__all__ = ["Exchange", "GuardTable", "Guards", "Protection", "must_parse", "protected_models"]
