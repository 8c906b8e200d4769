"""``mmeframe completion SHELL`` prints a script; the script asks ``mmeframe completion words SHELL ...`` at each TAB.

Nothing here imports Hydra, MLflow or pandas: an answer must come while a finger still is on the key.
"""

from mmeframe.completion.scripts import SHELLS, script
from mmeframe.completion.words import complete

__all__ = ["SHELLS", "complete", "script"]
