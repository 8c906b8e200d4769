"""Parsing: from a composed tree to a spec, with every problem in one report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from mlflow.utils.validation import _validate_model_version_tag
from omegaconf import OmegaConf
from pydantic import ValidationError

from mmeframe import errors
from mmeframe.config import Composed, compose, parse
from mmeframe.config.parse import parse_client
from mmeframe.errors import ProblemsError
from mmeframe.option_types import Tags, adapter_of
from mmeframe.plugin.manager import Plugins, isolated_plugins
from mmeframe.sections import (
    Estimator,
    Features,
    OutputSpec,
    Reader,
    RouterSpec,
    TrackingSpec,
    TrafficSpec,
    TrainSpec,
    ValidateSpec,
)
from mmeframe.spec import ComponentSpec, SubModelEntry

ROUTED = "name: r\nrouting: {kind: column, column: dow}\n"
SECTION_NAMES = (
    "build, bundle, disabled_models, environment, exclude, isolation, model_defaults, models, name, observers, output, "
    "predict, residency, routing, serve, signature and 5 more."
)
STRATEGIES = "bins, column, datepart, gate, hash, lookup, param, pattern, rules."
SOURCES = "folder, logged_models, manifest, registry, template."
LOADERS = "catboost, lightgbm, pyfunc, sklearn, statsmodels, xgboost."
COMBINERS = "mean, median, vote, weighted."
OBSERVERS = "log."


@pytest.fixture(scope="module")
def builtins() -> Plugins:
    """The built-in plugins only, whatever else is installed beside the tests."""
    return isolated_plugins()


@pytest.fixture(scope="module")
def base(builtins: Plugins) -> Mapping[str, Any]:
    """The shipped defaults, composed once."""
    return compose("build", plugins=builtins).tree


@pytest.fixture
def spec(builtins: Plugins, base: Mapping[str, Any]) -> Callable[..., RouterSpec]:
    """Parse YAML over the shipped defaults, read as Hydra reads it."""

    def run(text: str, command: str = "build", client: bool = False) -> RouterSpec:
        own = OmegaConf.to_container(OmegaConf.create(text))
        composed = Composed(command, _merged(base, own), text)
        return (parse_client if client else parse)(composed, builtins)

    return run


@pytest.fixture
def report(spec: Callable[..., RouterSpec]) -> Callable[..., list[str]]:
    """The problems of a config, as they are printed."""

    def run(text: str, **options: Any) -> list[str]:
        with pytest.raises(ProblemsError) as caught:
            spec(text, **options)
        return [str(problem) for problem in caught.value.problems]

    return run


def _merged(under: Any, over: Any) -> Any:
    if not isinstance(under, Mapping) or not isinstance(over, Mapping):
        return deepcopy(over)
    names = [*under, *(name for name in over if name not in under)]
    return {name: _merged(under.get(name), over[name]) if name in over else under[name] for name in names}


# -- all at once -----------------------------------------------------------------------------------------------------

MISTAKES = """
srve: {port: 1}
routing:
  keys:
    store: {kind: colum, column: store_id}
    day: {kind: datepart, colum: t, column: t}
  levels: [[stor], []]
  on_unknown: skp
sources:
  weeks: {kind: registy, name: x}
  shops: {kind: template, each: 3, uri: x}
models:
  NO: {uri: models:/norway@champion}
  a: {ur: x}
  b: {uri: x, loader: sklean}
  c: {uri: x, key: {day: 1e3}}
