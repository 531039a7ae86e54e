"""Envoy's configuration: a plain HTTP/2 route to one cluster, with its local rate limiting or without."""

from typing import Any

_TYPES = "type.googleapis.com/envoy"
_HTTP = f"{_TYPES}.extensions.filters.http"
_OPTIONS = f"{_TYPES}.extensions.upstreams.http.v3.HttpProtocolOptions"
_MANAGER = f"{_TYPES}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
TOKENS = 1_000_000
"""A second: more than can be used, so that nothing is refused."""


def bootstrap(port: int, upstream: str, limited: bool) -> dict[str, Any]:
    """A static configuration.

    Args:
        port: to listen on, of the loopback interface.
        upstream: host:port, HTTP/2 in clear text.
        limited: whether calls pass the local rate limit filter.
    """
    host, _, at = upstream.rpartition(":")
    filters = [{"name": "router", "typed_config": {"@type": f"{_HTTP}.router.v3.Router"}}]
    manager = {
        "@type": _MANAGER,
        "stat_prefix": "in",
        "codec_type": "HTTP2",
        "http_filters": [_limit(), *filters] if limited else filters,
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "model", "timeout": "0s"}}],
                }
            ]
        },
    }
    return {
        "static_resources": {
            "listeners": [
                {
                    "name": "in",
                    "address": _address("127.0.0.1", port),
                    "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
                }
            ],
            "clusters": [
                {
                    "name": "model",
                    "type": "STATIC",
                    "typed_extension_protocol_options": {
                        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                            "@type": _OPTIONS,
                            "explicit_http_config": {"http2_protocol_options": {}},
                        }
                    },
                    "load_assignment": {
                        "cluster_name": "model",
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(host, int(at))}}]}],
                    },
                }
            ],
        },
    }


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def _limit() -> dict[str, Any]:
    always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    return {
        "name": "envoy.filters.http.local_ratelimit",
        "typed_config": {
            "@type": f"{_HTTP}.local_ratelimit.v3.LocalRateLimit",
            "stat_prefix": "limit",
            "token_bucket": {"max_tokens": TOKENS, "tokens_per_fill": TOKENS, "fill_interval": "1s"},
            "filter_enabled": always,
            "filter_enforced": always,
        },
    }
