"""Compose and validate configs. The only package that knows Hydra and OmegaConf."""

from mmeframe.config.compose import Composed, compose
from mmeframe.config.hydra_api import conf_dir
from mmeframe.config.parse import parse

__all__ = ["Composed", "compose", "conf_dir", "parse"]