output: {annotate: perhaps}
tracking: {alias: v1}
serve: {port: 99999}
exclude: {a: 1}
"""


def test_every_problem_is_in_one_report(report):
    """Mistakes in every section come together, each with its own config path."""
    assert sorted(problem.split(": ")[0] for problem in report(MISTAKES)) == sorted(
        [
            "exclude",
            "models.False",
            "models.a.ur",
            "models.b.loader.kind",
            "models.c.key.day",
            "name",
            "output.annotate",
            "routing.keys.day.colum",
            "routing.keys.store.kind",
            "routing.levels[0]",
            "routing.on_unknown",
            "serve.port",
            "sources.shops.each",
            "sources.weeks.kind",
            "srve",
            "tracking.alias",
        ]
    )


def test_a_problem_is_reported_once(report):
    """No two lines of a report are equal."""
    problems = report(MISTAKES)

    assert len(problems) == len(set(problems))


# -- what YAML makes of plain words ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        pytest.param("NO", "bool False", id="NO"),
        pytest.param("on", "bool True", id="on"),
        pytest.param("1e3", "float 1000.0", id="1e3"),
        pytest.param("1.5", "float 1.5", id="1.5"),
        pytest.param("010", "int 8", id="010"),
        pytest.param("3", "int 3", id="integer"),
        pytest.param("12:30", "int 750", id="time"),
    ],
)
def test_an_id_that_yaml_read_as_something_else(report, written, read_as):
    """A model id is text; what YAML made of it is said, with the fix."""
    (problem,) = report(f"{ROUTED}models: {{{written}: 'models:/a@champion'}}\n")

    assert problem.startswith(f"models.{read_as.split()[1]}: YAML read this id as {read_as}; quote it")


@pytest.mark.parametrize(
    ("models", "found"),
    [
        pytest.param("{'': 'models:/a/1'}", "models: an id cannot be empty.", id="empty"),
        pytest.param("{a: 5}", "models.a: a sub-model is a URI or a map, not int 5.", id="number"),
        pytest.param("{a: }", "models.a: a sub-model is a URI or a map, not null.", id="nothing"),
    ],
)
def test_ids_and_sub_models_that_are_none(report, models, found):
    """What stands there is said, in the words of YAML."""
    (problem,) = report(f"{ROUTED}models: {models}\n")

    assert problem.startswith(found)


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        pytest.param("NO", "the bool False", id="NO"),
        pytest.param("on", "the bool True", id="on"),
        pytest.param("1e3", "the float 1000.0", id="1e3"),
        pytest.param("1.5", "the float 1.5", id="1.5"),
        pytest.param(".inf", "the float inf", id="infinity"),
        pytest.param("null", "null", id="null"),
        pytest.param("~", "null", id="tilde"),
    ],
)
def test_a_key_value_that_yaml_read_as_something_else(report, written, read_as):
    """A key value is text or a whole number; a bool, float or null is refused, with the fix."""
    (problem,) = report(f"{ROUTED}models: {{a: {{uri: 'models:/a@champion', key: {{dow: {written}}}}}}}\n")

    assert problem.startswith(
        f"models.a.key.dow: YAML read this as {read_as}; {errors.QUOTE} to use it as a key.\n  Write "
    )


@pytest.mark.parametrize(
    ("written", "what"),
    [
        pytest.param("''", "a key cannot be empty.", id="empty"),
        pytest.param("[1, 2]", "a key is text or a whole number, not list.", id="list"),
        pytest.param("{a: 1}", "a key is text or a whole number, not dict.", id="map"),
    ],
)
def test_a_value_that_can_be_no_key(report, written, what):
    """Empty text and containers are no keys."""
    (problem,) = report(f"{ROUTED}models: {{a: {{uri: 'models:/a@champion', key: {{dow: {written}}}}}}}\n")

    assert problem.startswith(f"models.a.key.dow: {what}")


@pytest.mark.parametrize(
    ("written", "key"),
    [
        pytest.param("3", "3", id="integer"),
        pytest.param("-3", "-3", id="negative-integer"),
        pytest.param("'3'", "3", id="quoted-integer"),
        pytest.param("'02108'", "02108", id="quoted-leading-zero"),
        pytest.param("'NO'", "NO", id="quoted-NO"),
        pytest.param("'1e3'", "1e3", id="quoted-1e3"),
        pytest.param("berlin", "berlin", id="word"),
    ],
)
def test_a_good_key_value(spec, written, key):
    """Whole numbers and text are keys, in their canonical form."""
    found = spec(f"{ROUTED}models: {{a: {{uri: 'models:/a@champion', key: {{dow: {written}}}}}}}\n")

    assert found.models[0].key == {"dow": key}


@pytest.mark.parametrize("written", ["NO", "1e3", "null"])
@pytest.mark.parametrize(
    "source",
    [
        pytest.param("kind: registry, name: x", id="registry"),
        pytest.param("kind: logged_models", id="logged_models"),
    ],
)
def test_a_sources_key_value_that_yaml_read_as_something_else(report, source, written):
    """Keys of a source are refused like those of a model: NO does not become 0."""
    (problem,) = report(f"{ROUTED}sources: {{s: {{{source}, key: {{dow: {written}}}}}}}\n")

    assert problem.startswith("sources.s.key.dow: ")


def test_a_key_part_named_by_a_word_that_yaml_read_as_something_else(report):
    """The part is refused by the name that YAML gave it, and the rest of routing is still checked."""
    problems = report("name: r\nrouting: {keys: {NO: {kind: column, column: a}, b: {kind: colum}}}\n")

    assert problems[0].startswith("routing.keys.False: ")
    assert "quote it" in problems[0]
    assert [problem.split(": ")[0] for problem in problems[1:]] == ["routing.keys.b.kind"]


# -- unknown keys ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "serve: {prt: 1}",
            "serve.prt: there is no option 'prt'.\n  Did you mean 'port'? It has: host, port, workers.",
            id="serve",
        ),
        pytest.param(
            "model_defaults: {flavr: auto}",
            "model_defaults.flavr: there is no option 'flavr'.\n"
            "  Did you mean 'flavor'? It has: flavor, loader, prove.",
            id="model_defaults",
        ),
        pytest.param(
            "residency: {max_byte: 1}",
            "residency.max_byte: there is no option 'max_byte'.\n  Did you mean 'max_bytes'? It has: failure_ttl_s, "
            "kind, load_workers, max_bytes, max_models, pin, preload, ttl_s.",
            id="residency",
        ),
        pytest.param(
            "output: {methd: predict}",
            "output.methd: there is no option 'methd'.\n  Did you mean 'method'? It has: annotate, method, "
            "missing_note, on_error.",
            id="output",
        ),
        pytest.param(
            "signature: {mod: union}",
            "signature.mod: there is no option 'mod'.\n  Did you mean 'mode'? It has: mode.",
            id="signature",
        ),
        pytest.param(
            "environment: {overide: {}}",
            "environment.overide: there is no option 'overide'.\n"
            "  Did you mean 'override'? It has: extra, indexed, merge, override, python.",
            id="environment",
        ),
        pytest.param(
            "tracking: {regster_as: x}",
            "tracking.regster_as: there is no option 'regster_as'.\n"
            "  Did you mean 'register_as'? It has: alias, experiment_name, public, register_as, run_name, tags, uri.",
            id="tracking",
        ),
        pytest.param(
            "traffic: {arm: {canary: 0.1}}",
            "traffic.arm: there is no option 'arm'.\n  Did you mean 'arms'? It has: arms, only, shadow, sticky.",
            id="traffic",
        ),
        pytest.param(
            "validate: {coverage: 1}",
            "validate.coverage: there is no option 'coverage'.\n"
            "  Did you mean 'min_coverage'? It has: load, min_coverage.",
            id="validate",
        ),
        pytest.param(
            "observers: {o: {kind: log, evry: 1}}",
            "observers.o.evry: there is no option 'evry' of kind 'log'.\n  Did you mean 'every'? It has: every, level.",
            id="observer",
        ),
        pytest.param(
            "models: {a: {combine: {kind: mean, of: [b], weights: [1]}}}",
            "models.a.combine.weights: there is no option 'weights' of kind 'mean'.\n"
            "  It is one of weighted; remove it with ~models.a.combine.weights.",
            id="combiner",
        ),
        pytest.param(
            "predict: {kep: all}",
            "predict.kep: there is no option 'kep'.\n  Did you mean 'keep'? It has: batch_rows, keep.",
            id="predict",
        ),
        pytest.param(
            "train: {estimator: {clas: x}}",
            "train.estimator.clas: there is no option 'clas'.\n  Did you mean 'class'? It has: class, params.",
            id="train-nested",
        ),
        pytest.param(
            "models: {a: {uri: x, flavour: sklearn}}",
            "models.a.flavour: there is no option 'flavour'.\n"
            "  Did you mean 'flavor'? It has: arm, combine, flavor, key, loader, pin, prove, signature, uri.",
            id="model",
        ),
        pytest.param(
            "models: {a: {uri: x, key: {dwo: 1}}}",
            "models.a.key.dwo: 'dwo' is no key part.\n  Did you mean 'dow'? Key parts: dow.",
            id="key-part",
        ),
        pytest.param(
            "models: {a: {uri: x, loader: {kind: sklearn, threads: 1}}}",
            "models.a.loader.threads: there is no option 'threads' of kind 'sklearn'.\n  It has: none.",
            id="loader",
        ),
        pytest.param(
            "sources: {s: {kind: registry, name: x, verson: latest}}",
            "sources.s.verson: there is no option 'verson' of kind 'registry'.\n"
            "  Did you mean 'version'? It has: arm, filter, key, name, prove, signature, version.",
            id="source",
        ),
        pytest.param(
            "sources: {s: {kind: registry, name: x, each: {}}}",
            "sources.s.each: there is no option 'each' of kind 'registry'.\n"
            "  It is one of template; remove it with ~sources.s.each.",
            id="option-of-another-kind",
        ),
        pytest.param(
            "srve: {port: 1}",
            f"srve: this is no section of a config.\n  Did you mean 'serve'? Sections: {SECTION_NAMES}",
            id="section",
        ),
    ],
)
def test_an_unknown_key_gets_the_nearest_name_and_what_exists(report, text, expected):
    """Every section refuses keys that it does not have."""
    assert report(f"{ROUTED}{text}\n") == [expected]


@pytest.mark.parametrize(
    ("routing", "where", "says"),
    [
        pytest.param("{key: {}, kind: column, column: dow}", "routing.key", "Did you mean 'keys'?", id="beside-a-kind"),
        pytest.param("{kee: {}, kind: column, column: dow}", "routing.kee", "column, keys, levels", id="nothing-close"),
        pytest.param("{key: {}}", "routing.key", "Did you mean 'keys'?", id="without-a-kind"),
        pytest.param(
            "{kind: column, column: dow, colum: x}", "routing.colum", "Did you mean 'column'?", id="the-kinds"
        ),
        pytest.param("{kin: column, column: dow}", "routing.kin", "Did you mean 'kind'?", id="kind-itself"),
    ],
)
def test_an_unknown_key_of_routing(report, routing, where, says):
    """Routing's own keys and those of its kind are offered alike."""
    problems = report(f"name: r\nrouting: {routing}\n")

    assert any(problem.startswith(f"{where}: ") and says in problem for problem in problems)


