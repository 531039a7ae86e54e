"""What only the proxy's side can do for a run, as a protocol; `proxy/retrain` has the one that there is."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from defenses.retraining.evaluation import Evaluation, Material
from defenses.retraining.robustness.subject import Rows


class DeploymentError(Exception):
    """The model could not be tried behind the proxy; `str()` says why and the remedy."""


class Deployment(Protocol):
    """A proxy with the settings that the new version will meet."""

    def attacked(self, evaluation: Evaluation, folder: Path, material: Material) -> Evaluation:
        """The evaluation with black-box attacks through the proxy, which count in `robust`.

        Args:
            evaluation: of the model in `folder`, on `material`.
            folder: of a version, served or exported.
            material: the rows.

        Raises:
            DeploymentError: it cannot be served, or does not answer.
        """

    def profile(self, folder: Path, rows: Rows) -> Callable[[], str]:
        """Learns the benign profile of the model in `folder` from benign rows (n, ...).

        Returns:
            What writes it, to be called when the version is published; gives a sentence.

        Raises:
            DeploymentError: it cannot be served, or does not answer; the file cannot be written.
        """
