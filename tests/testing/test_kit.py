"""Every check finds a component that breaks its promise, and none has anything against one that keeps them all."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmeframe.testing import (
    Case,
    Check,
    CombinerCase,
    LoaderCase,
    ObserverCase,
    SourceCase,
    StrategyCase,
    checks_of,
    parametrize_with_checks,
)
from mmeframe.testing.check import expect
from tests.testing.loaders import write_model

ROWS = pd.DataFrame({"x": [*map(float, range(5))] * 8, "y": "text"})
HOLED = ROWS.assign(x=ROWS["x"].mask(ROWS["x"] == 3))
NUMBERS = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 3)), columns=["a", "b", "c"])
ANSWERS = [[1.0, 5.0, 2.0, 3.0, 0.5], [4.0, 2.0, 2.0, -1.0, 0.0], [0.0, 0.0, 9.0, 1.0, 0.25]]
NAMES = {"names.txt": "a\nb\nc\n"}


def bare(folder: Path) -> Path:
    path = folder / "weights.json"
    path.write_text("[1.0, -2.0, 0.5]")
    return path


def strategy(kind: str, rows: Any = ROWS, **options: Any) -> StrategyCase:
    return StrategyCase(kind, rows, plugins=["tests.testing.strategies"], **options)


def on_table(kind: str) -> StrategyCase:
    return strategy(kind, HOLED, options={"table": "key.txt"}, files={"key.txt": "other"})


def loader(kind: str, model: Callable[[Path], Path] = write_model, rows: Any = NUMBERS, **options: Any) -> LoaderCase:
    return LoaderCase(kind, model, rows, plugins=["tests.testing.loaders"], **options)


def source(kind: str, **options: Any) -> SourceCase:
    return SourceCase(kind, files=NAMES, plugins=["tests.testing.sources"], **options)


def combiner(kind: str, answers: Any = ANSWERS, **options: Any) -> CombinerCase:
    return CombinerCase(kind, answers, plugins=["tests.testing.combiners"], **options)


def on_weights(kind: str) -> CombinerCase:
    return combiner(kind, options={"table": "weights.json"}, files={"weights.json": "[0.5, 2.0, 0.25]"})


def observer(kind: str) -> ObserverCase:
    return ObserverCase(kind, plugins=["tests.testing.observers"])


GOOD = [
    strategy("good", HOLED),
    strategy("good", lambda: ROWS.astype({"x": int}), id="of-whole-numbers"),
    strategy("good", options={"column": "y"}),
    strategy("good", ROWS.assign(x=np.arange(40.0) * 2**20), id="of-numbers-beyond-single-precision"),
    strategy("good", HOLED.astype({"x": "Int64"}), id="of-nullable-numbers"),
    on_table("good"),
    strategy("ofthebatch", HOLED),
    strategy("divides", HOLED, params={"by": 2}),
    strategy("indexed", HOLED),
    loader("good"),
    loader("good", options={"times": 3}),
    loader("good", bare, id="of-a-bare-file"),
    source("good", expected=["a", "b", "c"]),
    source("good", expected={"a": {"key": "a"}, "b": {"key": "b"}, "c": {"key": "c"}}, id="with-keys"),
    combiner("good"),
    combiner("good", [[1, 5], [2, 2]]),
    combiner("mostsay", [["a", "b", "a", "c"], ["b", "b", "a", "c"], ["b", "a", "a", "c"]]),
    on_weights("weighs"),
    combiner("good", [[[0.25, 0.75], [0.5, 0.5]], [[1.0, 0.0], [0.0, 1.0]]]),
    observer("good"),
]


@pytest.mark.process
@parametrize_with_checks(GOOD)
def test_a_component_that_keeps_everything(case, check):
    """No check has anything against it."""
    check(case)


BROKEN: list[tuple[Case, str, str]] = [
    # -- strategies
    (strategy("ranked"), "row_wise", r"in a batch of \d+, row \[\d+\] has another key than among all rows"),
    (strategy("short"), "one_key_per_row", "it gives 39 key values for 40 rows"),
    (strategy("wide"), "one_key_per_row", "it gives keys of 2 dimensions"),
    (strategy("byindex"), "row_wise", r"in a batch of \d+, row \[\d+\] has another key than among all rows"),
    (strategy("oflists"), "one_key_per_row", "it gives what is no key: a routing key must be one value, not list"),
    (strategy("ofagenerator"), "one_key_per_row", "it gives a generator, which is neither one value nor an array"),
    (strategy("ofamap"), "one_key_per_row", "it gives a map, which is neither one value nor an array"),
    (strategy("ofaview"), "one_key_per_row", "it gives a dict_values, which is neither one value nor an array"),
    (strategy("ofobjects"), "one_key_per_row", "it gives what is no key: a routing key must be one value, not object"),
    (strategy("needsrows"), "no_rows", "it gives 1 key values for 0 rows"),
    (strategy("needsnumbers", params={"by": 2}), "one_key_per_row", "check_one_key_per_row ended with"),
    (strategy("failswithout", params={"by": 2}), "params", "check_params ended with TypeError"),
    (strategy("unlisted"), "keys_are_listed", r"it gives \['0', '3', '4'\], which keys\(\) does not list"),
    (strategy("takesmissingcolumns"), "missing_columns_refused", "it gives keys without the column 'x'"),
    (strategy("nameless"), "missing_columns_refused", "it does not name the column 'x' that is missing: something"),
    (strategy("counts"), "bind_is_pure", "it gives other keys when it is asked again"),
    (strategy("madelater"), "bind_is_pure", "two that are bound alike give different keys"),
    (strategy("writes"), "bind_is_pure", "it changed the rows that it was given"),
    (strategy("remembers"), "threads", "check_threads ended with|it gives other keys when 8 threads ask at once"),
    (strategy("bytype", ROWS.astype({"x": int})), "dtypes", r"with the column 'x' as \w+ instead of int64, rows"),
    (strategy("complete"), "missing_values", r"with 13 of 40 values of the column 'x' missing \(None\) it says: x has"),
    (
        strategy("fromtheleast"),
        "missing_values",
        r"missing \(None\), rows \[0, 2, 3\], which have one, have other keys",
    ),
    (on_table("dated"), "prepare", r"prepare\(\) gives other bytes when it is asked again"),
    (on_table("texts"), "prepare", r"prepare\(\) gives 'table': str"),
    (on_table("wantsbytes"), "prepare", "check_prepare ended with AttributeError: 'memoryview' object has no"),
    (on_table("reopensgone"), "no_paths_after_build", "it opens key.txt after the build"),
    # -- loaders
    (loader("keepsothers"), "keep", r"keep\(\) gives \['weights.bin'\], which are not among the files"),
    (loader("keepsnothing"), "keep", r"keep\(\) gives no files"),
    (loader("keepstwice"), "keep", r"keep\(\) gives a file twice"),
    (loader("keepsthefirst"), "keep", r"keep\(\) gives \['weights.json'\] when it is asked again, and \['MLmodel'\]"),
    (
        loader("readsmore"),
        "kept_files_suffice",
        "a sub-model of the kept files answers otherwise than one of the model",
    ),
    (
        loader("needsmore"),
        "kept_files_suffice",
        r"ended with MmeframeError: .*keep\(\) does not keep a file 'more.txt'",
    ),
    (loader("oneanswer"), "one_answer_per_row", "its predict gives a float64"),
    (loader("nopredict"), "one_answer_per_row", r"load\(\) gives a ndarray, which has no predict"),
    (loader("drifts"), "answers_are_pure", "it gives other answers when it is asked again"),
    (loader("writes"), "answers_are_pure", "its predict changed the rows"),
    (loader("remembers"), "threads", "8 threads that share one get other answers|ended with"),
    (loader("loadsonebyone"), "threads", "of 8 loaded at once some answer otherwise"),
    (loader("otherforarrays"), "for_arrays", "it answers an array otherwise than the frame of the same numbers"),
    (loader("sayslittle"), "size", r"size\(\) is 100 bytes, and a process grows by [\d,]+"),
    (loader("saysmuch"), "size", r"size\(\) is 1,000,000,000 bytes, and a process grows by only \d"),
    (loader("perhaps"), "runs_code", r"runs_code\(\) gives 'no'"),
    (loader("unpickles"), "runs_code", r"runs_code\(\) is False, and load\(\) unpickles numpy[.\w]+"),
    (loader("needsunknown", bare), "distributions", r"distributions\(\) gives 'no-such-distribution-1', and no"),
    # -- sources
    (source("nothing"), "entries", "it brings no entries"),
    (source("dicts"), "entries", "it brings a dict, not a SubModelEntry"),
    (source("nouri"), "entries", "the uri of 'a' is ''"),
    (source("noorigin"), "entries", "the origin of 'a' is '', and messages need sources.<name>"),
    (source("otherpart"), "entries", "the key of 'a' has 'store', which is no part of the routing"),
    (source("boolkey"), "entries", "the key of 'a' has key=True: YAML read this as the bool True"),
    (source("oneid"), "unique", r"it brings the id \['m'\] more than once"),
    (source("onekey"), "unique", r"it brings several sub-models for the key \[{'key': '7'}\]"),
    (source("anyorder"), "expands_alike", "asked again it brings other entries, or in another order"),
    (source("numbered"), "expands_alike", "asked again it brings entries that differ"),
    (source("good", expected=["a", "b"]), "expected", r"it brings \['a', 'b', 'c'\], not \['a', 'b'\]"),
    (source("good", expected={id_: {"key": "b"} for id_ in "abc"}), "expected", "the key of 'a' is {'key': 'a'}, not"),
    (source("otherloader"), "loaders_exist", "the loader of 'a' is 'no_such_loader', which nobody registers"),
    (source("inarm"), "arm_is_the_hosts", r"with arm or signature it brings other entries: \['a', 'b', 'c'\]"),
    (source("takesall"), "leaves_out_what_is_taken", "it brings 'a', which config names itself"),
    (source("reads"), "errors_are_told", "without its files it ends with FileNotFoundError"),
    # -- combiners
    (combiner("lists"), "shape", r"combine\(\) gives a list, not an array"),
    (combiner("oneforall"), "shape", r"combine\(\) gives shape \(1,\) for answers of shape \(5,\)"),
    (combiner("needsrows"), "no_rows", "check_no_rows ended with ValueError"),
    (combiner("oneforall"), "no_rows", "check_no_rows ended with ValueError"),
    (combiner("centred"), "row_wise", r"in a batch of \d, rows have other answers than among all rows"),
    (combiner("warns"), "missing_answers", "with missing answers it warns: All-NaN"),
    (combiner("fills"), "missing_answers", "with missing answers, rows that have all get another answer"),
    (combiner("saystext"), "answer_type", r"answer_type\('double', 1\) is 'string', and combine\(\) gives 'double'"),
    (combiner("saysnumber"), "other_types_refused", r"answer_type\('string', 1\) is 'number', which MLflow has no"),
    (
        on_weights("bindsfirst"),
        "answer_type",
        "check_answer_type ended with AttributeError: .* has no attribute 'weights'",
    ),
    (combiner("stumbles"), "other_types_refused", "check_other_types_refused ended with KeyError: 'boolean'"),
    (combiner("writes"), "answers_are_kept", r"combine\(\) changed the answers of sub-model 0"),
    (combiner("counts"), "answers_are_kept", "it gives other answers when it is asked again"),
    (combiner("remembers"), "threads", "it gives other answers when 8 threads ask at once|ended with"),
    # -- observers
    (observer("onlypython"), "events", "on_batch raises TypeError: Object of type int64 is not JSON serializable"),
    (observer("onlynumbers"), "events", "on_shadow raises TypeError"),
    (observer("writes"), "events_are_kept", r"on_batch changes its event: BatchEvent\(rows=3, .* models={}"),
    (observer("slow"), "quick", r"on_load takes \d+ ms, for which every answer waits"),
    (observer("onebyone"), "threads", "the router drops it when 8 threads tell it at once: it raises"),
    (observer("inathread"), "fork", "in a forked process it waits for ever"),
]


@pytest.mark.process
@pytest.mark.parametrize(
    ("case", "name", "said"), [pytest.param(*row, id=f"{row[0].noun}-{row[0].kind}-{row[1]}") for row in BROKEN]
)
def test_a_broken_promise_is_found(case, name, said):
    """The text names the component, says what it did, and repeats the promise."""
    check = the_check(case, f"check_{name}")

    with pytest.raises(AssertionError) as caught:
        check(case)

    lines = str(caught.value).splitlines()
    assert lines[0].startswith(f"{case.noun} {case.id!r}: ")
    assert re.search(said, str(caught.value), re.DOTALL)
    assert lines[-1] == f"  Promised: {check.promised}"


@pytest.mark.parametrize(
    "check",
    [
        pytest.param((strategy("good", ROWS[:0]), "check_row_wise"), id="strategy"),
        pytest.param((loader("good", rows=NUMBERS[:0]), "check_threads"), id="loader"),
        pytest.param((combiner("good", [[], []]), "check_row_wise"), id="combiner"),
    ],
)
def test_a_case_without_rows(check):
    """Every promise would be kept, and nothing seen."""
    case, name = check

    with pytest.raises(AssertionError, match=r"'good': the case has no rows"):
        the_check(case, name)(case)


def test_a_file_that_is_still_there(tmp_path, monkeypatch):
    """Also a table that lies outside the case's own folder is not opened after the build."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "key.txt").write_text("other")
    case = strategy("reopens", HOLED, options={"table": str(tmp_path / "key.txt")})

    with pytest.raises(AssertionError, match=r"it opens key.txt after the build"):
        the_check(case, "check_no_paths_after_build")(case)


