"""The loader ``onnx``: real models, converted by skl2onnx and written by MLflow, against MLflow's own answers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import yaml
from mlflow.models import infer_signature
from mmeframe import api
from mmeframe.errors import ProblemsError
from mmeframe.plugin import ModelError
from mmeframe.plugin.manager import load_plugins
from mmeframe.testing import LoaderCase, ModelLoaderConformance
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidProtobuf
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from mmeframe_onnx.loader import OnnxConf, OnnxLoader

README = Path(__file__).parents[1] / "README.md"
REQUIREMENTS = [f"onnx=={onnx.__version__}", f"onnxruntime=={onnxruntime.__version__}"]


class Files:
    """The ``SubModelFiles`` of the plugin API over an MLflow model's folder; notes whether a folder was asked for."""

    def __init__(self, root: Path) -> None:
        self.root, self.id, self.flavor, self.unpacked = root, "m", "onnx", False
        self.options = yaml.safe_load((root / "MLmodel").read_text())["flavors"]["onnx"]

    @property
    def names(self) -> list[str]:
        return [path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file()]

    def read(self, name: str) -> memoryview:
        return memoryview((self.root / name).read_bytes())

    def folder(self) -> Path:
        self.unpacked = True
        return self.root


def rows(n: int = 60, seed: int = 0) -> pd.DataFrame:
    """x1, x2: standard normal."""
    return pd.DataFrame(np.random.default_rng(seed).standard_normal((n, 2)), columns=["x1", "x2"])


ROWS = rows()
TARGET = 3 * ROWS.x1 - ROWS.x2
TEXTS = ROWS.assign(shop=np.resize(["berlin", "köln", "x"], len(ROWS)))


def converted(model: Any, zipmap: bool | None = None) -> Any:
    """A scikit-learn model of x1 and x2 as ONNX, whose input is one matrix of floats."""
    options = None if zipmap is None else {"zipmap": zipmap}
    return to_onnx(model, initial_types=[("X", FloatTensorType([None, 2]))], target_opset=17, options=options)


def by_column(model: Any) -> Any:
    """A scikit-learn model of TEXTS as ONNX, with one input for each column."""
    types: list[Any] = [(name, FloatTensorType([None, 1])) for name in ("x1", "x2")]
    return to_onnx(model, initial_types=[*types, ("shop", StringTensorType([None, 1]))], target_opset=17)


def graph(inputs: Any, outputs: Any, *nodes: Any, weights: Any = ()) -> Any:
    """A model of a few operators. inputs, outputs: name -> (type of the tensor, shape)."""
    described = [
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in them.items()]
        for them in (inputs, outputs)
    ]
    made = helper.make_graph(list(nodes), "g", *described, initializer=list(weights))
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def two_vectors(kind: int) -> Any:
    """Sum and difference of two columns, each a vector: what MLflow hands over where there are several inputs."""
    return graph(
        {"x1": (kind, ["n"]), "x2": (kind, ["n"])},
        {"sum": (kind, ["n"]), "difference": (kind, ["n"])},
        helper.make_node("Add", ["x1", "x2"], ["sum"]),
        helper.make_node("Sub", ["x1", "x2"], ["difference"]),
    )


def wide(outputs: int = 400) -> Any:
    """A model whose weights are large enough to lie in a file of their own: the sum of many multiples of a row."""
    weights = np.random.default_rng(1).standard_normal((2, outputs)).astype(np.float32)
    return graph(
        {"X": (TensorProto.FLOAT, ["n", 2])},
        {"y": (TensorProto.FLOAT, ["n", 1])},
        helper.make_node("MatMul", ["X", "w"], ["all"]),
        helper.make_node("ReduceMean", ["all"], ["y"], axes=[1], keepdims=1),
        weights=[numpy_helper.from_array(weights, "w")],
    )


