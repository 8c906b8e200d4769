"""What is offered in place of an unfinished word."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mmeframe.cli import main
from mmeframe.commands import COMMANDS
from mmeframe.plugin import manager


@pytest.fixture
def offered(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """What zsh is offered for the last of some words, with the built-in plugins only."""
    monkeypatch.setattr(manager, "_distributions", list)

    def ask(*words: str) -> list[str]:
        assert main(["completion", "words", "zsh", *words]) == 0
        return capsys.readouterr().out.splitlines()

    return ask


# -- commands and flags ----------------------------------------------------------------------------------------------


def test_the_first_word_is_a_command(offered):
    """All of them, or those that begin so."""
    assert offered("") == sorted(COMMANDS)
    assert offered("pl") == ["plan", "plugins"]


@pytest.mark.parametrize("words", [["--json", "pl"], ["--config-dir", "x", "pl"], ["-p", "no:x", "pl"]])
def test_flags_may_stand_before_the_command(offered, words):
    """A flag and its value are no command."""
    assert offered(*words) == ["plan", "plugins"]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        pytest.param(["predict", "--da"], ["--data"], id="one-that-it-takes"),
        pytest.param(["build", "--da"], [], id="one-that-it-does-not-take"),
        pytest.param(["build", "--config"], ["--config-dir", "--config-name"], id="of-all"),
        pytest.param(["build", "--mu"], ["--multirun"], id="hydras"),
        pytest.param(["plugins", "--"], ["--debug", "--help", "--json"], id="of-a-command-without-a-config"),
        pytest.param(["build", "--cfg", ""], ["all", "hydra", "job"], id="value-of-hydras"),
        pytest.param(["build", "--model", ""], [], id="any-uri"),
    ],
)
def test_flags(offered, words, found):
    """The flags that a command takes, and values where they are few."""
    assert offered(*words) == found


@pytest.mark.parametrize(
    ("words", "found"),
    [
        pytest.param(["predict", "--data", ""], ["conf/", "rows.csv", "two words.csv"], id="data"),
        pytest.param(["predict", "--data", "r"], ["rows.csv"], id="begun"),
        pytest.param(["predict", "--data", "conf/"], ["conf/mine.yaml", "conf/routing/"], id="in-a-folder"),
        pytest.param(["predict", "--data=r"], ["--data=rows.csv"], id="with-equals"),
        pytest.param(["predict", "data=r"], ["data=rows.csv"], id="sugar"),
        pytest.param(["predict", "--out", "t"], ["two words.csv"], id="out"),
        pytest.param(["predict", "--data", "."], [".hidden.csv"], id="hidden-ones-after-a-dot"),
        pytest.param(["build", "--config-dir", ""], ["conf/"], id="folders-only"),
        pytest.param(["predict", "--data", "nowhere/"], [], id="no-such-folder"),
    ],
)
def test_files(offered, tmp_path, monkeypatch, words, found):
    """Files and folders of the working directory."""
    (tmp_path / "conf" / "routing").mkdir(parents=True)
    for name in ("rows.csv", "two words.csv", ".hidden.csv", "conf/mine.yaml"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)

    assert offered(*words) == found


@pytest.mark.parametrize(
    ("words", "found"),
    [
        pytest.param(["completion", ""], ["bash", "fish", "zsh"], id="shells"),
        pytest.param(["completion", "bash", ""], [], id="one-shell"),
        pytest.param(["schema", ""], ["observer", "residency", "routing", "source"], id="groups"),
        pytest.param(["plugins", ""], ["show"], id="show"),
        pytest.param(["plugins", "show", "da"], ["datepart"], id="component"),
        pytest.param(["plugins", "show", "m"], ["manifest", "mean", "median", "mmeframe"], id="of-all-kinds"),
    ],
)
def test_commands_without_a_config(offered, words, found):
    """What may follow them."""
    assert offered(*words) == found


# -- groups ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "found"),
    [
        pytest.param("routing=", "bins column datepart gate hash lookup param pattern rules", id="routing"),
        pytest.param("routing=p", "param pattern", id="begun"),
        pytest.param("routing=column,p", "column,param column,pattern", id="several-runs"),
        pytest.param("experiment=", "flights tutorial", id="experiment"),
        pytest.param("residency=", "eager lazy", id="residency"),
        pytest.param("+source@sources.x=", "folder logged_models manifest registry template", id="source"),
        pytest.param("+observer@observers.x=", "log", id="observer"),
        pytest.param("+routing@routing.keys.shop=d", "datepart", id="part"),
    ],
)
def test_choices_of_a_group(offered, word, found):
    """Kinds and files of a group, wherever they go."""
    start = word[: word.index("=") + 1]

    assert offered("build", word) == [f"{start}{name}" for name in found.split()]


@pytest.mark.parametrize(
    ("word", "found"),
    [
        pytest.param("+source", ["+source@sources.", "+sources."], id="source"),
        pytest.param("+source@", ["+source@sources."], id="at"),
        pytest.param("+observer@", ["+observer@observers."], id="observer"),
        pytest.param("+routing@", ["+routing@routing.keys."], id="part"),
        pytest.param("+source@sources.", ["+source@sources."], id="the-name-is-the-users"),
    ],
)
def test_places_of_a_group(offered, word, found):
    """A source, an observer and a key part need a name, after what always stands before it."""
    assert offered("build", word) == found


@pytest.fixture
def own(tmp_path: Path) -> list[str]:
    """A user's own config folder, as flags."""
    for name, text in {
        "shops.yaml": "defaults:\n  - _base\n  - routing@routing.keys.shop: column\n"
        "  - routing@routing.keys.day: weekday\n  - source@sources.shops: registry\n  - _self_\n"
        "models: {berlin: {uri: x}, lyon: {uri: y}}\n",
        "routing/weekday.yaml": "kind: datepart\npart: weekday\n",
        "experiment/trial.yaml": "# @package _global_\ndefaults:\n  - /observer@observers.seen: log\n  - _self_\n",
        "broken.yaml": "models: ]\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return ["--config-dir", str(tmp_path)]


def test_the_users_own_files(offered, own):
    """Files of a config folder are offered beside the shipped ones."""
    assert offered("build", *own, "routing=w") == ["routing=weekday"]
    assert offered("build", *own, "experiment=") == ["experiment=flights", "experiment=trial", "experiment=tutorial"]
    assert offered("build", *own, "--config-name", "s") == ["serve", "shops", "show"]


def test_the_config_folder_of_the_environment(offered, own, monkeypatch):
    """MMEFRAME_CONFIG_DIR counts as well."""
    monkeypatch.setenv("MMEFRAME_CONFIG_DIR", own[1])

    assert offered("build", "routing=w") == ["routing=weekday"]


# -- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "found"),
    [
        pytest.param("serve.", ["serve.host=", "serve.port=", "serve.workers="], id="section"),
        pytest.param("serve.p", ["serve.port="], id="begun"),
        pytest.param("traffic.", ["traffic.arms=", "traffic.only=", "traffic.shadow=", "traffic.sticky="], id="maps"),
        pytest.param("train.r", ["train.reader.", "train.register_as="], id="options-of-their-own"),
        pytest.param("train.estimator.", ["train.estimator.class=", "train.estimator.params="], id="a-word-of-pythons"),
        pytest.param("routing.", ["routing.keys.", "routing.levels=", "routing.on_unknown="], id="no-kind-yet"),
        pytest.param("tra", ["tracking.", "traffic.", "train."], id="sections"),
        pytest.param("rou", ["routing.", "routing="], id="section-and-group"),
        pytest.param("mod", ["model_defaults.", "models."], id="no-model-for-build"),
        pytest.param("nothing.", [], id="no-such-section"),
        pytest.param("serve.port.", [], id="nothing-below-an-option"),
        pytest.param("++serve.p", ["++serve.port="], id="two-pluses"),
        pytest.param("+tracking.t", ["+tracking.tags.", "+tracking.tags="], id="a-map-of-new-names"),
        pytest.param("+models.x.u", ["+models.x.uri="], id="of-a-new-sub-model"),
    ],
)
def test_paths_of_options(offered, word, found):
    """One step at a time: an option with its equals sign, a section with its dot."""
    assert offered("build", word) == found


