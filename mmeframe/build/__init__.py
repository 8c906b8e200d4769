"""Turn a validated config into files: resolve sub-models, check that they fit, pack them, log one router.

The one place that logs to MLflow. Knows neither Hydra nor the runtime.
"""

from mmeframe.build.draft import Draft, open_draft
from mmeframe.build.fleet import Fleet, resolve
from mmeframe.build.log import log_router
from mmeframe.build.previous import Previous, find_previous

__all__ = ["Draft", "Fleet", "Previous", "find_previous", "log_router", "open_draft", "resolve"]
