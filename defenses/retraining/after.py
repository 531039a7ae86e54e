"""What a job says about the time after training: evaluation, gates, publication. No TensorFlow."""

from pathlib import Path

from pydantic import Field

from defenses.retraining.section import Positive, Section, Share
from defenses.retraining.sources import RowsSource


class Evaluating(Section):
    """How the candidate and the served model are attacked, on the same rows of `data.test` (else of validation)."""

    rows: int = Field(1000, gt=0, description="at most so many")
    epsilon: Positive | None = Field(None, description="radius; default: the training's")
    steps: int = Field(50, gt=0, le=1000, description="of PGD")
    restarts: int = Field(10, gt=0, le=100, description="of PGD")
    apgd_steps: int = Field(100, gt=0, le=1000)
    apgd_restarts: int = Field(1, gt=0, le=20)
    square_queries: int = Field(5000, gt=0, le=100_000, description="for each row")
    captured: RowsSource | None = Field(
        None, description="captured attack rows with labels of a reviewer: an extra set to evaluate on"
    )


class Requirements(Section):
    """What a candidate must fulfil to be published."""

    robust_gain: Share = Field(
        0.02, description="least rise of robust accuracy over the served model's, on the same rows; 0.02: two points"
    )
    clean_loss: Share = Field(0.02, description="largest fall of clean accuracy")
    significance: float = Field(
        0.05, gt=0, lt=1, description="the rise has to be less probable than this by luck (McNemar's exact test)"
    )
    least_rows: int = Field(100, ge=1, description="rows without which nothing is decided")


class Watching(Section):
    """The proxy's metrics are looked at after a publication; if callers are worse off, the version is withdrawn."""

    metrics: str = Field(description="URL of the proxy's /metrics, or a file of the same text")
    seconds: Positive = Field(300.0, description="that the new version is watched")
    failed_share: Share = Field(0.01, description="by which the share of failed calls may rise")
    slower: float = Field(3.0, gt=1, description="by which factor the model server's mean latency may rise")


class Publishing(Section):
    """Where a candidate goes that passes the gates."""

    base: Path = Field(description="folder of the model's versions, which the model server watches")
    output: str | None = Field(None, description="of the served model that is attacked; default: its logits")
    watch: Watching | None = Field(None, description="absent: the version stays, whatever happens")
    textfile: Path | None = Field(
        None, description="of node_exporter's textfile collector, NAME.prom: gets the time of the last success"
    )
    pushgateway: str | None = Field(None, description="URL of a Pushgateway that gets it, too")


class Proxied(Section):
    """The proxy that will stand before the new version: that is tried behind it, and its benign profile learned anew.

    For that, an embedded model server and a proxy with the same settings for the model run for a while on this machine.
    """

    config: Path = Field(description="the proxy's configuration")
    rows: int = Field(100, gt=0, description="attacked through it, at most")
    queries: int = Field(200, gt=0, le=100_000, description="of the search for each of these rows")
    profile: Path | None = Field(
        None, description="file of the model's benign profile, learned anew when a version is published; default: none"
    )
    callers: int = Field(1000, gt=0, description="benign callers that are simulated for the profile")
