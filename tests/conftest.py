"""Options of the whole test run; they are registered here so that pytest knows them whatever folder it is given."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("conformance", "tests/conformance against servers of your choice")
    group.addoption("--target", metavar="HOST:PORT", help="the server whose answers are checked; own ones if absent")
    group.addoption("--direct", metavar="HOST:PORT", help="the model server behind it, to compare every answer with")
    group.addoption(
        "--any-map-order",
        action="store_true",
        help="target and direct are different processes: compare replies byte by byte but for the order of map entries",
    )
    group.addoption(
        "--server-flag",
        action="append",
        default=[],
        metavar="NAME",
        help="check the rows of a server started with this flag, such as enable_batching, instead of the default ones",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--direct") and not config.getoption("--target"):
        raise pytest.UsageError("--direct needs --target, the server whose answers are compared with it")
