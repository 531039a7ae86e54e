"""What one output hides, another may tell."""

from collections.abc import Collection, Iterable

from defenses.output.semantics import OutputSpec, is_float


def audit_outputs(outputs: Iterable[OutputSpec], hardened: Collection[str]) -> list[str]:
    """Warnings about outputs of one model, over all its signatures, that undo the hardening of those named `hardened`.

    A float output that is not hardened tells, or may tell, what the hardened ones hide: the same scores in another
    form (logits beside probabilities), under another name or in another signature, or an embedding from which they
    follow. Integers (a class id) say no more than the promised class; strings are named where they have more than one
    value a row, since ranked class names tell the order. A hardened name that no signature has is reported too.
    """
    specs = list(outputs)
    warnings = [
        f"output {name!r} is hardened, but the model has no output of that name; it has: "
        + (", ".join(sorted({spec.name for spec in specs})) or "none")
        for name in sorted(set(hardened) - {spec.name for spec in specs})
    ]
    covered = [spec for spec in specs if spec.name in hardened]
    if not covered:
        return warnings
    warnings += [text for spec in specs if spec.name not in hardened for text in _leak(spec, covered)]
    return warnings + _twins(covered)


def _leak(spec: OutputSpec, covered: list[OutputSpec]) -> list[str]:
    names = ", ".join(sorted({repr(other.name) for other in covered}))
    remedy = f"harden it as well (outputs.{spec.name}), or serve a signature without it"
    if is_float(spec.dtype):
        if any(_same_classes(spec, other) for other in covered):
            return [
                f"{_title(spec)} is not hardened and has as many classes as {names}, so it may tell the same; {remedy}"
            ]
        return [f"{_title(spec)} is not hardened; if {names} can be computed from it, nothing is hidden; {remedy}"]
    if spec.dtype == "object" and _classes(spec) != 1:
        return [f"{_title(spec)} holds several strings a row; ranked class names would tell the order of {names}"]
    return []


def _twins(covered: list[OutputSpec]) -> list[str]:
    names = sorted({spec.name for spec in covered})
    alike = [n for n in names if any(_alike(n, spec, covered) for spec in covered)]
    if len(alike) < 2:
        return []
    listed = ", ".join(repr(name) for name in alike)
    return [
        f"outputs {listed} have the same number of classes; if they tell the same, the weakest chain among them decides"
    ]


def _alike(name: str, spec: OutputSpec, covered: list[OutputSpec]) -> bool:
    return spec.name != name and any(_same_classes(spec, own) for own in covered if own.name == name)


def _same_classes(one: OutputSpec, other: OutputSpec) -> bool:
    sizes = {_classes(one), _classes(other)} - {None}
    return len(sizes) < 2


def _classes(spec: OutputSpec) -> int | None:
    """Numbers a row on the last axis; None where the metadata does not say."""
    if spec.shape is None:
        return None
    return spec.shape[-1] if len(spec.shape) > 1 else 1


def _title(spec: OutputSpec) -> str:
    where = f" of signature {spec.signature!r}" if spec.signature else ""
    return f"output {spec.name!r}{where} ({spec.dtype})"
