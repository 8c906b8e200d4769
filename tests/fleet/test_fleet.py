"""Which sub-models make a fleet, and what is wrong with one: pinned, read and checked against one another."""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.models import infer_signature

from mmeframe import api
from mmeframe.cache import cache_folder
from mmeframe.errors import ProblemsError
from mmeframe.plugin import (
    Combiner,
    CombinerConf,
    CombinerPlugin,
    ConfigError,
    ModelSource,
    ModelSourcePlugin,
    Observer,
    ObserverConf,
    ObserverPlugin,
    SourceConf,
    hookimpl,
)
from mmeframe.plugin.manager import isolated_plugins
from tests import fleets

ONE_PART = ("name=fleet", "routing=column", "routing.column=dow")
EVERYONE = "+models.everyone={uri:'models:/all_days@champion',key:{}}"
DAYS = ("+source@sources.days=registry", "sources.days.name='day_{dow}'")


def uris(fleet) -> dict[str, str]:
    return {model.id: model.uri for model in fleet.models}


def keys(fleet) -> dict[str, dict[str, str]]:
    return {model.id: dict(model.key) for model in fleet.models}


def problems(*overrides: str) -> str:
    with pytest.raises(ProblemsError) as caught:
        api.validate(*overrides)
    return str(caught.value)


# -- sources -------------------------------------------------------------------------------------------------------


def test_registry_reads_keys_from_names(week):
    """Ids are registered names, keys come from the pattern, aliases are pinned to versions and model ids."""
    fleet = api.validate(*ONE_PART, *DAYS, week.override)

    assert keys(fleet) == {f"day_{day}": {"dow": str(day)} for day in range(7)}
    assert uris(fleet) == {f"day_{day}": f"models:/day_{day}/1" for day in range(7)}
    assert all(model.model_id.startswith("m-") for model in fleet.models)


def test_registry_makes_a_fixed_number_of_searches(week, monkeypatch):
    """Seven models or seven thousand: the same few paged searches, and no call per model; one is for routers."""
    calls: list[str] = []
    for name in [it for it in dir(MlflowClient) if not it.startswith("_")]:
        real = getattr(MlflowClient, name)
        if callable(real):

            def counted(self, *args, _name=name, _real=real, **kwargs):
                calls.append(_name)
                return _real(self, *args, **kwargs)

            monkeypatch.setattr(MlflowClient, name, counted)

    api.validate(*ONE_PART, *DAYS, week.override)

    assert sorted(calls) == [
        "search_experiments",
        "search_logged_models",
        "search_logged_models",
        "search_model_versions",
        "search_registered_models",
    ]


def test_registry_reads_keys_from_tags(week):
    """A part that the name does not give comes from the version's tag."""
    source = ("+source@sources.days=registry", "sources.days.name='day_*'", "+sources.days.key.dow=tags.dow")

    fleet = api.validate(*ONE_PART, *source, week.override)

    assert keys(fleet)["day_3"] == {"dow": "3"}


def test_registry_versions_tag_wins_over_the_models(store):
    """A tag of the version says more than one of the registered model."""
    example = fleets.rows(5)[["x1", "x2"]]
    fleets.log_sklearn(fleets.fitted(0), "shop", example)
    client = MlflowClient()
    client.set_registered_model_tag("shop", "dow", "1")
    client.set_model_version_tag("shop", "1", "dow", "2")

    fleet = api.validate(*ONE_PART, "+source@sources.s=registry", "sources.s.name=shop", "+sources.s.key.dow=tags.dow")

    assert keys(fleet) == {"shop": {"dow": "2"}}


def test_registry_missing_tag_is_named(week):
    """A model without the tag that gives its key."""
    text = problems(
        *ONE_PART, "+source@sources.s=registry", "sources.s.name=all_days", "+sources.s.key.dow=tags.dow", week.override
    )

    assert "sources.s: has no tag 'dow', which gives the key part 'dow'" in text


