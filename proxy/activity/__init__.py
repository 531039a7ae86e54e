"""What has been going on lately, for whoever looks at the admin port: who called, how much, how fast."""

from proxy.activity.callers import CallerRecord, CallerTable, caller_key
from proxy.activity.traffic import Traffic

__all__ = ["CallerRecord", "CallerTable", "Traffic", "caller_key"]