# -- unknown kinds ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "routing: {kind: colum, column: dow}",
            "routing.kind: no routing strategy named 'colum'.\n  Did you mean 'column'? Known: " + STRATEGIES,
            id="strategy",
        ),
        pytest.param(
            "routing: {keys: {a: {kind: zzz}}}",
            "routing.keys.a.kind: no routing strategy named 'zzz'.\n  Known: " + STRATEGIES,
            id="strategy-of-a-part",
        ),
        pytest.param(
            f"{ROUTED}sources: {{s: {{kind: registri, name: x}}}}",
            "sources.s.kind: no model source named 'registri'.\n  Did you mean 'registry'? Known: " + SOURCES,
            id="source",
        ),
        pytest.param(
            f"{ROUTED}models: {{a: {{uri: x, loader: sklean}}}}",
            "models.a.loader.kind: no model loader named 'sklean'.\n  Did you mean 'sklearn'? Known: " + LOADERS,
            id="loader",
        ),
        pytest.param(
            f"{ROUTED}models: {{a: {{uri: x, loader: {{kind: keras}}}}}}",
            "models.a.loader.kind: no model loader named 'keras'.\n  Known: " + LOADERS,
            id="loader-as-a-map",
        ),
        pytest.param(
            f"{ROUTED}model_defaults: {{loader: sklean}}",
            "model_defaults.loader.kind: no model loader named 'sklean'.\n  Did you mean 'sklearn'? Known: " + LOADERS,
            id="default-loader",
        ),
        pytest.param(
            f"{ROUTED}models: {{a: {{combine: {{kind: men, of: [b]}}}}}}",
            "models.a.combine.kind: no combiner named 'men'.\n  Did you mean 'mean'? Known: " + COMBINERS,
            id="combiner",
        ),
        pytest.param(
            f"{ROUTED}observers: {{o: {{kind: logg}}}}",
            "observers.o.kind: no observer named 'logg'.\n  Did you mean 'log'? Known: " + OBSERVERS,
            id="observer",
        ),
        pytest.param(
            f"{ROUTED}residency: {{kind: egar}}",
            "residency.kind: input should be 'eager' or 'lazy'.\n  Did you mean 'eager'?",
            id="residency",
        ),
    ],
)
def test_an_unknown_kind_gets_the_nearest_name_and_what_exists(report, text, expected):
    """A kind that no plugin registers is named with its config path."""
    assert report(f"name: r\n{text}\n".replace("name: r\nname: r\n", "name: r\n")) == [expected]


@pytest.mark.parametrize(
    ("text", "where", "noun", "kinds"),
    [
        pytest.param("sources: {s: {name: x}}", "sources.s", "model source", SOURCES, id="source"),
        pytest.param("sources: {s: null}", "sources.s", "model source", SOURCES, id="empty-source"),
        pytest.param("sources: {s: registry}", "sources.s", "model source", SOURCES, id="source-as-text"),
        pytest.param("models: {a: {uri: x, loader: {}}}", "models.a.loader", "model loader", LOADERS, id="loader"),
        pytest.param("models: {a: {uri: x, loader: 3}}", "models.a.loader", "model loader", LOADERS, id="number"),
        pytest.param("models: {a: {combine: {of: [b]}}}", "models.a.combine", "combiner", COMBINERS, id="combiner"),
        pytest.param("observers: {o: {every: 2}}", "observers.o", "observer", OBSERVERS, id="observer"),
    ],
)
def test_a_missing_kind(report, text, where, noun, kinds):
    """A map without ``kind`` is answered with the kinds."""
    assert report(f"{ROUTED}{text}\n") == [f"{where}: choose a {noun}: kind is missing.\n  Kinds: {kinds}"]


def test_a_source_or_an_observer_without_a_name(report):
    """The groups chosen without a place are answered with the place."""
    assert report(f"{ROUTED}source: {{kind: registry, name: x}}\nobserver: {{kind: log}}\n") == [
        "source: a source needs a name.\n  Write +source@sources.<name>=registry.",
        "observer: an observer needs a name.\n  Write +observer@observers.<name>=log.",
    ]


