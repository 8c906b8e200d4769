"""For every test here, those of the packages under plugins/ too."""

from __future__ import annotations

import os

from hypothesis import settings

# One thread each: tests run side by side, on small tables. What a test starts inherits it.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

# No test asserts a duration: a busy machine finds no fault.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

pytest_plugins = ["tests.causes"]
