"""For every test here, those of the packages under plugins/ too."""

from __future__ import annotations

from hypothesis import settings

# No test asserts a duration: a busy machine finds no fault.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

pytest_plugins = ["tests.causes"]