def test_registry_takes_the_version_that_config_names(store):
    """latest, a number and an alias are different models."""
    example = fleets.rows(5)[["x1", "x2"]]
    for seed in range(3):
        fleets.log_sklearn(fleets.fitted(seed), "day_1", example, alias="champion" if seed == 1 else None)
    source = ("+source@sources.days=registry", "sources.days.name='day_{dow}'")

    found = {
        version: uris(api.validate(*ONE_PART, *source, f"sources.days.version='{version}'"))["day_1"]
        for version in ("latest", "1", "@champion")
    }

    assert found == {"latest": "models:/day_1/3", "1": "models:/day_1/1", "@champion": "models:/day_1/2"}


def test_registry_without_the_alias_says_what_to_write(store):
    """version defaults to @champion; where nobody has it, the problem says so."""
    fleets.log_sklearn(fleets.fitted(0), "day_1", fleets.rows(5)[["x1", "x2"]], alias=None)

    text = problems(*ONE_PART, *DAYS)

    assert "registered model 'day_1' has no version '@champion' (aliases: none)" in text
    assert "write version: latest" in text


def test_registry_name_read_in_two_ways_is_a_problem(store):
    """No reading of an ambiguous name is right."""
    fleets.log_sklearn(fleets.fitted(0), "m_1_2_3", fleets.rows(5)[["x1", "x2"]])

    text = problems(
        "name=fleet",
        "+routing@routing.keys.a=column",
        "routing.keys.a.column=a",
        "+routing@routing.keys.b=column",
        "routing.keys.b.column=b",
        "+source@sources.s=registry",
        "sources.s.name='m_{a}_{b}'",
    )

    assert "sources.s: 'm_1_2_3' can be read in two ways by 'm_{a}_{b}'" in text
    assert "a * in the name, and key: {a: tags.a, b: tags.b}." in text


def test_registry_filter_narrows(week):
    """MLflow's own filter over registered models."""
    text = problems(*ONE_PART, *DAYS, "sources.days.filter=\"tags.team = 'nobody'\"", week.override)

    assert "no registered model matches 'day_{dow}'" in text


def test_template_lists_its_models(week):
    """Ids are <source>_<key>; every listed value is one sub-model."""
    fleet = api.validate(
        *ONE_PART,
        "+source@sources.t=template",
        "+sources.t.each.dow=[1,2]",
        "sources.t.uri='models:/day_{dow}@champion'",
        week.override,
    )

    assert uris(fleet) == {"t_1": "models:/day_1/1", "t_2": "models:/day_2/1"}


def test_template_names_each_missing_model(week):
    """A listed key without a model is named with the nearest that exists."""
    text = problems(
        *ONE_PART,
        "+source@sources.t=template",
        "+sources.t.each.dow=[1,8]",
        "sources.t.uri='models:/day_{dow}@champion'",
        week.override,
    )

    assert "sources.t (models:/day_8@champion): there is no registered model 'day_8'" in text


def test_logged_models_by_filter(week):
    """LoggedModels need not be registered; ids are <source>_<key>."""
    fleet = api.validate(
        *ONE_PART,
        "+source@sources.l=logged_models",
        "sources.l.filter=\"tags.dow = '4'\"",
        "sources.l.name='day_{dow}'",
        week.override,
    )

    assert keys(fleet) == {"l_4": {"dow": "4"}}
    assert uris(fleet)["l_4"].startswith("models:/m-")