def the_check(case: Case, name: str) -> Check[Any]:
    (check,) = [check for check in checks_of(case) if check.name == name]
    return check


# -- what a plugin registers -----------------------------------------------------------------------------------------

BARE = """\
import math
from dataclasses import dataclass, field
from typing import Annotated, Any
from pydantic import AfterValidator, Field
from mmeframe.plugin import LoaderConf, RoutingStrategy, RoutingStrategyPlugin, StrategyConf, hookimpl
class Strategy(RoutingStrategy):
    def route_keys(self, batch, params):
        return batch.column(self.conf.column)
"""
HOOK = """\
@hookimpl
def mmeframe_routing_strategies():
    return [RoutingStrategyPlugin("it", Conf, __name__ + ":Strategy", "for a test")]
"""
CONF = """\
@dataclass
class Conf(StrategyConf):
    # What it is.
    {}
"""
HEAD = BARE + CONF.format('column: str = "x"')


@pytest.fixture
def plugin(tmp_path, monkeypatch) -> Iterator[Callable[[str], str]]:
    """A module of a text, importable while the test runs: text -> its name."""
    home = tmp_path / "plugins"
    home.mkdir()
    monkeypatch.syspath_prepend(home)
    made = []

    def write(text: str) -> str:
        name = f"a_plugin_{abs(hash((str(home), text)))}"
        (home / f"{name}.py").write_text(text)
        made.append(name)
        return name

    yield write
    for name in made:
        sys.modules.pop(name, None)