def save(path: Path, model: Any, example: pd.DataFrame = ROWS, **options: Any) -> Path:
    """An MLflow model folder."""
    signature = infer_signature(example, np.zeros(len(example)))
    mlflow.onnx.save_model(model, str(path), signature=signature, pip_requirements=REQUIREMENTS, **options)
    return path


def load(path: Path, **options: Any) -> Any:
    return OnnxLoader(OnnxConf(**options)).load(Files(path))


def mlflows(path: Path, frame: pd.DataFrame) -> pd.DataFrame:
    """MLflow's own answers."""
    return mlflow.pyfunc.load_model(str(path), suppress_warnings=True).predict(frame)


TWO_TARGETS = np.column_stack([TARGET, -TARGET])
LABELS = np.where(TARGET > 0, "up", "down")
MATRIX_MODELS = {
    "linear": lambda: converted(LinearRegression().fit(ROWS.to_numpy(), TARGET)),
    "pipeline": lambda: converted(make_pipeline(StandardScaler(), LinearRegression()).fit(ROWS.to_numpy(), TARGET)),
    "forest": lambda: converted(RandomForestRegressor(20, random_state=0).fit(ROWS.to_numpy(), TARGET)),
    "network": lambda: converted(
        MLPRegressor(hidden_layer_sizes=(40,), max_iter=5000, random_state=0).fit(ROWS.to_numpy(), TARGET)
    ),
    "classifier": lambda: converted(LogisticRegression().fit(ROWS.to_numpy(), LABELS)),
    "weights-in-a-file": wide,
}


def case(name: str, model: Any, **options: Any) -> LoaderCase:
    """model: a function that makes the model of the case."""

    def written(folder: Path) -> Path:
        return save(folder / "model", model())

    return LoaderCase("onnx", model=written, rows=ROWS, options=options, id=name)


@pytest.mark.process
@pytest.mark.smoke
class TestConformance(ModelLoaderConformance):
    """What every model loader promises: one input and several, one file and several."""

    cases = (
        *(case(kind, MATRIX_MODELS[kind]) for kind in ("pipeline", "forest", "weights-in-a-file")),
        case("labels", MATRIX_MODELS["classifier"], outputs=["output_label"]),
        case("vectors", lambda: two_vectors(TensorProto.DOUBLE), threads=2),
    )


# -- answers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MATRIX_MODELS)
def test_it_answers_as_mlflow_does(tmp_path, kind):
    """To the last bit, in the same frame, on rows that it never saw; MLflow is told to use one thread as well."""
    path = save(tmp_path / "model", MATRIX_MODELS[kind](), onnx_session_options={"intra_op_num_threads": 1})
    new = rows(500, seed=7)

    found = load(path).predict(new)

    expected = mlflows(path, new)
    assert found.columns.tolist() == expected.columns.tolist()
    assert found.to_dict("records") == expected.to_dict("records")


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.DOUBLE], ids=["floats", "doubles"])
def test_several_inputs_are_columns(tmp_path, kind):
    """Each by its name, whatever the order of the columns; each output is a column."""
    path = save(tmp_path / "model", two_vectors(kind))

    found = load(path).predict(ROWS[["x2", "x1"]])

    pd.testing.assert_frame_equal(found, mlflows(path, ROWS))
    assert found["sum"].to_numpy() == pytest.approx((ROWS.x1 + ROWS.x2).to_numpy(), rel=1e-5, abs=1e-6)


def test_whole_numbers(tmp_path):
    """Columns of whole numbers stay what they are."""
    frame = pd.DataFrame({"x1": [2**53 + 1, 2], "x2": [1, 5]})
    path = save(tmp_path / "model", two_vectors(TensorProto.INT64), frame)

    found = load(path).predict(frame)

    pd.testing.assert_frame_equal(found, mlflows(path, frame))
    assert found["sum"].tolist() == [2**53 + 2, 7]