def test_logged_models_takes_the_newest_of_a_key(store):
    """Older models of the same key are history."""
    example = fleets.rows(5)[["x1", "x2"]]
    infos = [fleets.log_sklearn(fleets.fitted(seed), "day_1", example, register=False) for seed in range(2)]

    fleet = api.validate(*ONE_PART, "+source@sources.l=logged_models", "sources.l.name='day_{dow}'")

    assert [model.model_id for model in fleet.models] == [infos[1].model_id]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_manifest_rows_are_sub_models(week, tmp_path, suffix):
    """One row per sub-model; an empty key is the global one; text keys stay text."""
    table = pd.DataFrame(
        {
            "id": ["boston", "new_york", "rest"],
            "uri": ["models:/day_1@champion", "models:/day_2@champion", "models:/all_days@champion"],
            "zip": ["02108", "10001", None],
        }
    )
    path = tmp_path / f"models{suffix}"
    table.to_csv(path, index=False) if suffix == ".csv" else table.to_parquet(path)

    fleet = api.validate(
        "name=fleet",
        "routing=column",
        "routing.column=zip",
        "routing.levels=[[zip],[]]",
        "+source@sources.m=manifest",
        f"sources.m.path={path}",
        week.override,
    )

    assert keys(fleet) == {"boston": {"zip": "02108"}, "new_york": {"zip": "10001"}, "rest": {}}
    assert any("change 1 of 2 keys: they take '02108' as the number 2108." in warning for warning in fleet.warnings)


def test_manifest_of_whole_numbers_with_an_empty_one(week, tmp_path):
    """In Parquet a null beside whole numbers is the global sub-model, and the numbers stay whole."""
    uris = ["models:/day_1@champion", "models:/all_days@champion"]
    pd.DataFrame({"id": ["one", "rest"], "uri": uris, "dow": [1, None]}).to_parquet(tmp_path / "m.parquet")

    fleet = api.validate(
        *ONE_PART,
        "routing.levels=[[dow],[]]",
        "+source@sources.m=manifest",
        f"sources.m.path={tmp_path / 'm.parquet'}",
        week.override,
    )

    assert keys(fleet) == {"one": {"dow": "1"}, "rest": {}}


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        pytest.param("m.parquet", b"not parquet", "m.parquet cannot be read: Parquet magic bytes", id="corrupt"),
        pytest.param("m.csv", b"", "m.csv cannot be read: No columns to parse from file.", id="empty"),
        pytest.param("m.csv", b"id,uri,Dow\na,models:/day_1/1,1\n", "Did you mean 'Dow'?", id="misspelt-part"),
    ],
)
def test_manifest_that_is_broken(week, tmp_path, name, content, text):
    """The source is named in the report, whatever its file is."""
    (tmp_path / name).write_bytes(content)

    found = problems(*ONE_PART, "+source@sources.m=manifest", f"sources.m.path={tmp_path / name}", week.override)

    assert found.startswith("sources.m.")
    assert text in found


def test_manifest_without_its_columns_is_a_problem(tmp_path):
    """The file and the nearest column are named."""
    path = tmp_path / "models.csv"
    path.write_text("id,url,dow\na,models:/a/1,1\n")

    text = problems(
        *ONE_PART, "+source@sources.m=manifest", f"sources.m.path={path}", f"tracking.uri=sqlite:///{tmp_path}/a.db"
    )

    assert "has no column 'uri'" in text
    assert "Did you mean 'url'?" in text


# -- precedence ----------------------------------------------------------------------------------------------------


def test_explicit_entries_win_by_id_field_by_field(week):
    """What an explicit entry does not say, the source does."""
    fleet = api.validate(*ONE_PART, *DAYS, "+models.day_3.uri='models:/all_days@champion'", week.override)

    assert uris(fleet)["day_3"] == "models:/all_days/1"
    assert keys(fleet)["day_3"] == {"dow": "3"}


def test_explicit_entries_drop_a_sources_key(week):
    """An explicit entry for a key replaces the source's, and plan lists it."""
    override = "+models.special={uri:'models:/all_days@champion',key:{dow:3}}"

    fleet = api.validate(*ONE_PART, *DAYS, override, week.override)

    assert "day_3" not in uris(fleet)
    assert fleet.dropped == (("day_3", "special"),)


