"""The configurations on the pages are ones that the proxy takes."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from detectors.profile import Profile
from proxy.config.load import parse

ROOT = Path(__file__).parents[2]
PAGES = {"docs/protection.md": "", "proxy/limits/README.md": "upstream: a:1\n", "README.md": "upstream: a:1\n"}


@pytest.mark.parametrize(("page", "before"), PAGES.items())
def test_examples_can_be_used(page: str, before: str) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    about_rules = [block for block in blocks if "limits" in block]
    assert about_rules
    for block in about_rules:
        parse(before + block, {"TENSORWALL_SECRET": "x" * 32})


def test_the_example_of_capture_can_be_used() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/capture.md").read_text(), re.DOTALL)
    assert parse(block, {}).capture is not None


def test_examples_of_detection_can_be_used(tmp_path: Path) -> None:
    profile = tmp_path / "fashion.profile.json"
    replace(Profile.defaults("fashion", b"0123456789abcdef"), calibrated=True).write(profile)
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/detection.md").read_text(), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        config = parse("upstream: a:1\n" + block.replace("fashion.profile.json", str(profile)), {})
        assert config.models["fashion"].detection is not None


@pytest.mark.parametrize(
    ("text", "where", "problem"),
    [
        ("inputs: {x: {steps: [{kind: bit_depth, bits: 3}]}}", "models.m.inputs.x", "set range"),
        ("inputs: {x: {range: [1, 0], steps: [{kind: bit_depth, bits: 3}]}}", "models.m.inputs.x", "range is"),
        ("inputs: {x: {steps: [{kind: sharpen}]}}", "models.m.inputs.x.steps[0]", "sharpen"),
        ("inputs: {x: {steps: [{kind: text}, {kind: median, size: 3}]}}", "models.m.inputs.x", "cannot be mixed"),
        ("inputs: {x: {steps: [{kind: median, size: 99}]}}", "models.m.inputs.x.steps[0].median.size", "9"),
        ("outputs: {p: {semantics: binary, steps: [{kind: top_k, k: 1}]}}", "models.m.outputs.p", "does not apply"),
        ("limits: [{by: caller, rate: fast}]", "models.m.limits[0]", "is not a rate"),
        ("limits: [{by: caller}]", "models.m.limits[0]", "exactly one of"),
        ("tiers: {a: {inputs: {x: {mode: maybe}}}}", "models.m.tiers.a.inputs.x.mode", "enforce"),
        ("detection: {detectors: {prada: true}}", "models.m.detection", "no detector 'prada'"),
        ("detection: {profile: /nowhere.json}", "models.m.detection", "cannot be read"),
        ("ladder: {explode: {}}", "models.m.ladder.explode", "not a known key"),
    ],
)
def test_a_wrong_rule_is_named_with_its_place(text: str, where: str, problem: str) -> None:
    from proxy.config.load import ConfigError

    with pytest.raises(ConfigError) as caught:
        parse(f"upstream: a:1\nmodels:\n  m: {{{text}}}\n", {})
    assert where in str(caught.value)
    assert problem in str(caught.value)
    assert ":3:" in str(caught.value)
