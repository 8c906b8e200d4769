"""Processes that run functions for this one: for sub-models whose modules must not meet in one process.

``near`` is this side, ``far`` the other. Knows neither bundles nor MLflow: build and runtime say what is run.
"""

from mmeframe.worker.client import Ended, Remote, RemoteError, Worker

__all__ = ["Ended", "Remote", "RemoteError", "Worker"]
