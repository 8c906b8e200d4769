"""Turn a bundle into predictions. Imports neither Hydra, OmegaConf nor pluggy; MLflow only in ``pythonmodel``."""

from mmeframe.runtime.router import Answer, Router

__all__ = ["Answer", "Router"]
