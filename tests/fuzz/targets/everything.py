"""A configuration with everything on: each kind of input step, squeezing, each answer defense, limits, detection."""

from typing import Any

from tests.fuzz.targets.calls import SHAPE

_IMAGE_STEPS = [
    *({"kind": kind} for kind in ("jpeg", "total_variation", "random_resize_pad", "random_noise", "non_local_means")),
    *({"kind": "bit_depth", "bits": 4}, {"kind": "median", "size": 3}),
]
_TABLE_STEPS = [
    {"kind": "missing", "nan": "replace", "infinity": "replace", "sentinels": [-999]},
    *({"kind": "range", "low": -100, "high": 1e6, "outside": "clip"}, {"kind": "quantise", "step": 0.1}),
]
_PHOTO_STEPS = [
    {"kind": "encoded_image", "max_pixels": 10_000, "encode_as": "png", "steps": [{"kind": "bit_depth", "bits": 5}]}
]
_ANSWER_STEPS = [
    *({"kind": "noise", "epsilon": 0.1}, {"kind": "reverse_sigmoid"}, {"kind": "temperature", "temperature": 2.0}),
    *({"kind": "top_k", "k": 3}, {"kind": "round", "decimals": 2}),
]


def models(**detection: Any) -> dict[str, Any]:
    """The model `known`, whose signature the model server tells, and `free`, of which nothing is known.

    Args:
        detection: of both; none is watched if there is nothing in it.
    """
    image = {"range": [0, 1], "steps": _IMAGE_STEPS}
    outputs = {
        "probabilities": {"semantics": "probabilities", "steps": _ANSWER_STEPS, "key_step": 0.1, "on_mismatch": "pass"},
        "scores": {"semantics": "probabilities", "steps": [{"kind": "noise", "epsilon": 0.1}], "key_inputs": ["image"]},
        "*": {"steps": [{"kind": "label_only"}], "on_mismatch": "withhold"},
    }
    squeezing = {
        "input": "image",
        "output": "probabilities",
        "range": [0, 1],
        "threshold": 1.9,
        "copies": [[{"kind": "bit_depth", "bits": 2}], [{"kind": "random_noise", "sigma": 0.1}]],
    }
    purifier = {"model": "cleaner", "takes": "noisy", "gives": "clean", "timeout": 5}
    watched = {"detection": detection} if detection else {}
    return {
        "known": {"inputs": {"image": image}, "squeezing": squeezing, "outputs": outputs, **watched},
        "free": {
            "inputs": {
                "image": {
                    **image,
                    "shape": list(SHAPE),
                    "steps": [*_IMAGE_STEPS, {"kind": "choice", "of": [[], _IMAGE_STEPS[:1]]}],
                },
                "photo": {"steps": _PHOTO_STEPS},
                "text": {"steps": [{"kind": "text", "normalise": "NFKC", "confusables": "fold", "max_chars": 1000}]},
                "table": {"steps": _TABLE_STEPS},
                "denoised": {"shape": list(SHAPE), "range": [0, 1], "purifier": purifier},
            },
            "squeezing": {**squeezing, "shape": list(SHAPE)},
            "outputs": outputs,
            **watched,
            "limits": [{"by": "caller", "rate": "1e9/s", "burst": 10**12}, {"by": "caller", "in_flight": 100}],
        },
    }
