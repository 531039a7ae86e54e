"""From findings to verdicts, and from verdicts to what happens to a call."""

from proxy.policy.manual import Action, TooManyDecisionsError
from proxy.policy.policy import Policy
from proxy.policy.standing import CLEAR, Standing
from proxy.policy.verdict import Evidence, Verdict

__all__ = ["CLEAR", "Action", "Evidence", "Policy", "Standing", "TooManyDecisionsError", "Verdict"]