def test_inputs_that_are_matrices_of_one_column(tmp_path):
    """What skl2onnx makes of a pipeline over columns, texts among them; MLflow's pyfunc cannot ask such a model."""
    steps = [("numbers", StandardScaler(), ["x1", "x2"]), ("texts", OneHotEncoder(), ["shop"])]
    pipeline = make_pipeline(ColumnTransformer(steps), LinearRegression())
    pipeline.fit(TEXTS, TARGET + TEXTS["shop"].map({"berlin": 0.0, "köln": 5.0, "x": 10.0}))
    path = save(tmp_path / "model", by_column(pipeline), TEXTS)

    found = load(path).predict(TEXTS)

    assert found["variable"].to_numpy() == pytest.approx(pipeline.predict(TEXTS), rel=1e-4, abs=1e-4)


def test_the_outputs_that_are_chosen(tmp_path):
    """Labels alone, in a frame; probabilities alone, in a table; both together are no frame."""
    classifier = LogisticRegression().fit(ROWS.to_numpy(), LABELS)
    path = save(tmp_path / "model", converted(classifier, zipmap=False))

    labels = load(path, outputs=["label"]).predict(ROWS)
    probabilities = load(path, outputs=["probabilities"]).predict(ROWS)

    assert labels["label"].tolist() == classifier.predict(ROWS.to_numpy()).tolist()
    np.testing.assert_allclose(probabilities, classifier.predict_proba(ROWS.to_numpy()), atol=1e-5)
    with pytest.raises(ModelError, match="its output 'probabilities' has several values in a row") as caught:
        load(path).predict(ROWS)
    assert caught.value.hint == "Choose what it answers: loader: {kind: onnx, outputs: [probabilities]}."


def test_several_values_in_a_row(tmp_path):
    """A model of several targets answers with a table; MLflow's pyfunc puts them below one another."""
    model = LinearRegression().fit(ROWS.to_numpy(), TWO_TARGETS)
    path = save(tmp_path / "model", converted(model))

    live = load(path)
    found = live.predict(ROWS)

    np.testing.assert_allclose(found, model.predict(ROWS.to_numpy()), rtol=1e-4, atol=1e-5)
    assert OnnxLoader(OnnxConf()).for_arrays(live).predict(ROWS.to_numpy()).tolist() == found.tolist()


def test_arrays_have_no_names(tmp_path):
    """A model of several inputs needs a frame: which column is which, an array does not say."""
    path = save(tmp_path / "model", two_vectors(TensorProto.FLOAT))

    assert OnnxLoader(OnnxConf()).for_arrays(load(path)) is None


@pytest.mark.parametrize(
    ("kind", "frame"),
    [
        pytest.param(TensorProto.INT64, ROWS, id="doubles-as-whole-numbers"),
        pytest.param(TensorProto.INT32, pd.DataFrame({"x1": [2**40], "x2": [1]}), id="long-as-integer"),
        pytest.param(TensorProto.FLOAT, TEXTS[["shop"]].assign(x1=1.0, x2=TEXTS["shop"]), id="text-as-number"),
    ],
)
def test_numbers_that_do_not_fit(tmp_path, kind, frame):
    """What a tensor cannot hold is refused, and not cut."""
    live = load(save(tmp_path / "model", two_vectors(kind)))

    with pytest.raises(TypeError, match="Cannot cast array"):
        live.predict(frame)


# -- loading ---------------------------------------------------------------------------------------------------------


def test_a_model_is_loaded_from_memory(tmp_path):
    """No folder is asked for where the model is one file, whatever lies beside it."""
    files = Files(save(tmp_path / "model", MATRIX_MODELS["linear"]()))

    OnnxLoader(OnnxConf()).load(files)

    assert not files.unpacked