# -- wrong types -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "serve: {port: abc}",
            "serve.port: input should be a valid integer, unable to parse string as an integer.",
            id="integer",
        ),
        pytest.param("serve: {port: 65536}", "serve.port: input should be less than or equal to 65535.", id="range"),
        pytest.param("serve: {workers: 0}", "serve.workers: input should be greater than or equal to 1.", id="minimum"),
        pytest.param(
            "serve: {host: 127}",
            f"serve.host: input should be a valid string.\n  YAML read this as int 127; {errors.QUOTE}.",
            id="text",
        ),
        pytest.param(
            "output: {annotate: perhaps}",
            "output.annotate: input should be a valid boolean, unable to interpret input.",
            id="bool",
        ),
        pytest.param(
            "environment: {merge: hightest}",
            "environment.merge: input should be 'raise' or 'highest'.\n  Did you mean 'highest'?",
            id="choice",
        ),
        pytest.param(
            "environment: {override: {numpy: 2}}",
            f"environment.override.numpy: input should be a valid string.\n  YAML read this as int 2; {errors.QUOTE}.",
            id="value-of-a-map",
        ),
        pytest.param(
            "predict: {batch_rows: 0}", "predict.batch_rows: input should be greater than or equal to 1.", id="predict"
        ),
        pytest.param(
            "models: {a: {uri: 3}}",
            f"models.a.uri: input should be a valid string.\n  YAML read this as int 3; {errors.QUOTE}.",
            id="uri",
        ),
        pytest.param(
            "models: {a: {uri: x, key: 3}}",
            "models.a.key: input should be a map.\n  It is map of (str or int) or 'none' or null.",
            id="key",
        ),
        pytest.param(
            "sources: {s: {kind: template, uri: x, each: 3}}",
            "sources.s.each: input should be a map.\n  Write {name: value}.",
            id="source",
        ),
        pytest.param("serve: null", "serve: this section cannot be null.", id="null-section"),
    ],
)
def test_a_wrong_type_names_its_path(report, text, expected):
    """What a value should be, at its config path."""
    assert report(f"{ROUTED}{text}\n") == [expected]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        pytest.param("tracking: {tags: {team: [a]}}", "tracking.tags.team", id="tag"),
        pytest.param("predict: {keep: 3}", "predict.keep", id="word-or-list"),
        pytest.param("models: {a: 3}", "models.a", id="model"),
        pytest.param("models: {a: null}", "models.a", id="empty-model"),
        pytest.param("models: [a]", "models", id="models"),
        pytest.param("sources: [a]", "sources", id="sources"),
        pytest.param("serve: 3", "serve", id="section"),
    ],
)
def test_a_wrong_type_is_one_problem(report, text, where):
    """A value that may be one of several types is refused once, not once per type."""
    problems = report(f"{ROUTED}{text}\n")

    assert [problem.split(": ")[0] for problem in problems] == [where]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("12", "name: this must be text, not 12.\n  Quote it in YAML.", id="integer"),
        pytest.param("NO", "name: this must be text, not False.\n  Quote it in YAML.", id="bool"),
        pytest.param("null", "name: this must be text, not None.\n  Quote it in YAML.", id="null"),
        pytest.param("a/b", "name: MLflow refuses / in a model's name.", id="slash"),
        pytest.param("'a:b.c'", "name: MLflow refuses . : in a model's name.", id="colon-and-dot"),
    ],
)
def test_a_name_that_cannot_be_used(report, name, expected):
    """A router's name is text that MLflow takes as a registered model's."""
    assert report(f"name: {name}\nrouting: {{kind: column, column: dow}}\n") == [expected]


@pytest.mark.parametrize(
    ("own", "where"),
    [
        pytest.param("levels: 3", "routing.levels", id="levels-number"),
        pytest.param("levels: [dow]", "routing.levels", id="levels-flat"),
        pytest.param("on_unknown: skp", "routing.on_unknown", id="on_unknown"),
        pytest.param("on_unknown: off", "routing.on_unknown", id="on_unknown-off"),
    ],
)
def test_a_mistake_in_routing_invents_no_other(report, own, where):
    """With a wrong level or word, the declared parts still count: nothing says that no routing is declared."""
    (problem,) = report(
        f"name: r\nrouting: {{{own}, keys: {{dow: {{kind: column, column: dow}}}}}}\n"
        "models: {a: {uri: x, key: {dow: 1}}}\n"
    )

    assert problem.startswith(where)


@pytest.mark.parametrize(
    ("levels", "where"),
    [
        pytest.param("store", "routing.levels", id="text"),
        pytest.param("[store]", "routing.levels[0]", id="flat"),
    ],
)
def test_levels_of_another_shape_are_shown_how(report, levels, where):
    """Levels are lists of lists; who writes one list is told."""
    (problem,) = report(f"name: r\nrouting: {{levels: {levels}, keys: {{store: {{kind: column, column: s}}}}}}\n")

    assert problem.startswith(f"{where}: input should be")
    assert problem.endswith("\n  Use auto, or list them: [[store],[region],[]].")


# -- one name or a list ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "read"),
    [
        pytest.param("exclude: old_*", lambda spec: spec.exclude, id="exclude"),
        pytest.param("predict: {keep: old_*}", lambda spec: spec.predict.keep, id="keep"),
        pytest.param("environment: {extra: old_*}", lambda spec: spec.environment.extra, id="extra"),
        pytest.param("environment: {indexed: old_*}", lambda spec: spec.environment.indexed, id="indexed"),
        pytest.param("disabled_models: old_*", lambda spec: spec.disabled_models, id="disabled_models"),
        pytest.param("traffic: {sticky: old_*}", lambda spec: spec.traffic.sticky, id="sticky"),
        pytest.param("traffic: {shadow: old_*}", lambda spec: spec.traffic.shadow, id="shadow"),
    ],
)
def test_one_name_stands_for_a_list_of_it(spec, text, read):
    """Where names are meant, one name needs no brackets."""
    assert read(spec(f"{ROUTED}{text}\n")) == ("old_*",)


# -- required options ------------------------------------------------------------------------------------------------


def test_every_required_option_that_is_open_is_listed(report):
    """``???`` anywhere is named, all of them at once, with what to type."""
    text = (
        "routing: {kind: column, column: '???'}\n"
        "sources: {s: {kind: registry, name: '???'}}\n"
        "models: {a: {uri: '???'}}\n"
    )

    assert sorted(report(text)) == [
        "models.a.uri: this option is required.\n  Set it: models.a.uri=<value>.",
        "name: this option is required.\n  Set it: name=<value>.",
        "routing.column: this option is required.\n  Set it: routing.column=<value>.",
        "sources.s.name: this option is required.\n  Set it: sources.s.name=<value>.",
    ]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        pytest.param("name: r\nrouting: {kind: column}\n", "routing.column", id="strategy"),
        pytest.param("name: r\nrouting: {kind: datepart, part: hour}\n", "routing.column", id="strategy-with-options"),
        pytest.param("name: r\nrouting: {keys: {a: {kind: param}}}\n", "routing.keys.a.param", id="key-part"),
        pytest.param(f"{ROUTED}sources: {{s: {{kind: registry}}}}\n", "sources.s.name", id="source"),
        pytest.param(
            f"{ROUTED}sources: {{s: {{kind: template, each: {{dow: [1]}}}}}}\n", "sources.s.uri", id="template"
        ),
        pytest.param(f"{ROUTED}sources: {{s: {{kind: manifest}}}}\n", "sources.s.path", id="manifest"),
    ],
)
def test_a_required_option_that_is_left_out(report, text, where):
    """A kind written in YAML, without its required option, is answered as its group option is."""
    assert report(text) == [f"{where}: this option is required.\n  Set it: {where}=<value>."]


