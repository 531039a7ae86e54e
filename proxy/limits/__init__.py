"""Limits in rows, calls and bytes: the rules, their mathematics and the refusal. README.md explains them.

limits = compiled(rules, scope="model:resnet")         # once a configuration
verdict = await store.admit(describe(limits, charge))  # once a call; proxy.state has the stores
if not verdict.admitted:
    raise rejection(verdict)
"""

from proxy.limits.descriptors import Charge, Descriptor, Limit, compiled, describe, share
from proxy.limits.gcra import Decision, decide
from proxy.limits.refusal import rejection, unavailable
from proxy.limits.rules import BudgetLimit, InFlightLimit, LimitRule, LimitRules, RateLimit, distinct
from proxy.limits.verdict import Lease, Refusal, Verdict

__all__ = [
    "BudgetLimit",
    "Charge",
    "Decision",
    "Descriptor",
    "InFlightLimit",
    "Lease",
    "Limit",
    "LimitRule",
    "LimitRules",
    "RateLimit",
    "Refusal",
    "Verdict",
    "compiled",
    "decide",
    "describe",
    "distinct",
    "rejection",
    "share",
    "unavailable",
]
