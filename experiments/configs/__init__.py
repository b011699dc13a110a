"""Configs by name, for configs that build on others."""

import importlib

from inres.config import Config, ConfigError


def load(name: str) -> Config:
    """What `experiments/configs/<name>.py` gives.

    Raises:
      ConfigError: there is no such config of one run.
    """
    try:
        config = importlib.import_module(f"{__name__}.{name}").get_config()
    except ModuleNotFoundError:
        config = None
    if not isinstance(config, Config):
        raise ConfigError(f"experiments/configs/{name}.py: no such config of one run")
    return config
