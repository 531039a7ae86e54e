"""Model servers that die, hang, crawl, reset and talk nonsense, through a TCP proxy that makes them do so."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from tests.calls import call, open_channel
from tests.e2e.model_server import PREDICT, ModelServer, echo
from tests.faults.chaos import Chaos, Fault, garbage, passing, reset, silent, slow
from tests.faults.seen import BODY, GRACE, Load, State, figure, settles, until
from tests.processes import Proxy, serving_proxy

UNREACHABLE = "the model server is not reachable"


@dataclass(frozen=True)
class Faulty:
    """A proxy, its model server, and the TCP proxy between them; a pair has another, sound way to the server."""

    proxy: Proxy
    server: ModelServer
    chaos: Chaos


@contextmanager
def running(folder: Path, others: int) -> Iterator[Faulty]:
    with ModelServer() as server, Chaos(server.address) as chaos, Chaos(server.address) as sound:
        targets = [chaos.address, sound.address][: 1 + others]
        with serving_proxy(folder, {"targets": targets}) as proxy:
            until(lambda: figure(proxy, "tensorwall_upstream_up") == len(targets), "connected to all")
            yield Faulty(proxy, server, chaos)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faulty]:
    with running(tmp_path_factory.mktemp("one"), others=0) as found:
        yield found


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faulty]:
    with running(tmp_path_factory.mktemp("two"), others=1) as found:
        yield found


@pytest.fixture
def only(one: Faulty) -> Iterator[Faulty]:
    """The faulty server is the only one. What a test did to it must leave nothing behind."""
    yield from leaving_nothing(one, 1)


@pytest.fixture
def pair(two: Faulty) -> Iterator[Faulty]:
    """There is a sound one beside it."""
    yield from leaving_nothing(two, 2)


def leaving_nothing(found: Faulty, targets: int) -> Iterator[Faulty]:
    before = State.of(found.proxy)
    yield found
    found.chaos.fault = passing
    found.server.behaviour = echo
    until(lambda: figure(found.proxy, "tensorwall_upstream_up") == targets, "connected to all again")
    until(lambda: succeeds(found.proxy), "answering again")
    settles(found.proxy, before)


def ends(proxy: Proxy, deadline: float) -> tuple[str, str]:
    """Of one call: its code and details. It must not have outlasted its deadline."""
    began = time.monotonic()
    with open_channel(proxy.address) as channel:
        answer = call(channel, PREDICT, BODY, timeout=deadline)
    assert time.monotonic() - began < deadline + GRACE
    return answer.code.name, answer.details


def succeeds(proxy: Proxy) -> bool:
    return ends(proxy, 2.0)[0] == "OK"


def test_one_of_two_killed_under_load_fails_no_call(pair: Faulty) -> None:
    """Many calls are lost at once, more than the budget for second tries has: the other server takes them all."""

    def busy(body: bytes, context: grpc.ServicerContext) -> bytes:
        time.sleep(0.05)
        return body

    pair.server.behaviour = busy
    with Load([pair.proxy.address], callers=24, deadline=20) as load:
        for _ in range(3):
            load.until(50)
            pair.chaos.kill()
            load.until(50)
            pair.chaos.revive()
        load.end()
    assert set(load.codes) == {"OK"}
    assert figure(pair.proxy, "tensorwall_upstream_retries_total", outcome="retried") >= 1


@pytest.mark.parametrize("fault", [reset(), garbage(7)], ids=["resetting", "garbage"])
def test_one_of_two_that_breaks_every_connection_fails_no_call(pair: Faulty, fault: Fault) -> None:
    with Load([pair.proxy.address], callers=8, deadline=20) as load:
        load.until(20)
        pair.chaos.fault = fault
        until(lambda: figure(pair.proxy, "tensorwall_upstream_up", target=pair.chaos.address) == 0, "found out")
        load.until(50)
        pair.chaos.fault = passing
        load.until(20)
        load.end()
    assert set(load.codes) == {"OK"}


@pytest.mark.parametrize("fault", [reset(), reset(after=3), garbage(1)], ids=["resetting", "later", "garbage"])
def test_an_only_one_that_breaks_connections_is_unreachable_in_our_words(only: Faulty, fault: Fault) -> None:
    """Not in gRPC's, which name addresses and frames of ours, and never INTERNAL: the caller did nothing wrong."""
    only.chaos.fault = fault
    seen = {ends(only.proxy, 5.0) for _ in range(8)}
    assert ("UNAVAILABLE", UNREACHABLE) in seen
    assert seen <= {("OK", ""), ("UNAVAILABLE", UNREACHABLE)}


@pytest.mark.parametrize("how", ["frozen", "silent"])
def test_half_open_calls_end_at_their_deadline_and_go_on_afterwards(only: Faulty, how: str) -> None:
    if how == "frozen":
        only.chaos.freeze()
    else:
        only.chaos.fault = silent()
    assert ends(only.proxy, 0.5)[0] == "DEADLINE_EXCEEDED"
    only.chaos.thaw()


def test_a_connection_that_the_network_forgot_is_replaced(only: Faulty) -> None:
    """Nobody says that it is dead: bytes go, and none come. Another one would work, and is made."""
    accepted = only.chaos.accepted
    only.chaos.strand()
    assert ends(only.proxy, 0.5)[0] == "DEADLINE_EXCEEDED"
    until(lambda: ends(only.proxy, 0.5)[0] == "OK", "connected anew")
    assert only.chaos.accepted == accepted + 1
    assert any(line["message"].startswith("no answer on a connection") for line in only.proxy.process.events())
    until(lambda: only.chaos.open == 1, "rid of the dead connection")


def test_calls_leave_a_target_on_which_nothing_comes_back(pair: Faulty) -> None:
    pair.chaos.freeze()
    until(lambda: all(succeeds(pair.proxy) for _ in range(6)), "avoiding it")
    with Load([pair.proxy.address], callers=4, deadline=5) as load:
        load.until(50)
        load.end()
    pair.chaos.thaw()
    assert set(load.codes) == {"OK"}


def test_a_crawling_server_costs_the_deadline_and_no_more(only: Faulty) -> None:
    only.server.behaviour = lambda body, context: bytes(8_000)
    only.chaos.fault = slow(bytes_per_second=4_000)
    assert ends(only.proxy, 0.5)[0] == "DEADLINE_EXCEEDED", "the reply needs two seconds"
    assert ends(only.proxy, 40.0)[0] == "OK", "who waits for it gets it"


def test_a_reply_that_is_no_message_passes_as_it_came(only: Faulty) -> None:
    """Nothing of ours fails over it; what rules and detectors do with one is tested with them."""
    nonsense = b"\xff" * 40
    only.server.behaviour = lambda body, context: nonsense
    with open_channel(only.proxy.address) as channel:
        answer = call(channel, PREDICT, BODY)
    assert (answer.code, answer.body) == (grpc.StatusCode.OK, nonsense)
    assert "unexpected error" not in only.proxy.process.log()
