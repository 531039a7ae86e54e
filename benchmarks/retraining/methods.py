"""What is compared: each method with settings that suit a small convolutional network and a radius of 0.1."""

from typing import Any

EPSILON = 0.1
RAMP = 0.4
"""Share of the epochs in which epsilon grows, for the methods that need it."""

_MTL_IBP: dict[str, Any] = {"method": {"kind": "mtl_ibp", "clean": 0.85, "steps": 1, "step": 1.0}, "ramp": RAMP}

METHODS: dict[str, dict[str, Any]] = {
    "undefended": {"method": {"kind": "fgsm", "clean": 1.0}},
    "FGSM mixed": {"method": {"kind": "fgsm", "clean": 0.5}},
    "FGSM-RS": {"method": {"kind": "fgsm_rs"}},
    "PGD": {"method": {"kind": "pgd", "steps": 7}},
    "TRADES": {"method": {"kind": "trades", "beta": 6.0, "steps": 7}},
    "TRADES, AWP": {"method": {"kind": "trades", "beta": 6.0, "steps": 5}, "awp": {"gamma": 0.005}},
    "MART": {"method": {"kind": "mart", "steps": 7}},
    "IBP": {"method": {"kind": "ibp", "clean": 0.3}, "ramp": RAMP},
    "MTL-IBP": _MTL_IBP,
    f"MTL-IBP, radius {1.1 * EPSILON:g}": {**_MTL_IBP, "radius": 1.1},  # in epsilons; the attack stays within one
    "CROWN-IBP": {"method": {"kind": "crown_ibp", "clean": 0.3}, "ramp": RAMP},
}


def network(side: int) -> Any:
    """Logits of square grey images, by two convolutions and a hidden layer, without what bounds cannot go through.

    Args:
        side: of an image, in pixels.
    """
    import keras

    wide = side > 16
    layers = [
        keras.layers.Conv2D(32 if wide else 8, 5 if wide else 3, strides=2, padding="same", activation="relu"),
        keras.layers.Conv2D(64 if wide else 16, 5 if wide else 3, strides=2, padding="same", activation="relu"),
        keras.layers.Flatten(),
        keras.layers.Dense(256 if wide else 32, activation="relu"),
        keras.layers.Dense(10),
    ]
    return keras.Sequential([keras.Input((side, side, 1), name="image"), *layers])