def test_a_registered_model_that_config_names_is_left_out_of_sources(week):
    """The explicit entry uses it already, perhaps for another key."""
    override = "+models.special={uri:'models:/day_3@champion',key:{dow:holiday}}"

    fleet = api.validate(*ONE_PART, *DAYS, override, week.override)

    assert keys(fleet)["special"] == {"dow": "holiday"}
    assert "day_3" not in uris(fleet)


def test_exclude_leaves_out_by_pattern(week):
    """Ids or patterns of ids."""
    fleet = api.validate(*ONE_PART, *DAYS, "exclude=['day_[0-4]',day_6]", week.override)

    assert list(uris(fleet)) == ["day_5"]


def test_exclude_that_matches_nothing_is_a_problem(week):
    """A misspelt exclusion would silently exclude nothing."""
    assert "exclude: no source brings 'dya_5'" in problems(*ONE_PART, *DAYS, "exclude=[dya_5]", week.override)


def test_two_entries_for_one_key_are_named(week):
    """Nobody can say which of two explicit entries is meant."""
    text = problems(
        *ONE_PART,
        "+models.a={uri:'models:/day_1@champion',key:{dow:1}}",
        "+models.b={uri:'models:/day_2@champion',key:{dow:1}}",
        week.override,
    )

    assert "models.b: 'b' and 'a' (models.a) are both for dow=1." in text


def test_two_sources_with_one_id_are_named(week):
    """A clash of ids names both sources."""
    more = ("+source@sources.more=registry", "sources.more.name='day_{dow}'")

    text = problems(*ONE_PART, *DAYS, *more, week.override)

    assert "sources.more: its id 'day_0' is also the id of an entry of sources.days." in text


# -- levels and keys -----------------------------------------------------------------------------------------------


def test_the_id_is_the_key_where_there_is_one_part(week):
    """models.<id> without a key, with one part."""
    fleet = api.validate(*ONE_PART, "+models.holiday.uri='models:/all_days@champion'", week.override)

    assert keys(fleet) == {"holiday": {"dow": "holiday"}}


def test_a_global_sub_model_needs_its_level(week):
    """key: {} says what it is; the level says when it is asked."""
    text = problems(*ONE_PART, *DAYS, EVERYONE, week.override)

    assert "routing.levels: 'everyone' has no key (the global sub-model), and no level does." in text
    assert "Set routing.levels=[[dow],[]]." in text


def test_an_empty_level_needs_its_sub_model(week):
    """A level [] that nothing answers would be a silent hole."""
    text = problems(*ONE_PART, *DAYS, "routing.levels=[[dow],[]]", week.override)

    assert "routing.levels: the level [] has no sub-model." in text


def test_keys_that_differ_by_a_leading_zero_are_refused(week):
    """A CSV file makes 01 and 1 one key."""
    text = problems(
        *ONE_PART,
        "+models.a={uri:'models:/day_1@champion',key:{dow:'01'}}",
        "+models.b={uri:'models:/day_2@champion',key:{dow:'1'}}",
        week.override,
    )

    assert "the keys '01' and '1' differ only in leading zeros" in text


def test_no_sub_models_is_a_problem(tmp_path):
    """A router of nothing."""
    text = problems(*ONE_PART, f"tracking.uri=sqlite:///{tmp_path}/a.db")

    assert "models: there are no sub-models." in text


# -- what models are -----------------------------------------------------------------------------------------------