def test_what_train_requires_is_only_required_to_train(spec):
    """An open option of the train section does not stop a build."""
    assert spec(f"{ROUTED}train: {{estimator: {{params: {{alpha: '???'}}}}}}\n").train is None


# -- nothing names code ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["_target_", "_args_", "_partial_", "_recursive_", "_convert_"])
@pytest.mark.parametrize(
    ("text", "path"),
    [
        pytest.param("{}: os.system", "{}", id="top"),
        pytest.param("models: {{a: {{uri: x, {}: os.system}}}}", "models.a.{}", id="model"),
        pytest.param("sources: {{s: {{kind: registry, name: x, key: {{{}: a}}}}}}", "sources.s.key.{}", id="source"),
        pytest.param("train: {{estimator: {{params: {{{}: a}}}}}}", "train.estimator.params.{}", id="open-map"),
        pytest.param("tracking: {{tags: {{{}: a}}}}", "tracking.tags.{}", id="tags"),
    ],
)
def test_instantiation_keys_are_refused_everywhere(report, name, text, path):
    """A config chooses kinds; it can name no code to run."""
    problems = report(f"{ROUTED}{text.format(name)}\n")

    assert (
        f"{path.format(name)}: {name} is not allowed: nothing in a config names code to run.\n  Choose a kind."
        in problems
    )


# -- routing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("routing", "name", "options"),
    [
        pytest.param("{kind: column, column: store_id}", "store_id", {"column": "store_id"}, id="column"),
        pytest.param("{kind: param, param: dow, column: day}", "dow", {"param": "dow", "column": "day"}, id="param"),
        pytest.param(
            "{kind: hash, columns: user, shares: {a: 1}}",
            "hash",
            {"columns": ["user"], "shares": {"a": 1.0}, "salt": ""},
            id="hash",
        ),
        pytest.param("{kind: gate, model: m}", "gate", {"model": "m"}, id="gate"),
        pytest.param(
            "{kind: datepart, column: ts, part: hour}",
            "ts",
            {"column": "ts", "part": "hour", "timezone": None, "assume": None},
            id="datepart",
        ),
    ],
)
def test_the_short_form_names_its_part(spec, routing, name, options):
    """One part needs no map: it takes the parameter's or column's name, or else that of its kind."""
    (part,) = spec(f"name: r\nrouting: {routing}\n").routing.parts

    assert (part.name, part.strategy.options) == (name, options)


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        pytest.param("auto", (("a", "b"),), id="auto"),
        pytest.param("[[a, b], [a], []]", (("a", "b"), ("a",), ()), id="list"),
    ],
)
def test_levels(spec, levels, expected):
    """``auto`` is one level of all parts, in their order."""
    keys = "{a: {kind: column, column: x}, b: {kind: param, param: y}}"

    assert spec(f"name: r\nrouting: {{keys: {keys}, levels: {levels}}}\n").routing.levels == expected


def test_the_short_form_may_have_levels(spec):
    """``levels`` and ``on_unknown`` are routing's own, beside a kind too."""
    routing = spec("name: r\nrouting: {kind: column, column: dow, levels: [[dow], []], on_unknown: skip}\n").routing

    assert (routing.levels, routing.on_unknown) == ((("dow",), ()), "skip")


def test_the_short_form_beside_keys(report):
    """A kind and a map of parts cannot both be meant."""
    assert report("name: r\nrouting: {kind: column, column: a, keys: {b: {kind: column, column: b}}}\n") == [
        (
            "routing.kind: the short form and routing.keys cannot be used together.\n"
            "  Add parts with +routing@routing.keys.<part>=<kind>, and leave routing=<kind> out."
        )
    ]


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        pytest.param("[[a], [c]]", "routing.levels[1]: 'c' is no key part.\n  Key parts: a, store.", id="unknown-part"),
        pytest.param(
            "[[stor]]",
            "routing.levels[0]: 'stor' is no key part.\n  Did you mean 'store'? Key parts: a, store.",
            id="misspelt-part",
        ),
        pytest.param("[[a], [], [a]]", "routing.levels[2]: duplicate level.", id="level-twice"),
        pytest.param(
            "[[a, store], [store, a]]", "routing.levels[1]: duplicate level.", id="level-twice-in-another-order"
        ),
        pytest.param("[[a, a]]", "routing.levels[0]: duplicate part.", id="part-twice"),
        pytest.param(
            "[]", "routing.levels: there are no levels.\n  Use auto, or list them: [[store],[region],[]].", id="none"
        ),
    ],
)
def test_bad_levels(report, levels, expected):
    """A level is a set of declared parts, each set once."""
    keys = "{a: {kind: column, column: x}, store: {kind: column, column: y}}"

    assert report(f"name: r\nrouting: {{keys: {keys}, levels: {levels}}}\n") == [expected]


def test_a_router_without_routing(report):
    """Routing has no default: the report says how to choose one."""
    assert report("name: r\n") == [
        f"routing: no routing is declared.\n  Choose one: routing=column routing.column=dow. Kinds: {STRATEGIES}"
    ]


def test_a_global_sub_model_alone_needs_no_routing(spec):
    """With only the empty level, every row goes to the global sub-model."""
    found = spec("name: r\nrouting: {levels: [[]]}\nmodels: {all: {uri: x, key: {}}}\n")

    assert (found.routing.parts, found.routing.levels) == ((), ((),))


@pytest.mark.parametrize("name", ["messages", "prompt", "input"])
@pytest.mark.parametrize("kind", ["column", "param"])
def test_inputs_that_mlflow_takes_for_chat(report, kind, name):
    """A column or parameter that makes MLflow's server see a chat request cannot carry a key."""
    assert report(f"name: r\nrouting: {{keys: {{k: {{kind: {kind}, {kind}: {name}}}}}}}\n") == [
        f"routing.keys.k: {name!r} cannot carry a key: it is taken for chat models.\n  Rename it."
    ]


def test_the_parameter_of_annotated_answers_is_taken(report):
    """``annotate`` is a request parameter of every router."""
    assert report("name: r\nrouting: {kind: param, param: annotate}\n") == [
        "routing.keys.annotate: 'annotate' cannot carry a key: it is taken for annotated answers.\n  Rename it."
    ]


@pytest.mark.parametrize("name", ["1a", "'a b'", "a-b"])
def test_names_of_key_parts(report, name):
    """A part's name is used in patterns and levels: letters, digits and underscores."""
    where = f"routing.keys.{name}".replace("'", "")

    assert report(f"name: r\nrouting: {{keys: {{{name}: {{kind: column, column: x}}}}}}\n") == [
        f"{where}: a key part's name is letters, digits and underscores."
    ]


