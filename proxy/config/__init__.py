"""The configuration: one YAML file, read into frozen typed models. `load` is the way in."""

from proxy.config.load import ConfigError, load, parse
from proxy.config.schema import Config

__all__ = ["Config", "ConfigError", "load", "parse"]
