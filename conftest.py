"""For every test here, those of the packages under plugins/ too."""

from __future__ import annotations

import os

# One thread each: tests run side by side, on small tables. What a test starts inherits it.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

pytest_plugins = ["tests.causes"]