def test_weights_in_files_of_their_own(tmp_path):
    """Then the model is loaded from a folder, also by a process that works in another one."""
    path = save(tmp_path / "model", wide())
    files = Files(path)
    (weights,) = [name for name in files.names if (path / name).stat().st_size == 2 * 400 * 4]
    kept = OnnxLoader(OnnxConf()).keep(files.names, files.options)

    live = OnnxLoader(OnnxConf()).load(files)

    assert files.unpacked
    assert {"model.onnx", weights} <= set(kept)
    assert len(live.predict(ROWS)) == len(ROWS)


def test_code_and_extra_files_stay_behind(tmp_path):
    """What ships with a model, and is no part of it, does not go into the bundle by way of the loader."""
    names = ["model.onnx", "weights.data", "sub/weights.data", "code/helper.py", "extra_files/readme.txt"]

    assert list(OnnxLoader(OnnxConf()).keep(names, {})) == ["model.onnx", "weights.data", "sub/weights.data"]


def test_one_thread_unless_told_otherwise(tmp_path):
    """Also where the model was logged with more; its other settings hold."""
    logged = {"intra_op_num_threads": 4, "graph_optimization_level": 1, "execution_mode": "parallel"}
    path = save(tmp_path / "model", MATRIX_MODELS["linear"](), onnx_session_options=logged)

    one, three = (load(path, **options).session.get_session_options() for options in ({}, {"threads": 3}))

    assert (one.intra_op_num_threads, one.inter_op_num_threads, three.intra_op_num_threads) == (1, 1, 3)
    assert one.graph_optimization_level == onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    assert three.execution_mode == onnxruntime.ExecutionMode.ORT_PARALLEL


def test_a_model_on_one_thread_starts_none(tmp_path):
    """A thousand sub-models do not make thousands of threads."""
    path = save(tmp_path / "model", MATRIX_MODELS["forest"]())

    def threads() -> int:
        return len(os.listdir("/proc/self/task"))

    load(path).predict(ROWS)
    before = threads()
    kept = [load(path) for _ in range(20)]
    for live in kept:
        live.predict(ROWS)

    assert threads() == before


def test_onnx_holds_no_code(tmp_path):
    """Nothing of the format runs; texts for ONNX Runtime itself may name files, so they count as what may."""
    loader = OnnxLoader(OnnxConf())
    session = {"extra_session_config": {"session.disable_prepacking": "1"}}
    path = save(tmp_path / "model", MATRIX_MODELS["linear"](), onnx_session_options=session)

    assert not loader.runs_code(["model.onnx"], {"data": "model.onnx", "onnx_session_options": None})
    assert loader.runs_code(["model.onnx"], Files(path).options)
    assert len(load(path).predict(ROWS)) == len(ROWS)


@pytest.mark.parametrize(
    ("options", "what", "hint"),
    [
        pytest.param(
            {"outputs": ["variabel"]}, "it has no output 'variabel'.", "Did you mean 'variable'?", id="output"
        ),
        pytest.param(
            {"providers": ["CPUExecutionProvidr"]},
            "this ONNX Runtime has no execution provider 'CPUExecutionProvidr'.",
            "Did you mean 'CPUExecutionProvider'?",
            id="provider",
        ),
    ],
)
def test_names_that_do_not_exist(tmp_path, options, what, hint):
    """The nearest that does is named."""
    path = save(tmp_path / "model", MATRIX_MODELS["linear"]())

    with pytest.raises(ModelError) as caught:
        load(path, **options)

    assert (caught.value.where, caught.value.what) == ("m", what)
    assert caught.value.hint.startswith(hint)


def test_a_damaged_file(tmp_path):
    """It is ONNX Runtime that says so; a model that is half there is never loaded."""
    path = save(tmp_path / "model", MATRIX_MODELS["forest"]())
    file = path / "model.onnx"
    file.write_bytes(file.read_bytes()[:-100])

    with pytest.raises(InvalidProtobuf):
        load(path)


# -- as a plugin -----------------------------------------------------------------------------------------------------


