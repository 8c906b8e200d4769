"""A PyTorch sub-model through ``loader: pyfunc``: ``make test-torch`` runs this in an environment of its own."""

from __future__ import annotations

import warnings

import mlflow
import numpy as np
import pytest
from mlflow.models import infer_signature

from mmeframe import api
from mmeframe.errors import ProblemsError
from tests import flavors, fleets

torch = pytest.importorskip("torch", reason="torch is not installed here: make test-torch")

ROWS = fleets.rows(20)[["x1", "x2"]].astype("float32")


@pytest.fixture(scope="module")
def path(module_store) -> str:
    """A linear network."""
    torch.manual_seed(0)
    network, path = torch.nn.Linear(2, 1), str(module_store.folder / "network")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        answers = network(torch.from_numpy(ROWS.to_numpy())).detach().numpy()
        mlflow.pytorch.save_model(
            network,
            path,
            signature=infer_signature(ROWS, answers),
            pip_requirements=[*fleets.pins(), "torch"],
            serialization_format="pickle",
        )
    return path


def test_a_network_answers_as_mlflow_has_it(module_store, path):
    """Nobody claims the flavor, so pyfunc loads it from an unpacked folder."""
    routed = ("name=nets", "routing=column", "routing.column=key", module_store.override)
    logged = api.build(*routed, flavors.models({"net": path}))
    router = api.load_router(logged.model_uri, tracking_uri=module_store.uri)

    answer = np.asarray(router.predict(ROWS.assign(key="net")))

    np.testing.assert_array_equal(answer.reshape(-1, 1), np.asarray(flavors.load(path).predict(ROWS)))


def test_a_network_is_refused_where_pickles_are(module_store, path):
    """What pyfunc loads may run code."""
    routed = ("name=nets", "routing=column", "routing.column=key", module_store.override)

    with pytest.raises(ProblemsError, match=r"^bundle.allow_pickle: .*\n  They are: net\."):
        api.validate(*routed, flavors.models({"net": path}), "bundle.allow_pickle=false")