def test_every_problem_is_in_one_report(store, tmp_path):
    """Signature missing, types that clash, requirements that clash, a missing model and alias: all named at once."""
    frame = fleets.rows(20)[["x1", "x2"]]
    fleets.log_sklearn(fleets.fitted(0), "good", frame.head(3))
    fleets.log_sklearn(fleets.fitted(0), "unsigned", frame.head(3), signature=None)
    text_frame = frame.assign(x2=["a", "b"] * 10)
    fleets.log_sklearn(fleets.fitted(0), "textual", text_frame, signature=infer_signature(text_frame, np.zeros(20)))
    fleets.log_sklearn(
        fleets.fitted(0), "older", frame.head(3), requirements=["mlflow", "scikit-learn==1.5.0", "skops"]
    )

    text = problems(
        *ONE_PART,
        "+models.good='models:/good@champion'",
        "+models.unsigned='models:/unsigned@champion'",
        "+models.textual='models:/textual@champion'",
        "+models.older='models:/older@champion'",
        "+models.absent='models:/absnt@champion'",
        "+models.wrong_alias='models:/good@champ'",
        "+models.wrong_version='models:/good/7'",
    )

    assert "models.unsigned: it has no signature." in text
    assert "column 'x2' is string here and double in 'good'" in text
    assert "scikit-learn==1.5.0" in text
    assert "models.older needs" in text or "and models.older needs" in text
    assert "there is no registered model 'absnt'" in text
    assert "registered model 'good' has no alias 'champ'" in text
    assert "Did you mean 'champion'?" in text
    assert "registered model 'good' has no version '7'" in text


def test_a_clash_of_requirements_can_be_settled(store):
    """environment.override and environment.merge=highest decide."""
    frame = fleets.rows(20)[["x1", "x2"]]
    fleets.log_sklearn(fleets.fitted(0), "new", frame.head(3), requirements=["mlflow", "scikit-learn==1.9.1"])
    fleets.log_sklearn(fleets.fitted(0), "old", frame.head(3), requirements=["mlflow", "scikit-learn==1.5.0"])
    models = ("+models.new='models:/new@champion'", "+models.old='models:/old@champion'")

    text = problems(*ONE_PART, *models)
    highest = api.validate(*ONE_PART, *models, "environment.merge=highest")
    override = api.validate(*ONE_PART, *models, "+environment.override.scikit-learn='==1.6.0'")

    assert "models.new needs scikit-learn==1.9.1" in text
    assert "models.old needs scikit-learn==1.5.0" in text
    assert "scikit-learn==1.9.1" in highest.requirements
    assert "scikit-learn==1.6.0" in override.requirements


@pytest.mark.build
def test_promoted_columns_are_listed_and_cast_back(store):
    """long in one model and double in another: checked as double, and each model gets its own type."""
    from sklearn.linear_model import LinearRegression

    whole = pd.DataFrame({"x": np.arange(6)})
    floating = whole.astype(float)
    for name, frame in (("a", whole), ("b", floating)):
        model = LinearRegression().fit(frame, frame["x"] * 2)
        fleets.log_sklearn(model, name, frame)

    overrides = (*ONE_PART, "+models.a='models:/a@champion'", "+models.b='models:/b@champion'")
    fleet = api.validate(*overrides)
    router = api.load_router(api.build(*overrides).model_uri)

    assert [(column.name, column.type) for column in fleet.union.columns] == [("x", "double")]
    assert any("column 'x' is double and long in different sub-models" in warning for warning in fleet.warnings)
    answer = router.predict(pd.DataFrame({"x": [1, 2], "dow": ["a", "b"]}))
    np.testing.assert_allclose(answer, [2.0, 4.0])
    with pytest.raises(Exception, match="column 'x' must be long: 1 rows are not whole numbers"):
        router.predict(pd.DataFrame({"x": [1.5, 2.5], "dow": ["a", "b"]}))


@pytest.mark.build
@pytest.mark.parametrize("form", ["skops", "cloudpickle", "pickle"])
def test_sklearn_models_load_in_every_format(store, form):
    """Whichever serialization MLflow used, without pyfunc around it."""
    example = fleets.rows(9)[["x1", "x2"]]
    fleets.log_sklearn(fleets.fitted(1), "day_1", example, serialization_format=form)

    logged = api.build(*ONE_PART, "+models.day_1={uri:'models:/day_1@champion',key:{dow:1}}")

    assert api.show(logged.model_uri)["sub_models"][0]["loader"] == "sklearn"
    router = api.load_router(logged.model_uri)
    frame = example.assign(dow=1)
    assert router.predict(frame).tolist() == fleets.fitted(1).predict(example).tolist()