def test_a_time_zone_that_does_not_exist(report):
    """A plugin's own checks of its options are reported with their config path."""
    assert report("name: r\nrouting: {kind: datepart, column: t, timezone: Mars}\n") == [
        "routing.timezone: no time zone named 'Mars'; write it as in 'America/New_York'."
    ]


# -- models and loaders ----------------------------------------------------------------------------------------------

SKLEARN = ComponentSpec(
    "sklearn", "mmeframe.builtin.sklearn_loader:SklearnLoader", "mmeframe.builtin.sklearn_loader:SklearnConf", {}
)


@pytest.mark.parametrize(
    ("loader", "expected"),
    [
        pytest.param("auto", "auto", id="auto"),
        pytest.param("sklearn", SKLEARN, id="name"),
        pytest.param("{kind: sklearn}", SKLEARN, id="map"),
    ],
)
def test_the_forms_of_a_loader(spec, loader, expected):
    """A loader is a name, or a map with its options."""
    assert spec(f"{ROUTED}models: {{a: {{uri: x, loader: {loader}}}}}\n").models[0].loader == expected


def test_a_model_is_its_uri(spec):
    """A model that is only text is its URI."""
    short = spec(f"{ROUTED}models: {{a: 'models:/a@champion'}}\n")

    assert short.models == spec(f"{ROUTED}models: {{a: {{uri: 'models:/a@champion'}}}}\n").models


def test_model_defaults_are_under_each_model(spec):
    """``model_defaults`` hold for models that say nothing else."""
    models = spec(
        f"{ROUTED}model_defaults: {{flavor: sklearn}}\nmodels: {{a: {{uri: x}}, b: {{uri: y, flavor: pyfunc}}}}\n"
    )

    assert [model.flavor for model in models.models] == ["sklearn", "pyfunc"]


@pytest.mark.parametrize(
    ("model", "key"),
    [
        pytest.param("{uri: x}", None, id="left-out"),
        pytest.param("{uri: x, key: {}}", {}, id="global"),
        pytest.param("{uri: x, key: {dow: 1}}", {"dow": "1"}, id="given"),
    ],
)
def test_the_key_of_a_model(spec, model, key):
    """Left out, the id will be the key; empty, the sub-model is global."""
    assert spec(f"{ROUTED}models: {{a: {model}}}\n").models[0].key == key


MEAN = ComponentSpec(
    "mean", "mmeframe.builtin.combiners:MeanCombiner", "mmeframe.builtin.combiners:MeanConf", {"of": ["b", "c"]}
)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        pytest.param(
            "{uri: x, key: none}", SubModelEntry("a", "x", {}, origin="models.a", routed=False), id="without-a-key"
        ),
        pytest.param(
            "{uri: x, key: {dow: 1}, arm: canary}",
            SubModelEntry("a", "x", {"dow": "1"}, arm="canary", origin="models.a"),
            id="arm",
        ),
        pytest.param(
            "{key: {dow: 1}, combine: {kind: mean, of: [b, c]}}",
            SubModelEntry("a", "", {"dow": "1"}, origin="models.a", combine=MEAN),
            id="combination",
        ),
    ],
)
def test_sub_models_of_other_forms(spec, model, expected):
    """A sub-model may have no key, be of an arm, or combine others instead of having files."""
    assert spec(f"{ROUTED}models: {{a: {model}}}\n").models == (expected,)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        pytest.param(
            "{uri: x, combine: {kind: mean, of: [b]}}",
            "models.a.combine: a sub-model has files (uri) or combines others, not both.\n  Keep one.",
            id="files-and-others",
        ),
        pytest.param(
            "{combine: {kind: mean}}",
            "models.a.combine.of: it names no sub-models; list the ids whose answers are combined.",
            id="nobodys-answers",
        ),
        pytest.param(
            "{combine: {kind: weighted, of: [b, c], weights: [1]}}",
            "models.a.combine.weights: there are 1 weights for 2 sub-models; write one for each, in order.",
            id="too-few-weights",
        ),
        pytest.param(
            "{uri: x, arm: can-ary}", "models.a.arm: an arm's name is letters, digits and underscores.", id="arm"
        ),
        pytest.param(
            "{uri: x, arm: NO}",
            f"models.a.arm: input should be a valid string.\n  YAML read this as bool False; {errors.QUOTE}.",
            id="arm-that-yaml-read-as-something-else",
        ),
    ],
)
def test_a_mistake_in_a_sub_model_of_another_form(report, model, expected):
    """One mistake is one problem."""
    assert report(f"{ROUTED}models: {{a: {model}}}\n") == [expected]


# -- traffic, answers and observers ----------------------------------------------------------------------------------


def test_traffic(spec):
    """Shares by arm; the keys of ``only`` are canonical, and only their values where there is one part."""
    found = spec(
        f"{ROUTED}traffic: {{arms: {{canary: 0.1, blue: 0.2}}, sticky: [user], only: {{canary: [1, {{dow: 2}}]}}, "
        "shadow: [next]}\n"
    )

    assert found.traffic == TrafficSpec(
        {"canary": 0.1, "blue": 0.2}, ("user",), {"canary": ({"dow": "1"}, {"dow": "2"})}, ("next",)
    )


@pytest.mark.parametrize(
    ("traffic", "expected"),
    [
        pytest.param("{arms: {a: 1.5}}", "traffic.arms.a: input should be less than or equal to 1.", id="too-much"),
        pytest.param(
            "{arms: {a: -1}}", "traffic.arms.a: input should be greater than or equal to 0.", id="less-than-nothing"
        ),
        pytest.param(
            "{arms: {a: 0.6, b: 0.6}}",
            "traffic.arms: the shares exceed one: 1.2.\n  Lower them.",
            id="together-too-much",
        ),
        pytest.param(
            "{arms: {main: 0.5}}",
            "traffic.arms.main: the main arm takes what the others leave.\n  Remove it.",
            id="share-of-the-main-arm",
        ),
        pytest.param(
            "{arms: {a-b: 0.1}}", "traffic.arms.a-b: an arm's name is letters, digits and underscores.", id="name"
        ),
        pytest.param(
            "{arms: {a: 0.1}, shadow: [a]}",
            "traffic.shadow: 'a' takes traffic (traffic.arms), so it cannot be a shadow.\n"
            "  Remove it from one of the two.",
            id="shadow-with-a-share",
        ),
        pytest.param(
            "{arms: {canary: 0.1}, only: {canry: [1]}}",
            "traffic.only.canry: traffic.arms has no arm 'canry'.\n  Did you mean 'canary'? Arms: canary.",
            id="narrowed-arm-without-a-share",
        ),
        pytest.param(
            "{arms: {a: 0.1}, only: {a: [{dwo: 1}]}}",
            "traffic.only.a[0].dwo: 'dwo' is no key part.\n  Did you mean 'dow'? Key parts: dow.",
            id="part-of-a-key",
        ),
        pytest.param(
            "{arms: {a: 0.1}, only: {a: [NO]}}",
            f"traffic.only.a[0].dow: YAML read this as the bool False; {errors.QUOTE} to use it as a key.\n"
            "  Write the key as it should be, in quotes.",
            id="key-that-yaml-read-as-something-else",
        ),
    ],
)
def test_a_mistake_in_traffic(report, traffic, expected):
    """One mistake is one problem, at its own path."""
    assert report(f"{ROUTED}traffic: {traffic}\n") == [expected]


