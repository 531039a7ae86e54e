"""8x8 digits, two small networks, and jobs over them."""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from defenses.retraining.job import Job


def convolutional() -> Any:
    """Logits, from one convolution."""
    import keras

    return keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            keras.layers.Conv2D(8, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(10),
        ]
    )


def dense() -> Any:
    """Probabilities, from one hidden layer."""
    import keras

    layers = [keras.layers.Flatten(), keras.layers.Dense(32, activation="relu"), keras.layers.Dense(10, "softmax")]
    return keras.Sequential([keras.Input((8, 8, 1), name="image"), *layers])


def mixed(policy: str) -> Any:
    """As `convolutional`, in mixed precision."""
    import keras

    layers: Any = convolutional().layers
    for layer in layers:
        layer.dtype_policy = keras.dtype_policies.get(policy)
    return keras.Sequential([keras.Input((8, 8, 1), name="image"), *layers])


def write(folder: Path) -> Path:
    """All digits as an .npz file with the arrays x, float32 (1797, 8, 8) in [0, 16], and y."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    path = folder / "digits.npz"
    np.savez(path, x=bunch.images.astype(np.float32), y=bunch.target)
    return path


def job(folder: Path, rows: Path, method: dict[str, Any], **changes: Any) -> Job:
    """A job over `rows` with its output in `folder`; `training` is merged, other sections are replaced."""
    training = {"epochs": 4, "batch": 64, "optimizer": {"learning_rate": 0.005}, "check": {"rows": 300, "steps": 10}}
    values: dict[str, Any] = {
        "name": "digits",
        "model": {"factory": f"{__name__}:convolutional", "gives": "logits"},
        "data": {"train": {"kind": "npz", "file": str(rows), "divide_by": 16}, "validation": 0.2},
        "method": method,
        "epsilon": {"value": 0.1},
        "output": str(folder / "out"),
    }
    values |= {key: value for key, value in changes.items() if key != "training"}
    return Job.model_validate({**values, "training": training | changes.get("training", {})})


def main() -> None:
    """Runs the job of a JSON file; a second argument splits the processor into so many devices, mirrored."""
    import tensorflow as tf

    from defenses.retraining import run

    wanted = Job.model_validate_json(Path(sys.argv[1]).read_text())
    strategy = None
    if len(sys.argv) > 2:
        count = int(sys.argv[2])
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
        strategy = tf.distribute.MirroredStrategy([f"CPU:{n}" for n in range(count)])
    prepared = run.prepare(wanted, strategy)
    run.train(prepared, lambda step: print(step, flush=True))  # noqa: T201  # for whoever kills it
    run.finish(prepared)


if __name__ == "__main__":
    main()