@pytest.mark.build
def test_pyfunc_predict_fn_is_kept(store):
    """A classifier that was logged to answer with probabilities does so inside the router."""
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    features, target = load_iris(return_X_y=True, as_frame=True)
    model = LogisticRegression(max_iter=1000).fit(features, target)
    signature = infer_signature(features, model.predict_proba(features))
    fleets.log_sklearn(model, "iris", features, signature=signature, pyfunc_predict_fn="predict_proba")

    logged = api.build(*ONE_PART, "+models.iris={uri:'models:/iris@champion',key:{dow:1}}")

    router = api.load_router(logged.model_uri)
    answer = router.predict(features.assign(dow=1))
    own = mlflow.pyfunc.load_model("models:/iris@champion").predict(features)
    assert np.array_equal(answer, own)
    assert answer.shape == (150, 3)


def test_answers_that_would_hide_the_annotations_are_refused(store):
    """A sub-model's own column named reason cannot stand beside the router's."""
    frame = fleets.rows(6)[["x1", "x2"]]
    signature = infer_signature(frame, pd.DataFrame({"yhat": frame["x1"], "reason": ["a"] * 6}))
    fleets.log_sklearn(fleets.fitted(0), "m", frame, signature=signature)

    text = problems(*ONE_PART, "+models.m='models:/m@champion'")

    assert "its answers have a column 'reason', which annotated answers use." in text


def test_union_mode_warns_about_csv(week):
    """MLflow's server reads no CSV with a column of any type, as key columns are."""
    fleet = api.validate(*ONE_PART, *DAYS, "signature.mode=union", week.override)

    (warning,) = fleet.warnings
    assert warning == (
        "signature.mode=union declares 'dow' with any type, so that MLflow leaves it as it is sent, and its server "
        "accepts no CSV. With signature.mode=checked it does."
    )


@pytest.mark.build
def test_a_model_folder_needs_no_registry(store, tmp_path):
    """A URI may be a plain MLflow model folder."""
    example = fleets.rows(9)[["x1", "x2"]]
    model = fleets.fitted(1)
    folder = tmp_path / "plain"
    signature = infer_signature(example, model.predict(example))
    mlflow.sklearn.save_model(model, str(folder), signature=signature, pip_requirements=fleets.pins())

    logged = api.build(*ONE_PART, f"+models.plain={{uri:'{folder}',key:{{dow:1}}}}")

    assert api.load_router(logged.model_uri).predict(example.assign(dow=1)).tolist() == model.predict(example).tolist()


@pytest.mark.parametrize("text", ["", "{[", "hello", "flavors: 3\n", "flavors: {}\nsignature: {inputs: '[{'}\n"])
def test_a_description_that_is_damaged(store, tmp_path, text):
    """As by a copy that was cut off: the sub-model is named."""
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "MLmodel").write_text(text)

    said = problems(*ONE_PART, f"+models.cut={{uri:'{tmp_path}/cut',key:{{dow:1}}}}")

    assert "models.cut: its file MLmodel is cut off, or was not written by MLflow." in said


def test_a_name_that_is_no_text(store, tmp_path):
    """Names of files may be any bytes; ids, keys and URIs are UTF-8."""
    home = tmp_path / "models"
    home.mkdir()
    (Path(os.fsdecode(os.fsencode(home) + b"/caf\xe9.pkl"))).write_bytes(pickle.dumps(fleets.fitted(1)))

    said = problems(*ONE_PART, "+source@sources.f=folder", f"sources.f.path={home}", "sources.f.pattern='{dow}.pkl'")

    assert "sources.f: 'caf\\udce9' has bytes or halves of letters that are no UTF-8." in said