def test_a_key_of_several_parts_is_named_part_by_part(report):
    """With several parts a value alone does not say which it belongs to."""
    keys = "{a: {kind: column, column: x}, b: {kind: column, column: y}}"

    assert report(f"name: r\nrouting: {{keys: {keys}}}\ntraffic: {{arms: {{c: 0.1}}, only: {{c: [1]}}}}\n") == [
        "traffic.only.c[0]: a key of several parts is a map.\n  Write {a, b}."
    ]


def test_answers(spec):
    """``output`` names any method of the sub-models, and says what a failing one does."""
    found = spec(f"{ROUTED}output: {{method: predict_proba, annotate: true, on_error: skip}}\n")

    assert found.output == OutputSpec("predict_proba", annotate=True, on_error="skip")


@pytest.mark.parametrize("method", ["'predict proba'", "_private", "predict()", "''", "1st"])
def test_what_can_be_no_method(report, method):
    """A method is a public name of Python."""
    assert report(f"{ROUTED}output: {{method: {method}}}\n") == [
        "output.method: name a method of the sub-models, such as predict or predict_proba."
    ]


def test_observers(spec):
    """Observers stand under names of one's own, with the defaults of their kind."""
    (name, observer), *_ = spec(f"{ROUTED}observers: {{o: {{kind: log, every: 100}}}}\n").observers

    assert (name, observer) == (
        "o",
        ComponentSpec(
            "log",
            "mmeframe.builtin.log_observer:LogObserver",
            "mmeframe.builtin.log_observer:LogConf",
            {"every": 100, "level": "info"},
        ),
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("{min_coverage: 0.99}", 0.99, id="share"),
        pytest.param("{min_coverage: null}", None, id="none"),
    ],
)
def test_the_least_coverage(spec, text, expected):
    """``validate.min_coverage`` is a share of rows, or none is asked for."""
    assert spec(f"{ROUTED}validate: {text}\n").validate == ValidateSpec(expected)


def test_a_coverage_of_more_than_all_rows(report):
    """A share of rows is from 0 to 1: 99 is not 99 %."""
    assert report(f"{ROUTED}validate: {{min_coverage: 99}}\n") == [
        "validate.min_coverage: input should be less than or equal to 1."
    ]


# -- parts that build on others --------------------------------------------------------------------------------------


def test_a_part_that_builds_on_another(spec):
    """A part may build on one that is declared after it."""
    keys = "{region: {kind: lookup, part: store, values: {a: eu}}, store: {kind: column, column: x}}"

    assert [part.name for part in spec(f"name: r\nrouting: {{keys: {keys}}}\n").routing.parts] == ["region", "store"]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        pytest.param(
            "{region: {kind: lookup, part: stor, values: {a: eu}}, store: {kind: column, column: x}}",
            "routing.keys.region: it depends on 'stor', which is no key part.\n"
            "  Did you mean 'store'? Key parts: store.",
            id="part-that-is-not-there",
        ),
        pytest.param(
            "{a: {kind: lookup, part: b, values: {x: y}}, b: {kind: lookup, part: a, values: {x: y}}}",
            "routing.keys.a: these parts depend on one another: a -> b -> a.\n  Break the circle.",
            id="circle",
        ),
    ],
)
def test_a_part_that_builds_on_nothing(report, keys, expected):
    """What a part builds on must exist, and must not build on it in turn."""
    assert report(f"name: r\nrouting: {{keys: {keys}}}\n") == [expected]


# -- tracking --------------------------------------------------------------------------------------------------------

REFUSED = "MLflow takes letters, digits, _ and -, and keeps 'latest' and 'v1', 'v2' ... for itself."


@pytest.mark.parametrize("alias", ["v1", "v12", "latest", "a.b", "'a b'", "''", "@champion"])
def test_aliases_that_mlflow_refuses(report, alias):
    """An alias is checked before anything is built for it."""
    quoted = alias if alias.startswith("'") else f"'{alias}'"

    assert report(f"{ROUTED}tracking: {{alias: {quoted}}}\n") == [f"tracking.alias: {REFUSED}"]


@pytest.mark.parametrize("alias", ["champion", "v1a", "Latest-2", "a_b"])
def test_aliases_that_mlflow_takes(spec, alias):
    """What only resembles a reserved alias is good."""
    assert spec(f"{ROUTED}tracking: {{alias: {alias}}}\n").tracking.alias == alias


@pytest.mark.parametrize("name", ["a/b", "a:b", "a@b", ".", ".."])
def test_registered_names_that_cannot_be(report, name):
    """MLflow refuses them, or no URI could name them: known before anything is built."""
    (found,) = report(f"{ROUTED}tracking: {{register_as: '{name}'}}\n")

    assert found.startswith("tracking.register_as: a registered name has no / : or @")


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("ab1é_-. :/$\n"), max_size=8) | st.just("a" * 250) | st.just("a" * 251))
def test_names_of_tags_that_cannot_be(name):
    """What MLflow would refuse once the whole router is built is refused before, and nothing else is."""
    try:
        _validate_model_version_tag(name, "x")
        # Its pattern lets a last line break through.
        taken = bool(name) and "\n" not in name
    except MlflowException:
        taken = False

    try:
        adapter_of(Tags).validate_python({name: "x"})
    except ValidationError:
        assert not taken
    else:
        assert taken


def test_a_tag_that_cannot_be(report):
    (found,) = report(f"{ROUTED}tracking: {{tags: {{'a//b': 1}}}}\n")

    assert found == (
        "tracking.tags.a//b: MLflow takes 1 to 250 letters, digits, blanks and _-.:/ in a name, and no // or ../."
    )


def test_tracking(spec):
    """The registered name defaults to the router's; tags are text."""
    found = spec(f"{ROUTED}tracking: {{tags: {{a: 1, b: true, c: x}}}}\n")

    assert found.tracking == TrackingSpec(register_as="r", tags={"a": "1", "b": "True", "c": "x"})


