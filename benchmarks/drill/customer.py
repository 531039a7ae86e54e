"""A long-lived customer on the immunity list: batch jobs, and the model's answers for retraining on augmented rows."""

import numpy as np

from proxy.drill.accounts import Account
from proxy.drill.attacks.contract import RefusedError, Rows
from proxy.drill.benign import CHANGED
from proxy.drill.material import Material
from proxy.drill.results import Immune
from proxy.drill.watching import Admin, Watching
from proxy.drill.wire import Model

ROWS = 10_000
CALL = 50
ORIGINALS = 500
"""Rows that are sent again and again, each time with other noise, as augmentation for a retraining does."""
NOISE = 0.05


def served(target: Model, direct: Model, admin: Admin, material: Material, account: Account) -> Immune:
    """Sends ROWS rows and compares every answer with the model's own.

    Args:
        target: the proxy.
        direct: the model itself.
        admin: of the proxy.
        material: rows.
        account: on the immunity list.
    """
    rng = np.random.default_rng(5)
    changed = refused = sent = 0
    with Watching(admin, lambda: sent, [account.caller]) as watching:
        while sent < ROWS:
            rows = _batch(material, sent, rng)
            sent += len(rows)
            try:
                said = target.ask(rows, account.metadata)
            except RefusedError:
                refused += len(rows)
                continue
            changed += int((np.abs(said - direct(rows)).max(axis=1) > CHANGED).sum())
    return Immune(data=material.name, rows=sent, changed=changed, refused=refused, reported=watching.found.step)


def _batch(material: Material, sent: int, rng: np.random.Generator) -> Rows:
    """Half the batches are new rows, half are known ones with noise."""
    if sent // CALL % 2:
        known = material.pool[rng.integers(0, min(ORIGINALS, len(material.pool)), CALL)]
        return np.asarray(known + rng.normal(0, NOISE, known.shape), np.float32).clip(0, 1)
    return material.pool[np.arange(sent // 2, sent // 2 + CALL) % len(material.pool)]
