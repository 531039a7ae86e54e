"""The configuration's text."""

import json
from collections.abc import Sequence

import yaml

from proxy.config import redact
from proxy.config.load import ConfigError, parse
from proxy.config.schema import Config
from tests.fuzz.target import Plain
from tests.fuzz.targets.everything import models

_ENVIRONMENT = {"NAME": "value", "NUMBER": "7", "YAML": "{a: [b]}"}
_LIMITS = [{"by": "global", "rate": "20000/s"}, {"by": "caller", "budget": "100_000", "per": "day", "mode": "shadow"}]


class Configuration(Plain):
    """proxy/config; what is taken has to have a fingerprint and a redacted form."""

    name = "config"
    seconds = 5.0  # a megabyte takes two, and whoever writes the configuration is trusted
    tokens = (
        *(
            b"!!int",
            b"!!float",
            b"!!bool",
            b"!!timestamp",
            b"!!binary",
            b"!!set",
            b"!!python/name:os.system",
            b"!",
            b"&a",
        ),
        *(
            b"*a",
            b"<<: *a",
            b"? ",
            b": ",
            b"- ",
            b"|\n",
            b">\n",
            b"---\n",
            b"%YAML 1.1\n",
            b"${NAME}",
            b"${NONE:-x}",
            b"$${",
        ),
        *(
            b"null",
            b"~",
            b"true",
            b".inf",
            b".nan",
            b"0x" + b"f" * 6000,
            b"2001-13-45",
            b"1:60:60",
            b'"\\ud800"',
            b"[]",
            b"{}",
        ),
        *(b"models:", b"limits:", b"upstream:", b"kind:", b"steps:", b"mode: enforce", b"by: caller", b"rate: 1/s"),
        b"[&a [], *a, *a, *a, *a, *a, *a, *a, *a]",
    )

    def seeds(self) -> Sequence[bytes]:
        everything = {
            "models": models(mode="shadow", percent=50, inputs=["image"], immune=["peer:10.*"], delay=[0.1, 1])
        }
        whole = {
            "upstream": {
                "targets": ["dns:///models:8500", "unix:/run/m.sock"],
                "retry": {"attempts": 2},
                "default_deadline": 10,
            },
            "listen": {"grpc": "[::]:8600", "admin": "127.0.0.1:8601", "compression": "gzip"},
            "admin": {"operators": [{"name": "a", "role": "viewer", "sha256": "0" * 64, "expires": "2030-01-01"}]},
            "identity": {"order": ["forwarded_for", "peer"], "forwarded_for": {"trusted_hops": 2}},
            "bounds": {"message_bytes": "64MiB", "calls_in_flight": 10},
            "methods": {"allow": ["/a.B/C"]},
            "limits": _LIMITS,
            "callers": {"peer:10.0.0.1": "coarsen"},
            "secret": "${NONE:-sixteen characters}",
            "store": {"kind": "redis", "url": "redis://localhost:6379/0", "on_failure": "local", "replicas": 2},
            "capture": {"path": "captured", "models": {"free": 0.5}},
            "events": {"webhook": {"url": "http://localhost:1/", "secret": "sixteen characters"}},
            "log": {"level": "debug"},
        }
        tiers = {"tiers": {"partner": {"limits": _LIMITS[:1]}}, "ladder": {"throttle": {"limits": _LIMITS[:1]}}}
        rules = everything["models"]["free"]
        upstream = {"upstream": "models:8500"}
        texts = [
            "upstream: localhost:8500\n",
            "a: &a [x, x]\nb: &b [*a, *a]\nupstream: {targets: *b}\nmodels: {m: {<<: {}}}\n",
            *(yaml.safe_dump(upstream | {name: section}) for name, section in whole.items()),
            *(yaml.safe_dump(upstream | {"models": {"m": {name: rule}}}) for name, rule in rules.items()),
            *(yaml.safe_dump(upstream | {"models": {"m": {"inputs": {"x": x}}}}) for x in rules["inputs"].values()),
            yaml.safe_dump({"upstream": "${NAME}:1", "models": {"m": tiers}}, default_flow_style=True),
            json.dumps(whole),
            yaml.safe_dump(upstream | everything),
        ]
        return [text.encode() for text in texts]

    def run(self, data: bytes) -> str:
        try:
            text = data.decode()
        except UnicodeDecodeError:
            text = data.decode("latin-1")
        if "import" in text:  # would do so
            return "not tried"
        try:
            config = parse(text, _ENVIRONMENT, "file")
        except ConfigError as error:
            return _refused(str(error))
        json.dumps(redact.redact(config))
        assert redact.fingerprint(config) == redact.fingerprint(parse(text, _ENVIRONMENT, "file"))
        assert isinstance(config, Config)
        return "taken"


def _refused(problems: str) -> str:
    assert problems.startswith("file"), "a problem without its place"
    return "refused"
