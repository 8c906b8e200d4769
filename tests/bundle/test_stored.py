"""Bundles that were written once and are kept: what is stored must stay readable."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmeframe.runtime import Router

# Three LightGBM boosters of x1 and x2, by region and for the rest: their text is read by every version of the library.
ROWS = pd.DataFrame({"x1": [0.5, -1.0, 2.0], "x2": 0.0, "region": ["north", "south", "west"]})
ANSWERS = [0.07071362964454152, 0.30845256966418, 2.7001355471917323]


@pytest.mark.parametrize("number", [1])
def test_a_stored_bundle_is_read(number):
    router = Router.open(Path(__file__).with_name(f"format_{number}"))

    answer = router.predict(ROWS, {"annotate": True})

    np.testing.assert_allclose(answer["prediction"], ANSWERS, rtol=1e-12)
    assert list(answer["model_id"]) == ["north", "south", "anywhere"]
    assert list(answer["reason"]) == ["exact", "exact", "fallback"]
    assert router.bundle.manifest.format == number