def test_the_installed_plugin_is_found():
    """The entry point is loaded without a fault, and offers one loader, for MLflow's flavor."""
    plugins = load_plugins()
    (info,) = [plugin for plugin in plugins.plugins if plugin.distribution == "mmeframe-onnx"]

    assert (info.name, info.module, info.version) == ("onnx", "mmeframe_onnx.plugin", "0.1.0")
    assert (info.status, info.reason) == ("ok", "")
    assert info.provides == {"model loader": ["onnx"]}
    assert plugins.loader_for("onnx") == "onnx"


@pytest.mark.parametrize(
    ("loader", "where", "text"),
    [
        pytest.param("{kind: onnx, threads: many}", "threads", "input should be a valid integer", id="text"),
        pytest.param("{kind: onnx, threads: -1}", "threads", "greater than or equal to 0", id="negative"),
        pytest.param("{kind: onnx, providers: []}", "providers", "at least 1 item", id="no-provider"),
        pytest.param("{kind: onnx, thread: 1}", "thread", "there is no option 'thread'", id="unknown"),
    ],
)
def test_options_are_checked_with_the_config(loader, where, text):
    """A wrong option is a problem of the config that names it."""
    with pytest.raises(ProblemsError) as caught:
        api.compose("name=x", "routing.levels=[[]]", f"+models.a={{uri: x, key: {{}}, loader: {loader}}}")

    (problem,) = caught.value.problems
    assert problem.where == f"models.a.loader.{where}"
    assert text in problem.what


# -- a router, and the README ----------------------------------------------------------------------------------------

SHOPS = ("berlin", "köln", "paris", "rom", "wien")
# Another process, in another folder: answers of a router for the rows of a file.
ASK = """
import sys
import pandas as pd
from mmeframe import api

uri, store, table, answers = sys.argv[1:]
router = api.load_router(uri, tracking_uri=store)
router.predict(pd.read_parquet(table)).dump(answers)
kinds = sorted({loader.kind for loader in router.bundle.manifest.loaders})
print(*kinds, [it.form == "array" for it in router.records])
"""