def test_a_path_that_is_no_model_is_named(store, tmp_path):
    """The path is in the report."""
    text = problems(*ONE_PART, f"+models.plain={{uri:'{tmp_path}/nothing',key:{{dow:1}}}}")

    assert f"models.plain: there is no MLflow model at {tmp_path}/nothing." in text


def test_a_file_of_another_kind(store, tmp_path):
    """It is there, so nobody is sent to look for it; the suffixes that would do are listed."""
    (tmp_path / "a.npz").write_bytes(b"PK")

    text = problems(*ONE_PART, f"+models.plain={{uri:'{tmp_path}/a.npz',key:{{dow:1}}}}")

    assert f"models.plain: {tmp_path}/a.npz has an unsupported file type." in text
    assert ".pkl, .pickle," in text


def test_loaders_and_flavors_can_be_chosen(week):
    """loader: pyfunc and flavor: pyfunc take the general way; a flavor that is not there is named."""
    base = (*ONE_PART, week.override)
    uri = "uri:'models:/day_1@champion'"

    by_loader = api.validate(*base, f"+models.a={{{uri},loader:pyfunc}}")
    by_flavor = api.validate(*base, f"+models.a={{{uri},flavor:pyfunc}}")
    text = problems(*base, f"+models.a={{{uri},flavor:sklern}}")

    assert by_loader.models[0].loader.kind == "pyfunc"
    assert by_flavor.models[0].loader.kind == "pyfunc"
    assert "the model has no flavor 'sklern'" in text
    assert "Did you mean 'sklearn'?" in text


@pytest.mark.build
def test_a_pyfunc_loaded_model_is_unpacked_once(week, tmp_path):
    """Loading twice uses the one folder that the first load unpacked, whole, with no work folder left."""
    overrides = (*ONE_PART, "+models.a={uri:'models:/day_1@champion',key:{dow:1},loader:pyfunc}", week.override)
    logged = api.build(*overrides, "tracking.register_as=unpacked")

    routers = [api.load_router(logged.model_uri, tracking_uri=week.uri) for _ in range(2)]

    cache = cache_folder() / "models"
    assert len(list(cache.iterdir())) == 1
    frame = fleets.rows(3).assign(dow=1)
    assert routers[0].predict(frame).tolist() == routers[1].predict(frame).tolist()


@dataclass
class FussyConf(CombinerConf, ObserverConf, SourceConf):
    limit: int = 0


class Fussy(Combiner[FussyConf], Observer[FussyConf], ModelSource[FussyConf]):  # type: ignore[misc]
    def __init__(self, conf: FussyConf) -> None:
        super().__init__(conf)
        raise ConfigError("too much.", where="limit", hint="Write less.")


class FussyPlugin:
    """Components that refuse their options."""

    @hookimpl
    def mmeframe_combiners(self):
        return [CombinerPlugin("fussy", FussyConf, f"{__name__}:Fussy", "refuses its options")]

    @hookimpl
    def mmeframe_observers(self):
        return [ObserverPlugin("fussy", FussyConf, f"{__name__}:Fussy", "refuses its options")]

    @hookimpl
    def mmeframe_model_sources(self):
        return [ModelSourcePlugin("fussy", FussyConf, f"{__name__}:Fussy", "refuses its options")]


@pytest.mark.parametrize(
    ("override", "where"),
    [
        pytest.param(
            "+models.both={key:{dow:9},combine:{kind:fussy,of:[day_0]}}", "models.both.combine.limit", id="combiner"
        ),
        pytest.param("+observer@observers.log=fussy", "observers.log.limit", id="observer"),
        pytest.param("+source@sources.more=fussy", "sources.more.limit", id="source"),
    ],
)
def test_what_a_component_has_against_its_options(week, override, where):
    """It names the option; the report has the whole place of it."""
    with pytest.raises(ProblemsError) as caught:
        api.validate(*ONE_PART, *DAYS, week.override, override, plugins=isolated_plugins(FussyPlugin()))

    assert f"{where}: too much.\n  Write less." in str(caught.value)