def test_an_empty_word_offers_everything(offered):
    """Sections, groups and what adds something."""
    found = offered("predict", "")

    assert {"serve.", "routing=", "experiment=", "name=", "data=", "model=", "+source@sources."} <= set(found)


@pytest.mark.parametrize(
    ("before", "word", "found"),
    [
        pytest.param(["routing=column"], "routing.c", ["routing.column="], id="routing"),
        pytest.param(["routing=bins"], "routing.", "bins= closed= column= keys. levels= on_unknown=", id="all"),
        pytest.param(
            ["routing=bins", "routing=gate"], "routing.", "keys. levels= model= on_unknown=", id="the-last-counts"
        ),
        pytest.param(
            ["+routing@routing.keys.day=datepart"], "routing.keys.", ["routing.keys.day."], id="name-of-a-part"
        ),
        pytest.param(
            ["+routing@routing.keys.day=datepart"], "routing.keys.day.p", ["routing.keys.day.part="], id="part"
        ),
        pytest.param(["+source@sources.x=folder"], "sources.x.pat", "path= pattern=", id="source"),
        pytest.param(["+source@sources.x=folder"], "sources.x.signature.", "inputs= outputs=", id="nested"),
        pytest.param(["+observer@observers.o=log"], "observers.o.", "every= level=", id="observer"),
        pytest.param(["experiment=flights"], "routing.keys.dow.", "assume= column= part= timezone=", id="experiment"),
        pytest.param(["experiment=tutorial"], "routing.p", ["routing.param="], id="experiment-that-overrides"),
        pytest.param(["experiment=flights"], "models.e", ["models.everyone."], id="ids-of-a-file"),
        pytest.param(["experiment=flights"], "~models.", ["~models.everyone"], id="removal"),
        pytest.param(["experiment=flights"], "models.everyone.key.", ["models.everyone.key.dow="], id="key"),
    ],
)
def test_options_of_what_is_chosen(offered, before, word, found):
    """The kinds that the words before chose, by themselves or through a file, have their options."""
    start = word[: word.rindex(".") + 1]
    expected = [f"{start}{name}" for name in found.split()] if isinstance(found, str) else found

    assert offered("build", *before, word) == expected