@pytest.mark.process
@pytest.mark.build
def test_a_router_over_the_readme(tmp_path, monkeypatch):
    """The README's config is a router of five models that MLflow logged; another process gets the answers of each.

    Nothing is unpacked there, but the one model whose weights lie in a file of their own.
    """
    monkeypatch.chdir(tmp_path)
    (config,) = re.findall(r"^```yaml\n(.*?)^```", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    experiment = Path("conf/experiment/prices.yaml")
    experiment.parent.mkdir(parents=True)
    experiment.write_text(config, encoding="utf-8")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MMEFRAME_CACHE_DIR", str(tmp_path / "cache"))
    mlflow.set_tracking_uri(uri)
    kinds = ("linear", "pipeline", "forest", "network", "weights-in-a-file")
    own = {}
    for shop, kind in zip(SHOPS, kinds, strict=True):
        info = mlflow.onnx.log_model(
            MATRIX_MODELS[kind](),
            name=f"price_{shop}",
            signature=infer_signature(ROWS, np.zeros(len(ROWS))),
            pip_requirements=REQUIREMENTS,
            registered_model_name=f"price_{shop}",
            # As the router has it, to compare the last bits.
            onnx_session_options={"intra_op_num_threads": 1},
        )
        mlflow.MlflowClient().set_registered_model_alias(f"price_{shop}", "champion", info.registered_model_version)
        own[shop] = mlflow.pyfunc.load_model(info.model_uri, suppress_warnings=True)
    table = rows(300, seed=3).assign(shop=np.resize(SHOPS, 300))
    table.to_parquet("rows.parquet")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    logged = api.build("experiment=prices", "bundle.allow_pickle=false", config_dirs=["conf"])
    paths = [str(tmp_path / "rows.parquet"), str(tmp_path / "answers.pkl")]
    monkeypatch.setenv("MMEFRAME_CACHE_DIR", str(tmp_path / "cache-there"))
    shown = subprocess.run(
        [sys.executable, "-c", ASK, logged.model_uri, uri, *paths], cwd=elsewhere, capture_output=True, text=True
    )

    assert shown.stdout.split(maxsplit=1) == ["onnx", f"{[True] * 5}\n"], shown.stderr
    answers = np.load(paths[1], allow_pickle=True)
    for shop in SHOPS:
        mine = (table["shop"] == shop).to_numpy()
        expected = own[shop].predict(table.loc[mine, ["x1", "x2"]]).iloc[:, 0]
        assert answers[mine].tolist() == expected.tolist(), shop
    assert len(list(tmp_path.glob("cache-there/mmeframe-*/models/*"))) == 1


@pytest.mark.build
def test_a_bare_file(tmp_path, monkeypatch):
    """A file ``.onnx`` needs no MLflow folder; its columns are declared, and its answers are found by asking it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("MMEFRAME_CACHE_DIR", str(tmp_path / "cache"))
    model = LinearRegression().fit(ROWS.to_numpy(), TARGET)
    onnx.save(converted(model), "all.onnx")

    logged = api.build(
        "name=bare",
        "routing.levels=[[]]",
        "+models.all={uri: all.onnx, key: {}, signature: {inputs: [x1, x2]}}",
    )

    answers = api.load_router(logged.model_uri).predict(ROWS)
    np.testing.assert_allclose(answers, model.predict(ROWS.to_numpy()), rtol=1e-4, atol=1e-5)


@pytest.mark.build
@pytest.mark.parametrize("estimator", [LogisticRegression(), GaussianNB()], ids=["operator", "array"])
@pytest.mark.parametrize(
    ("one", "two", "columns"),
    [
        pytest.param(["cat", "dog"], ["bird", "dog"], ["bird", "cat", "dog"], id="texts"),
        pytest.param([0, 1], [1, 10, 2], ["0", "1", "2", "10"], id="numbers"),
    ],
)
def test_probabilities_of_several_are_aligned(tmp_path, monkeypatch, estimator, one, two, columns):
    """Each class has its column, whichever sub-model knows it; one that a sub-model has never seen gets 0."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("MMEFRAME_CACHE_DIR", str(tmp_path / "cache"))
    models, paths = {}, {}
    for id_, labels in {"one": one, "two": two}.items():
        target = np.array(labels)[np.arange(len(ROWS)) % len(labels)]
        models[id_] = clone(estimator).fit(ROWS.to_numpy(np.float32), target)
        graph_ = to_onnx(models[id_], ROWS.to_numpy(np.float32)[:1], options={"zipmap": False}, target_opset=17)
        paths[id_] = tmp_path / id_
        signature = infer_signature(ROWS, models[id_].predict_proba(ROWS.to_numpy(np.float32)))
        mlflow.onnx.save_model(graph_, str(paths[id_]), signature=signature, pip_requirements=REQUIREMENTS)
    loader = "{kind:onnx,outputs:[probabilities]}"
    entries = ",".join(f"{id_}:{{uri:{path},loader:{loader}}}" for id_, path in paths.items())

    logged = api.build("name=pets", "routing=column", "routing.column=key", f"+models={{{entries}}}")
    answer = api.load_router(logged.model_uri).predict(ROWS.head(6).assign(key=["one", "two"] * 3))

    assert answer.columns.tolist() == columns
    for row, id_ in enumerate(["one", "two"] * 3):
        own = models[id_].predict_proba(ROWS.to_numpy(np.float32)[[row]])[0]
        known = dict(zip(map(str, models[id_].classes_), own, strict=True))
        np.testing.assert_allclose(answer.iloc[row], [known.get(name, 0.0) for name in columns], rtol=1e-4, atol=1e-6)


def test_the_readme_lists_every_option():
    """No option is without a row in the README's table."""
    table = README.read_text(encoding="utf-8").split("## Options")[1].split("##")[0]

    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == list(vars(OnnxConf()))
