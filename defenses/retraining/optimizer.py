"""Adam and SGD, as updates of one variable, called where tf.distribute wants them: across replicas.

Keras' optimizers make their own arrangements with tf.distribute, which fail under several workers. These do not.
"""

import math
from typing import Any

import tensorflow as tf

from defenses.retraining.job import Optimizer

SLOTS = 2
_BETA_2, _TINY = 0.999, 1e-7


def rate(settings: Optimizer, step: int, steps: int) -> float:
    """The learning rate at a step of `steps`."""
    value = settings.learning_rate
    if settings.decay == "cosine":
        value *= (1 + math.cos(math.pi * step / steps)) / 2
    return value * min(1.0, (step + 1) / (settings.warmup_steps + 1))


def update(settings: Optimizer, variable: Any, gradient: Any, slots: tuple[Any, Any], now: Any, count: Any) -> None:
    """Changes a variable and its slots.

    Args:
        settings: of the job.
        variable: to change.
        gradient: of its shape.
        slots: two variables of its shape, 0 at the start.
        now: the learning rate.
        count: steps including this one, float32.
    """
    first, second = slots
    if settings.kind == "adam":  # Kingma & Ba 2015, algorithm 1
        first.assign(settings.momentum * first + (1 - settings.momentum) * gradient)
        second.assign(_BETA_2 * second + (1 - _BETA_2) * gradient**2)
        mean = first / (1 - settings.momentum**count)
        change = mean / (tf.sqrt(second / (1 - _BETA_2**count)) + _TINY)
    else:  # Nesterov's momentum in the form of Sutskever et al. 2013
        first.assign(settings.momentum * first + gradient)
        change = gradient + settings.momentum * first
    if settings.weight_decay and len(variable.shape) > 1:
        change += settings.weight_decay * variable
    variable.assign_sub(now * change)
