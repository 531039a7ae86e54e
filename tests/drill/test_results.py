"""Results: kept, merged, held against expectations, and shown."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.drill.plan import jobs
from benchmarks.drill.readme import BEGIN, END, written
from proxy.drill.expect import Expectations, broken
from proxy.drill.report import markdown
from proxy.drill.results import Benign, Immune, Results, Run, Telling
from proxy.drill.wire import DrillError


def made(**fields: Any) -> Run:
    usual = {"data": "toy", "attack": "square", "name": "Square", "technique": "evasion", "mode": "on", "budget": 500}
    return Run.model_validate(
        {**usual, "rows": 500, "refused": 0, "ended": "spent", "seconds": 1.0, "watched": True, **fields}
    )


def held(expected: str, tmp_path: Path, *records: Any) -> list[str]:
    path = tmp_path / "expect.yaml"
    path.write_text(expected)
    return broken(Expectations.read(path), Results().with_records(records))


FOUND = {"found_at": 30, "acted_at": 40, "detector": "pooled_provenance", "step": "block"}


def test_results_are_merged_by_what_they_measure(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "drill.json"
    first = Results().with_records(
        [made(run=0), made(run=1), Immune(data="toy", rows=9, changed=0, refused=0, reported=None)]
    )
    first.write(path)
    again = Results.read(path)
    assert again == first
    merged = again.with_records([made(run=1, rows=7), made(run=1, mode="off"), made(run=1, accounts=20)])
    assert [(run.mode, run.accounts, run.run, run.rows) for run in merged.runs] == [
        ("on", 1, 0, 500),
        ("on", 1, 1, 7),
        ("off", 1, 1, 500),
        ("on", 20, 1, 500),
    ]
    assert len(merged.immune) == 1
    path.write_text("{}{")
    with pytest.raises(DrillError, match="are no results of a drill"):
        Results.read(path)


def test_every_bound_has_its_sentence(tmp_path: Path) -> None:
    off = made(mode="off", watched=False, figures={"success": 1.0})
    runs = [made(run=0, figures={"success": 1.0}, **FOUND), made(run=1, figures={"success": 0.0})]
    assert held("square: {found: 0.5, success: 0.5}", tmp_path, off, *runs) == []
    assert "found in 1 of 2 runs; expected: all" in held("evasion: {found: all}", tmp_path, *runs)[0]
    assert "acted on in 1 of 2 runs" in held("evasion: {acted_on: all}", tmp_path, *runs)[0]
    assert "success is 0.5" in held('"sq*": {success: 0.04}', tmp_path, *runs)[0]
    assert "inf rows at the median" in held("square: {median_rows: 50}", tmp_path, *runs)[0], "a run was not found"
    assert held("square: {median_rows: 30}", tmp_path, runs[0]) == []
    assert "not known" in held("square: {found: all}", tmp_path, made(watched=False))[0]
    assert "was not measured" in held("square: {advantage: 0.1}", tmp_path, *runs)[0]
    assert "no such attack was run" in held("zoo: {found: all}", tmp_path, *runs)[0]
    assert "no such attack was run" in held("square: {found: all}", tmp_path, off)[0]


def test_fidelity_has_to_fall(tmp_path: Path) -> None:
    theft = {"attack": "knockoff", "name": "Knockoff Nets", "technique": "extraction"}
    off, on = ({**theft, "mode": mode, "figures": {"fidelity": share}} for mode, share in (("off", 0.8), ("on", 0.65)))
    assert held("extraction: {fidelity_drop: 14}", tmp_path, made(**off), made(**on)) == []
    assert held("extraction: {fidelity_drop: 14}", tmp_path, made(**off), made(**on, accounts=20)) == []
    assert "falls by 15.0 points" in held("extraction: {fidelity_drop: 20}", tmp_path, made(**off), made(**on))[0]
    assert "needs --direct" in held("extraction: {fidelity_drop: 20}", tmp_path, made(**on))[0]


def test_benign_callers_have_a_bound(tmp_path: Path) -> None:
    def callers(acted: int, how: str = "simulated") -> Benign:
        fields = {
            "callers": 500,
            "rows": 9,
            "rows_acted": 0,
            "callers_found": acted,
            "callers_held": 0,
            "callers_acted": acted,
        }
        return Benign.model_validate({"data": "toy", "kind": "frames", "how": how, **fields})

    assert held("benign: {acted_on: 0.002}", tmp_path, callers(1)) == []
    assert "1 of 500 callers" in held("benign: {acted_on: 0.001}", tmp_path, callers(1))[0]
    assert "no benign callers" in held("benign: {acted_on: 0.001}", tmp_path, made())[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "holds no expectation"),
        ("square: {rows: 5}", "square.rows: Extra inputs are not permitted"),
        ("square: {found: most}", "square.found"),
        ("benign: {acted_on: 2}", "benign.acted_on"),
        ("a: [", "cannot be read"),
    ],
)
def test_wrong_expectations_are_told(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(DrillError, match=said.replace(".", r"\.")):
        held(text, tmp_path, made())


def test_tables_have_a_line_an_attack_and_say_what_is_not_known() -> None:
    results = Results(about={"toy": "**Toy.**"}).with_records(
        [
            made(mode="off", watched=False, norm="inf", figures={"success": 1.0, "perturbation": 0.1}),
            made(norm="inf", figures={"success": 0.0}, **FOUND),
            made(attack="zoo", name="ZOO", watched=False),
            made(attack="square@30s", name="Square, a call every 30 s", mode="simulated", **FOUND),
            Telling(data="toy", mode="silent", probes=100, accuracy=0.5, bits=0.0, by={"answers": 0.5}),
            Benign(
                data="toy",
                kind="plain",
                how="simulated",
                callers=10,
                rows=99,
                callers_acted=1,
                rows_acted=3,
                callers_held=0,
                callers_found=2,
            ),
            Immune(data="toy", rows=10_000, changed=0, refused=0, reported="block"),
        ]
    )
    shown = markdown(results)
    assert shown.startswith("**Toy.**\n\n| evasion |")
    assert (
        "| Square | 1 / 0 of 1 | 0.10 L-inf / - | 1 of 1 | 30 | 1 of 1 | 40 | - | pooled_provenance | block |" in shown
    )
    assert "| ZOO | - | - | ? | ? | ? | ? | ? | ? | ? |" in shown
    assert "| Square, a call every 30 s | 1 of 1 | 30 |" in shown
    assert "| **all** | simulated | 10 | 99 | 2 | 0 | 1 (10.00%) | 3 (3.03%) |" in shown
    assert "10,000 rows, 0 of them" in shown
    assert markdown(Results()) == "nothing was measured\n"


def test_the_readme_takes_the_tables_between_its_marks() -> None:
    text = f"# Title\n\n{BEGIN}\nold\n{END}\nrest\n"
    assert written(text, "| new |\n") == f"# Title\n\n{BEGIN}\n\n| new |\n\n{END}\nrest\n"
    assert written(written(text, "| a |\n"), "| b |\n") == written(text, "| b |\n")
    with pytest.raises(ValueError, match="needs"):
        written("# Title\n", "")


def test_the_plan_names_each_job_once_and_takes_parts() -> None:
    everything = jobs("fashion-mnist", 10)
    assert len({job.key for job in everything}) == len(everything)
    assert {job.title for job in jobs("fashion-mnist", 2, ["square*20"])} == {"fashion-mnist/square*20"}
    assert {job.name for job in jobs("digits-table", 1, ["digits-table/oars_*"])} == {
        "oars_square",
        "oars_hop_skip_jump",
    }
    assert len([job for job in everything if (job.name, job.accounts, job.mode) == ("zoo", 1, "silent")]) == 10
    assert [job.run for job in everything] == sorted(job.run for job in everything)