@pytest.mark.process
@pytest.mark.parametrize(
    ("check", "text", "said"),
    [
        pytest.param("record", HEAD + HOOK.replace("for a test", " "), "its summary is empty", id="no-summary"),
        pytest.param(
            "record", HEAD + HOOK.replace("for a", r"for\na"), "its summary has several lines", id="long-summary"
        ),
        pytest.param("record", HEAD + HOOK.replace(":Strategy", ":HEAD"), r"has no 'HEAD'", id="no-target"),
        pytest.param(
            "record", HEAD + HOOK.replace(":Strategy", ":field"), "is no class", id="target-is-a-function"
        ),
        pytest.param(
            "record", HEAD + HOOK.replace(":Strategy", ":Conf"), "does not extend RoutingStrategy", id="another-class"
        ),
        pytest.param(
            "record",
            f"{BARE}def local():\n    @dataclass\n    class Conf(StrategyConf):\n        pass\n    return Conf\n"
            f"Conf = local()\n{HOOK}",
            "cannot be imported: a bundle records that name",
            id="local-config",
        ),
        pytest.param("record", HEAD + HOOK.replace('"it"', '"It"'), "a name is lower-case letters", id="capitals"),
        pytest.param(
            "options",
            f"{BARE}class Thing:\n    pass\n{CONF.format('thing: Thing | None = None')}{HOOK}",
            "the option 'thing' has a type that values cannot be checked against: Unable to generate",
            id="unsupported-annotation",
        ),
        pytest.param(
            "options", f"{BARE}{CONF.format('_target_: str = chr(97)')}{HOOK}", "begins with an underscore", id="target"
        ),
        pytest.param(
            "options",
            BARE + CONF.format("times: int = 'two'") + HOOK,
            "the default 'two' of the option 'times' is not of its type: Input should be a valid integer",
            id="default-of-another-type",
        ),
        pytest.param(
            "options", BARE + CONF.format("times: float = math.inf") + HOOK, "'times' is no plain JSON", id="infinite"
        ),
        pytest.param(
            "options",
            BARE + CONF.format("names: list[str] = []") + HOOK,
            "mutable default <class 'list'> for field names is not allowed: use default_factory",
            id="mutable-default",
        ),
        pytest.param(
            "options_have_help",
            BARE + CONF.format("a: int = 1\n    b: int = 2\n\n    c: int = 3") + HOOK,
            "its options b, c have no help",
            id="no-help",
        ),
        pytest.param(
            "composes",
            BARE + CONF.format("a: Annotated[int, Field(exclude=True)] = 1") + HOOK,
            r"the validated options are \[\], not \['a'\]",
            id="left-out",
        ),
        pytest.param(
            "round_trip",
            f"{BARE}Twice = Annotated[int, AfterValidator(lambda a: a * 2), Field(validate_default=True)]\n"
            f"{CONF.format('a: Twice = 1')}{HOOK}",
            r"made of the recorded options {'a': 2} it has {'a': 4}",
            id="changes-when-it-is-read-again",
        ),
        pytest.param(
            "round_trip",
            f"{BARE}{CONF.format('a: int = 1')}    def __post_init__(self):\n        self.later = lambda: 0\n{HOOK}",
            "check_round_trip ended with .*pickle",
            id="no-pickle",
        ),
        pytest.param(
            "hooks",
            f"{HEAD}{HOOK}@hookimpl\ndef mmeframe_check_spec(spec=None):\n    pass\n",
            r"mmeframe_check_spec\(\) has the argument 'spec' with a default, which hides what the host passes",
            id="argument-with-default",
        ),
        pytest.param(
            "hooks",
            f"{HEAD}{HOOK}@hookimpl\ndef mmeframe_check_spec(*, spec):\n    pass\n",
            r"mmeframe_check_spec\(\) has the argument 'spec', which is keyword-only",
            id="keyword-only",
        ),
        pytest.param(
            "hooks",
            f"{HEAD}{HOOK}@hookimpl\ndef mmeframe_check_spec(config):\n    pass\n",
            r"the hook mmeframe_check_spec\(\) has no argument 'config'. It has spec\.",
            id="unknown-argument",
        ),
        pytest.param(
            "discovery_is_light", f"import pandas\n{HEAD}{HOOK}", "imports pandas, .*; import that inside", id="pandas"
        ),
        pytest.param(
            "discovery_is_light",
            f"import mlflow\n{HEAD}{HOOK}",
            "imports mlflow, .*; import that inside the methods that need it",
            id="mlflow",
        ),
        pytest.param(
            "serves_without_hydra",
            f"{HEAD}from omegaconf import OmegaConf\n{HOOK}",
            "in a process without Hydra and pluggy ends with PluginError: cannot import",
            id="omegaconf",
        ),
    ],
)  # fmt: skip
def test_a_plugin_that_breaks_a_rule(plugin, check, text, said):
    """Each rule for records, options, hooks and imports is told in clear words."""
    case = StrategyCase("it", ROWS, plugins=[plugin(text)])

    with pytest.raises(AssertionError) as caught:
        the_check(case, f"check_{check}")(case)

    assert re.search(said, str(caught.value), re.DOTALL)


