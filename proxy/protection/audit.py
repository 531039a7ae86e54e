"""What in a model's rules contradicts its signatures or leaves a way around them, said once signatures are known."""

from collections.abc import Iterator, Mapping

from defenses.input import InputChain
from defenses.output import OutputSpec, SemanticsMismatchError, audit_outputs, resolve
from protos import tensor_pb2 as tensor
from proxy.config.protection import InputRule, Model, OutputRule, Rules
from proxy.protection.guards import all_rules
from proxy.protection.replies import EVERY
from proxy.protection.shield import keyed
from proxy.signatures import Signature, Signatures, TensorSpec
from proxy.tensors import NUMPY_DTYPES


def problems(model: Model, signatures: Signatures) -> list[str]:
    """In words, each once, with the remedy; none if all fits."""
    found: dict[str, None] = {}
    signatures = {key: each for key, each in signatures.items() if each.inputs}  # others are the loader's own
    for rules in all_rules(model):
        found |= dict.fromkeys(_of_inputs(rules, signatures))
        found |= dict.fromkeys(_of_outputs(rules, signatures))
        found |= dict.fromkeys(_of_squeezing(rules, signatures))
    return list(found)


def _of_inputs(rules: Rules, signatures: Signatures) -> Iterator[str]:
    active = {name: rule for name, rule in (rules.inputs or {}).items() if rule.mode != "off"}
    if not active:
        return
    features = _holds_examples(signatures)
    for name, rule in active.items():
        specs = [(key, found.inputs[name]) for key, found in signatures.items() if name in found.inputs]
        if not specs and not features:
            known = sorted({alias for found in signatures.values() for alias in found.inputs})
            yield f"inputs.{name}: the model has no input of that name; it has {', '.join(known) or 'none'}"
        for key, spec in specs:
            problem = _unfit(rule.chain(name), rule, spec)
            if problem:
                yield f"inputs.{name}: {problem} (signature {key!r})"
    for key, found in signatures.items():
        if not any(name in active for name in found.inputs) and not found.takes_examples:
            names = ", ".join(repr(name) for name in found.inputs)
            yield f"signature {key!r} takes {names}, for which there is no rule under inputs: a way around the others"


def _unfit(chain: InputChain, rule: InputRule, spec: TensorSpec) -> str:
    dtype = NUMPY_DTYPES.get(spec.dtype)
    for step in chain.steps:
        if step.takes == "bytes" and spec.dtype != tensor.DT_STRING:
            return f"{step.kind} takes strings, and the input is {tensor.DataType.Name(spec.dtype)}"
        if step.takes == "numbers" and (dtype is None or dtype.kind not in "fiu"):
            return f"{step.kind} takes numbers, and the input is {tensor.DataType.Name(spec.dtype)}"
    if rule.shape is not None and spec.shape is not None and None not in spec.shape[1:]:
        wanted, size = 1, 1
        for axis in rule.shape:
            wanted *= axis
        for each in spec.shape[1:]:
            size *= each or 1
        if wanted != size:
            return f"shape {list(rule.shape)} has {wanted} values a row, and the model takes {size}"
    return ""


def _of_outputs(rules: Rules, signatures: Signatures) -> Iterator[str]:
    active = {name: rule for name, rule in (rules.outputs or {}).items() if rule.mode != "off" and rule.steps}
    if not active:
        return
    specs = [
        _output(key, name, spec, found) for key, found in signatures.items() for name, spec in found.outputs.items()
    ]
    for spec in specs:
        if spec.name in active:
            yield from _meaning(spec, active[spec.name])
    yield from audit_outputs(specs, set(active) - {EVERY})
    yield from _evadable_noise(active, signatures)


def _meaning(spec: OutputSpec, rule: OutputRule) -> Iterator[str]:
    if rule.semantics is None:
        if spec.dtype.startswith(("float", "bfloat")):
            yield (
                f"outputs.{spec.name}: what its numbers mean is not configured and will be believed only where they "
                f"prove it; set outputs.{spec.name}.semantics"
            )
        return
    try:
        resolve(spec, rule.semantics)
    except SemanticsMismatchError as error:
        yield str(error)


def _evadable_noise(active: Mapping[str, OutputRule], signatures: Signatures) -> Iterator[str]:
    for name, rule in active.items():
        if keyed(rule.steps) and not rule.key_inputs and any(found.takes_examples for found in signatures.values()):
            yield (
                f"outputs.{name}: its noise depends on all features of a tf.Example, and a caller may add others that "
                f"the model ignores; name those that it reads in outputs.{name}.key_inputs"
            )


def _of_squeezing(rules: Rules, signatures: Signatures) -> Iterator[str]:
    rule = rules.squeezing
    if rule is None or rule.mode == "off":
        return
    if not any(rule.input in found.inputs for found in signatures.values()) and not _holds_examples(signatures):
        yield f"squeezing.input: the model has no input {rule.input!r}"
    if not any(rule.output in found.outputs for found in signatures.values()):
        yield f"squeezing.output: the model has no output {rule.output!r}"


def _holds_examples(signatures: Signatures) -> bool:
    return any(found.takes_examples for found in signatures.values())


def _output(key: str, name: str, spec: TensorSpec, found: Signature) -> OutputSpec:
    dtype = NUMPY_DTYPES.get(spec.dtype)
    known = "bfloat16" if spec.dtype == tensor.DT_BFLOAT16 else "object" if dtype is None else dtype.name
    return OutputSpec(name, known, spec.shape, found.method, key)
