"""Config keys, their defaults and meaning; reading YAML configs."""

from frozenseg.config.keys import KEYS, Key
from frozenseg.config.load import config_hash, get_config, load_config
from frozenseg.config.sources import find_config

__all__ = ["KEYS", "Key", "config_hash", "find_config", "get_config", "load_config"]
