"""The reference of job.yaml, written from its models: `python -m proxy.retrain.reference`."""

from defenses.retraining.job import Job
from proxy.config.reference import reference

if __name__ == "__main__":
    print(reference(Job), end="")  # noqa: T201