def test_options_of_the_users_own_config(offered, own):
    """Kinds in the defaults of a config, also those of files of the user's own, and what an experiment adds."""
    mine = ["build", *own, "--config-name", "shops"]

    assert offered(*mine, "routing.keys.") == ["routing.keys.day.", "routing.keys.shop."]
    assert offered(*mine, "routing.keys.day.p") == ["routing.keys.day.part="]
    assert offered(*mine, "sources.shops.v") == ["sources.shops.version="]
    assert offered(*mine, "models.") == ["models.berlin.", "models.lyon."]
    assert offered(*mine, "disabled_models=") == ["disabled_models=berlin", "disabled_models=lyon"]
    assert offered(*mine, "experiment=trial", "observers.seen.") == ["observers.seen.every=", "observers.seen.level="]
    assert offered(*mine, "source@sources.s") == ["source@sources.shops="]


@pytest.mark.parametrize(
    ("before", "word", "found"),
    [
        pytest.param([], "output.annotate=", "false true", id="bool"),
        pytest.param([], "output.annotate=t", "true", id="begun"),
        pytest.param([], "output.on_error=", "raise skip", id="choice"),
        pytest.param([], "routing.levels=", "auto", id="word-beside-a-list"),
        pytest.param([], "isolation=", "process shared", id="without-a-section"),
        pytest.param([], "validate.min_coverage=", "null", id="null"),
        pytest.param([], "serve.port=", "", id="any-number"),
        pytest.param(["routing=bins"], "routing.closed=", "left right", id="of-a-kind"),
        pytest.param(["routing=bins"], "routing.closed=left,", "left,left left,right", id="several-runs"),
        pytest.param(["experiment=flights"], "train.key=", "dow", id="key-parts"),
        pytest.param([], "model_defaults.loader=s", "sklearn statsmodels", id="loaders"),
        pytest.param([], "+models.x.loader=a", "auto", id="loader-of-a-sub-model"),
        pytest.param([], "model_defaults.flavor=x", "xgboost", id="flavors"),
        pytest.param([], "+models.x.combine.kind=", "mean median vote weighted", id="combiners"),
        pytest.param([], "+models.x.pin=", "false true", id="option-of-a-sub-model"),
    ],
)
def test_values(offered, before, word, found):
    """Where values are few they are offered."""
    start = word[: word.index("=") + 1]

    assert offered("build", *before, word) == [f"{start}{value}" for value in found.split()]


def test_an_option_that_names_a_file(offered, tmp_path, monkeypatch):
    """Files are offered for a path, and for nothing else."""
    (tmp_path / "rows.csv").touch()
    monkeypatch.chdir(tmp_path)

    assert offered("train", "train.reader.path=r") == ["train.reader.path=rows.csv"]
    assert offered("train", "tracking.run_name=r") == []


# -- nobody reads errors at a TAB ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["bild", "routing="], id="command"),
        pytest.param(["build", "--jsn", "routing="], id="flag"),
        pytest.param(["build", "-p", "no_such_plugin_module", "routing="], id="plugin"),
        pytest.param(["build", "--config-name", "broken", "routing.keys.x."], id="yaml"),
        pytest.param(["build", "--config-name", "nothing", "sources.x."], id="config"),
        pytest.param(["build", "routing=zzz", "routing.z"], id="kind"),
    ],
)
def test_what_is_wrong_with_the_line_is_not_told(offered, own, words, capsys):
    """Nothing is offered, nothing is said, and the exit code is 0."""
    assert offered(*words[:1], *own, *words[1:]) == []
    assert capsys.readouterr().err == ""


def test_the_scripts_call_is_not_for_people(capsys):
    """Without a shell's name it is a usage error."""
    assert main(["completion", "words"]) == 2
    assert capsys.readouterr().err.startswith("error: completion words: the scripts of mmeframe completion call this.")


@pytest.mark.process
def test_completion_imports_nothing_heavy(tmp_path):
    """A TAB waits for no Hydra, MLflow or pandas, whatever is completed."""
    source = (
        "import sys\n"
        "from mmeframe.cli import main\n"
        "main(['completion', 'words', 'zsh', 'build', 'experiment=flights', 'routing.keys.dow.'])\n"
        "main(['completion', 'words', 'zsh', 'build', 'routing=bins', 'routing.closed='])\n"
        "heavy = {'hydra', 'omegaconf', 'mlflow', 'pandas', 'sklearn', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert "routing.closed=left" in done.stdout