# -- train -----------------------------------------------------------------------------------------------------------

TRAIN = """
train:
  reader: {path: week.csv}
  target: y
  features: {numeric: [x]}
  estimator: {class: sklearn.linear_model.Ridge}
"""


def test_train(spec):
    """The key is the only part's, the registered names come from the router's."""
    assert spec(ROUTED + TRAIN, command="train").train == TrainSpec(
        reader=Reader(path="week.csv"),
        key=("dow",),
        target="y",
        features=Features(numeric=("x",)),
        estimator=Estimator("sklearn.linear_model.Ridge"),
        holdout=0.2,
        seed=0,
        min_rows=20,
        register_as="r_{dow}",
        global_as=None,
        alias="champion",
        serialization="skops",
        jobs=0,
    )


def test_what_train_requires(report):
    """Everything that is missing to train is listed at once."""
    assert sorted(problem.splitlines()[0] for problem in report(ROUTED, command="train")) == [
        "train.estimator.class: this option is required to train.",
        "train.features: this option is required to train.",
        "train.reader: this option is required to train.",
        "train.target: this option is required to train.",
    ]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param("reader: {object: 'a:b'}", "train.reader: path and object cannot both be set.", id="two-readers"),
        pytest.param("key: dwo", "train.key: 'dwo' is no key part.\n  Did you mean 'dow'? Key parts: dow.", id="key"),
        pytest.param(
            "register_as: same",
            "train.register_as: 'same' does not contain {dow}.\n  All keys would get one name.",
            id="pattern",
        ),
        pytest.param("holdout: 1", "train.holdout: input should be less than 1.", id="holdout"),
        pytest.param("min_rows: 0", "train.min_rows: input should be greater than or equal to 1.", id="min_rows"),
        pytest.param("jobs: -1", "train.jobs: input should be greater than or equal to 0.", id="jobs"),
        pytest.param(
            "serialization: skop",
            "train.serialization: input should be 'skops', 'cloudpickle' or 'pickle'.\n  Did you mean 'skops'?",
            id="serialization",
        ),
        pytest.param(
            "reader: {pth: x}",
            "train.reader.pth: there is no option 'pth'.\n  Did you mean 'path'? It has: object, path.",
            id="reader",
        ),
        pytest.param(
            "estimator: {params: {alpha: '???'}}",
            "train.estimator.params.alpha: this option is required.\n  Set it: train.estimator.params.alpha=<value>.",
            id="open-parameter",
        ),
    ],
)
def test_a_mistake_in_train(spec, base, builtins, change, expected):
    """One mistake in a complete section is one problem."""
    own = OmegaConf.to_container(
        OmegaConf.merge(OmegaConf.create(ROUTED + TRAIN), OmegaConf.create(f"train: {{{change}}}"))
    )

    with pytest.raises(ProblemsError) as caught:
        parse(Composed("train", _merged(base, own), ""), builtins)

    assert [str(problem) for problem in caught.value.problems] == [expected]


def test_a_key_to_train_for_must_be_chosen(report):
    """With several parts, train has to know which."""
    keys = "name: r\nrouting: {keys: {a: {kind: column, column: x}, b: {kind: column, column: y}}}\n"

    assert report(keys + TRAIN, command="train") == ["train.key: name the key part to train for.\n  Key parts: a, b."]


# -- commands on a logged router -------------------------------------------------------------------------------------


def test_a_client_needs_no_name_and_no_models(spec):
    """What ``predict``, ``serve`` and ``show`` need is checked; what they do not is not."""
    found = spec("models: {a: {ur: x}}\nserve: {port: 8080}\n", command="serve", client=True)

    assert (found.name, found.tracking.register_as, found.serve.port) == ("", None, 8080)


def test_a_clients_sections_are_checked(report):
    """All problems of the sections that a client reads are in one report."""
    text = "serve: {prt: 1}\ntracking: {alias: v1}\npredict: {batch_rows: 0}\n"

    assert sorted(problem.split(": ")[0] for problem in report(text, client=True)) == [
        "predict.batch_rows",
        "serve.prt",
        "tracking.alias",
    ]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(
            "estimator: {params: 5}",
            "train.estimator.params: input should be a map.\n  Write {name: value}.",
            id="params",
        ),
        pytest.param(
            "estimator: {parms: {}}",
            "train.estimator.parms: there is no option 'parms'.\n  Did you mean 'params'? It has: class, params.",
            id="unknown",
        ),
        pytest.param(
            "reader: {object: 5}",
            f"train.reader.object: input should be a valid string.\n  YAML read this as int 5; {errors.QUOTE}.",
            id="reader",
        ),
        pytest.param(
            "features: {categorical: [1]}",
            "train.features.categorical[0]: input should be a valid string.\n"
            f"  YAML read this as int 1; {errors.QUOTE}.",
            id="item-of-a-list",
        ),
    ],
)
def test_a_mistake_in_a_nested_section_leaves_the_rest_of_it(spec, report, change, expected):
    """What is right beside it counts: nothing else is called missing."""
    own = OmegaConf.merge(OmegaConf.create(ROUTED + TRAIN), OmegaConf.create(f"train: {{{change}}}"))

    assert report(OmegaConf.to_yaml(own), command="train") == [expected]


def test_mistakes_in_several_nested_sections(report):
    """Each is one problem, and what is missing is still found."""
    text = "train: {estimator: {params: 5}, features: {numeric: 5, categorical: [c]}, target: y, holdout: 2}\n"

    assert sorted(problem.split(": ")[0] for problem in report(ROUTED + text, command="train")) == [
        "train.estimator.class",
        "train.estimator.params",
        "train.features.numeric",
        "train.holdout",
        "train.reader",
    ]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        pytest.param("name: NAME", "name", id="router"),
        pytest.param("name: a\ntracking: {register_as: NAME}", "tracking.register_as", id="registered"),
        pytest.param("name: a\ntracking: {experiment_name: NAME}", "tracking.experiment_name", id="experiment"),
        pytest.param("name: a\ntracking: {run_name: NAME}", "tracking.run_name", id="run"),
    ],
)
@pytest.mark.parametrize(
    ("name", "what"),
    [
        pytest.param('" "', "a name has a letter, and this is space only", id="space"),
        pytest.param(r'"a\e[31m"', "a name cannot hold control characters", id="colour"),
        pytest.param(r'"a\nb"', "a name cannot hold control characters", id="line"),
    ],
)
def test_names_that_nobody_can_see(report, text, where, name, what):
    """MLflow takes space for no name at all, after everything is built; a terminal obeys the others."""
    assert f"{where}: {what}." in report(text.replace("NAME", name))