def test_every_check_is_seen_to_fail():
    """A check that was never seen to fail may be one that cannot."""
    seen = {(type(case), f"check_{name}") for case, name, _ in BROKEN}
    marks = test_a_plugin_that_breaks_a_rule.pytestmark[0].args[1]
    common = {f"check_{param.values[0]}" for param in marks}

    for kind in (StrategyCase, LoaderCase, SourceCase, CombinerCase, ObserverCase):
        found = {name for case, name in seen if case is kind} | common
        # Of preparing one kind has shown enough.
        assert {check.name for check in checks_of(kind)} - found - {"check_prepare"} == set()


def test_a_kind_that_nobody_registers():
    """The nearest name is offered."""
    case = strategy("god")

    with pytest.raises(AssertionError, match=r"no routing strategy named 'god'.\n  Did you mean 'good'\?"):
        the_check(case, "check_record")(case)


def test_options_that_are_wrong():
    """What validate would say is what the check says."""
    case = strategy("good", options={"column": 7, "colum": "x"})

    with pytest.raises(AssertionError, match="input should be a valid string") as caught:
        the_check(case, "check_composes")(case)

    assert "there is no option 'colum' of kind 'good'.\n  Did you mean 'column'?" in str(caught.value)


@pytest.mark.process
def test_a_preset_that_a_plugin_ships(plugin, tmp_path):
    """A YAML file of a plugin is tried by its name, with the options that it sets."""
    presets = tmp_path / "plugins" / "some_presets" / "routing"
    presets.mkdir(parents=True)
    (presets / "by_y.yaml").write_text("defaults: [it, _self_]\ncolumn: y\n")
    paths = "@hookimpl\ndef mmeframe_config_paths():\n    return ['pkg://some_presets']\n"
    case = StrategyCase("by_y", ROWS, plugins=[plugin(HEAD + HOOK + paths)])

    for check in checks_of(case):
        check(case)

    assert (case.component.kind, dict(case.component.options)) == ("it", {"column": "y"})


# -- what a check says -----------------------------------------------------------------------------------------------


@Check
def check_it(case: Any) -> None:
    """It is kept."""
    expect(case == "kept", "it is broken")


def test_a_broken_promise_is_quoted():
    """The message has what the component did, and what it promised."""
    with pytest.raises(AssertionError, match=r"broken: it is broken\n  Promised: It is kept\."):
        check_it("broken")
    check_it("kept")


def test_every_check_says_what_it_promises():
    """Names are told apart; the promise is a sentence."""
    for kind in (StrategyCase, LoaderCase, SourceCase, CombinerCase, ObserverCase):
        checks = checks_of(kind)
        assert len({check.name for check in checks}) == len(checks)
        for check in checks:
            assert check.promised.endswith(".")
