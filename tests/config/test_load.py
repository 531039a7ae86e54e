"""What a configuration may say, and what is said to a wrong one: the file, the line, the key's path and the remedy."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config import Config, ConfigError, load, parse

BAD = [
    ("", "a mapping is expected"),
    ("- a\n- b", "a mapping is expected"),
    ("upstream", "a mapping is expected"),
    ("upstream: [a:1", "not valid YAML"),
    ("upstream: a:1\n\tlisten: {}", "f:2: not valid YAML"),
    ("upstream: a:1\nmodels: " + "[" * 1000 + "]" * 1000, "f:2: lists and mappings nest more than 64 deep"),
    ("- " * 50_000, "f:1: lists and mappings nest more than 64 deep"),
    ("listen: {grpc: '0.0.0.0:1'}", "f:1: upstream: is required; add it"),
    ("upstream: a:1\nupstream: b:2", "f:2: upstream: the key stands twice (first on line 1); keep one"),
    (
        "upstream: a:1\nbounds:\n  message_bytes: 1\n  message_bytes: 2",
        "f:4: bounds.message_bytes: the key stands twice",
    ),
    ("upstream: 5", "upstream: 5 is no upstream; write HOST:PORT"),
    ("upstream: []", "upstream.targets: tuple should have at least 1 item"),
    ("upstream: {targets: []}", "upstream.targets: tuple should have at least 1 item"),
    ("upstream: {}", "upstream.targets: is required"),
    ("upstream: ''", "upstream.targets[0]: '' is not an address"),
    ("upstream: localhost", "upstream.targets[0]: 'localhost' is not an address; write host:port"),
    ("upstream: localhost:http", "'localhost:http' is not an address"),
    ("upstream: localhost:70000", "'localhost:70000' is not an address; write host:port (port 0 to 65535)"),
    ("upstream: localhost:0", "port 0; name the port"),
    ("upstream: [a:1, ':2']", "upstream.targets[1]: ':2' is not an address"),
    ("upstream: '::1:8500'", "write an IPv6 address in brackets"),
    ("upstream: {target: a:1}", "upstream.target: is not a known key"),
    ("upstream: {targets: a:1, tls: {ca: /no/such/file}}", "upstream.tls.ca: '/no/such/file' is not a readable file"),
    ("upstream: {targets: a:1, tls: {cert: {f}}}", "upstream.tls: cert and key belong together"),
    (
        "upstream: {targets: a:1, retry: {attempts: 0}}",
        "upstream.retry.attempts: input should be greater than or equal to 1",
    ),
    (
        "upstream: {targets: a:1, retry: {attempts: 50}}",
        "upstream.retry.attempts: input should be less than or equal to 5",
    ),
    (
        "upstream: {targets: a:1, retry: {backoff: -1}}",
        "upstream.retry.backoff: input should be greater than 0, not -1",
    ),
    ("upstream: {targets: a:1, default_deadline: 0}", "upstream.default_deadline: input should be greater than 0"),
    ("upstream: {targets: a:1, default_deadline: .inf}", "upstream.default_deadline: input should be a finite number"),
    ("upstream: {targets: a:1, default_deadline: soon}", "upstream.default_deadline: input should be a valid number"),
    ("upstream: {targets: a:1, keepalive: {interval: .nan}}", "upstream.keepalive.interval: input should be"),
    (
        "upstream: {targets: a:1, compression: brotli}",
        "upstream.compression: input should be 'none', 'gzip' or 'deflate'",
    ),
    ("upstream: a:1\nlisten: 8500", "f:2: listen: input should be a valid dictionary"),
    ("upstream: a:1\nlisten: {grpc: '8500'}", "listen.grpc: '8500' is not an address"),
    ("upstream: a:1\nlisten: {grpc: 'unix:'}", "listen.grpc: a unix socket needs a path"),
    ("upstream: a:1\nlisten: {port: 1}", "listen.port: is not a known key; check the spelling"),
    ("upstream: a:1\nlisten: {tls: {cert: /nope, key: /nope}}", "listen.tls.key: '/nope' is not a readable file"),
    ("upstream: a:1\nlisten: {tls: {cert: {f}}}", "listen.tls.key: is required"),
    (
        "upstream: a:1\nlisten: {tls: {cert: {f}, key: {f}, require_client_cert: true}}",
        "require_client_cert needs client_ca",
    ),
    ("upstream: a:1\nidentity: {order: []}", "identity.order: tuple should have at least 1 item"),
    (
        "upstream: a:1\nidentity: {order: [cookie]}",
        "identity.order[0]: input should be 'mtls', 'api_key', 'forwarded_for'",
    ),
    ("upstream: a:1\nidentity: {order: [peer, peer]}", "identity: order names a source twice"),
    ("upstream: a:1\nidentity: {order: [api_key]}", "identity: order names api_key, but api_keys is not set"),
    ("upstream: a:1\nidentity: {api_keys: {file: {f}}}", "identity: api_keys is set, but order does not name api_key"),
    ("upstream: a:1\nidentity: {order: [mtls]}", "set listen.tls.client_ca"),
    (
        "upstream: a:1\nidentity: {forwarded_for: {trusted_hops: 0}}",
        "identity.forwarded_for.trusted_hops: input should be",
    ),
    (
        "upstream: a:1\nidentity: {peer: {ipv4_prefix: 33}}",
        "identity.peer.ipv4_prefix: input should be less than or equal to 32",
    ),
    ("upstream: a:1\nbounds: {message_bytes: 64XB}", "bounds.message_bytes: '64XB' is not a size; write bytes"),
    (
        "upstream: a:1\nbounds: {message_bytes: 4GiB}",
        "bounds.message_bytes: input should be less than or equal to 2147483647",
    ),
    ("upstream: a:1\nbounds: {message_bytes: 0}", "bounds.message_bytes: input should be greater than 0, not 0"),
    ("upstream: a:1\nbounds: {calls_in_flight: many}", "bounds.calls_in_flight: input should be a valid integer"),
    ("upstream: a:1\nbounds: {overload_status: ABORTED}", "bounds.overload_status: input should be 'UNAVAILABLE' or"),
    (
        "upstream: a:1\nmethods: {allow: [Predict]}",
        "methods.allow[0]: 'Predict' is not a full method name; write /package",
    ),
    ("upstream: a:1\nmethods: {allow: /a.B/c}", "methods.allow: input should be a valid tuple"),
    ("upstream: a:1\nmodels: [m]", "models: input should be a valid"),
    ("upstream: a:1\nmodels: {'': {}}", "models"),
    ("upstream: a:1\nmodels: {m: {colour: red}}", "models.m.colour: is not a known key"),
    ("upstream: a:1\nshutdown: {drain: -5}", "shutdown.drain: input should be greater than or equal to 0, not -5"),
    (
        "upstream: a:1\nlog: {level: loud}",
        "log.level: input should be 'debug', 'info', 'warning' or 'error', not 'loud'",
    ),
    ("upstream: a:1\nlog: {format: on}", "log.format: input should be 'auto', 'json' or 'text'"),
    (
        "upstream: '${NO_SUCH}'",
        "upstream: the environment variable NO_SUCH is not set; set it or write ${NO_SUCH:-default}",
    ),
    ("upstream: !!python/object/apply:os.system [x]", "upstream"),
    ("upstream: !!python/name:os.system x", "is not a plain value; remove the tag"),
    ("a: &a [*a]\nupstream: a:1", "an alias refers to itself"),
    ("upstream: a:1\nlisten: {share_port: true, grpc: 'unix:/a'}", "unix:/a cannot be shared; write host:port"),
    ("upstream: a:1\nlisten: {share_port: true, grpc: '127.0.0.1:0'}", "with a fixed port, as grpc"),
    ("<<: {upstream: a:1}", "only plain keys are understood"),
    ("? [a, b]\n: c\nupstream: a:1", "only plain keys are understood"),
]


@pytest.mark.parametrize(("text", "message"), BAD, ids=[f"{n}-{text[:30]!r}" for n, (text, _) in enumerate(BAD)])
def test_a_wrong_configuration_is_told_where_and_what_to_do(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("x")
    with pytest.raises(ConfigError) as error:
        parse(text.replace("{f}", str(file)), {}, "f")
    assert message in str(error.value)
    assert str(error.value).startswith("f:")
    assert "Traceback" not in str(error.value)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        parse("upstream: nowhere\nlisten: {grpc: 1}\nbounds: {tensor_bytes: -1}", {}, "f")
    assert [line.split(": ")[0] for line in str(error.value).splitlines()] == ["f:1", "f:2", "f:3"]


@pytest.mark.parametrize(
    ("text", "more"),
    [("upstream: a:1\n" + "x: 1\n" * 200, 149), ("upstream: a:1\n" + "".join(f"x{n}: 1\n" for n in range(2000)), 1950)],
    ids=["in the text", "in the values"],
)
def test_of_very_many_problems_the_first_are_told(text: str, more: int) -> None:
    with pytest.raises(ConfigError) as error:
        parse(text, {}, "f")
    *told, last = str(error.value).splitlines()
    assert len(told) == 50
    assert last == f"f: and {more} problems more"


def test_upstream_alone_is_enough() -> None:
    config = parse("upstream: localhost:8500", {})
    assert config.upstream.targets == ("localhost:8500",)
    assert config.bounds.tensor_budget == config.bounds.message_bytes == 64 * 2**20


@pytest.mark.parametrize(
    "text", ["upstream: a:1", "upstream: [a:1]", "upstream: {targets: a:1}", "upstream: {targets: [a:1]}"]
)
def test_the_forms_of_upstream_mean_the_same(text: str) -> None:
    assert parse(text, {}).upstream == parse("upstream: a:1", {}).upstream


@pytest.mark.parametrize("target", ["dns:///models.svc:8500", "unix:/run/s.sock", "[::1]:8500", "10.0.0.1:8500"])
def test_targets(target: str) -> None:
    assert parse(f"upstream: '{target}'", {}).upstream.targets == (target,)


def test_the_environment_is_substituted_as_text() -> None:
    text = "upstream: ${HOST}:${PORT:-8500}\nbounds: {message_bytes: '${SIZE}', calls_in_flight: '${CALLS:-7}'}\n"
    config = parse(text, {"HOST": "models", "SIZE": "4MiB"})
    assert config.upstream.targets == ("models:8500",)
    assert (config.bounds.message_bytes, config.bounds.calls_in_flight) == (4 * 2**20, 7)


def test_what_comes_from_the_environment_never_becomes_yaml() -> None:
    with pytest.raises(ConfigError, match="is not an address"):
        parse("upstream: '${HOST}'", {"HOST": "a:1\nmethods: {allow: [/a.B/C]}"})


def test_a_dollar_is_escaped_by_a_dollar() -> None:
    with pytest.raises(ConfigError) as error:
        parse("upstream: a:1\nlog: {level: '$${X}'}", {})
    assert "'${X}'" in str(error.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "missing.yaml")
    with pytest.raises(ConfigError, match="Is a directory"):
        load(tmp_path)
    (tmp_path / "latin").write_bytes(b"upstream: \xe9:1")
    with pytest.raises(ConfigError, match="byte 10 is not UTF-8"):
        load(tmp_path / "latin")


def test_the_configuration_cannot_be_changed() -> None:
    config = parse("upstream: a:1\nmodels: {m: {}}", {})
    with pytest.raises(ValueError, match="frozen"):
        config.bounds = None  # type: ignore[misc, assignment]
    with pytest.raises(TypeError):
        config.models["n"] = config.models["m"]  # type: ignore[index]


def test_the_schema_names_every_key() -> None:
    assert set(Config.model_json_schema()["properties"]) == set(Config.model_fields)


@settings(deadline=None)
@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    with contextlib.suppress(ConfigError):
        parse(text, {}, "f")
