"""Every row of the contract, asked of each server, and of both to compare them."""

import grpc

from tests.conformance.case import Case, ask, check, compare
from tests.conformance.conftest import Servers
from tests.conformance.rows import ROWS


def test_answers_as_tensorflow_serving(servers: Servers, server: str, case: Case) -> None:
    channel = servers.target if server == "target" else servers.direct
    assert channel is not None
    check(case, ask(channel, case))


def test_target_answers_like_direct(servers: Servers, direct: grpc.Channel, case: Case, any_map_order: bool) -> None:
    compare(case, ask(servers.target, case), ask(direct, case), any_map_order=any_map_order)


def test_names_of_rows_are_unique() -> None:
    names = [case.name for case in ROWS]
    assert sorted(set(names)) == sorted(names)
