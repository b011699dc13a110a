"""Loads configs by name, for configs that are based on others."""

import importlib

from inres.config import Config, ConfigError


def load(name: str) -> Config:
    """The config of a single run, from `experiments/configs/<name>.py`.

    Raises:
      ConfigError: the file does not exist or is not the config of a single run.
    """
    try:
        config = importlib.import_module(f"{__name__}.{name}").get_config()
    except ModuleNotFoundError:
        config = None
    if not isinstance(config, Config):
        raise ConfigError(f"experiments/configs/{name}.py: no such config of one run")
    return config
