"""What is asked of Hydra, and what it answers, while a composition of ours is active.

Imports no Hydra before it is asked: completion and ``--help`` must be quick.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from mmeframe.errors import MissingError
from mmeframe.plugin.manager import Registered
from mmeframe.redact import redact_override

__all__ = [
    "Active",
    "Options",
    "active",
    "as_hydra",
    "conf_dir",
    "failures",
    "for_sweep",
    "grammar_fault",
    "group_options",
    "groups",
    "hydra_base",
    "innermost",
    "is_group_choice",
    "named",
    "own_files",
    "parse_override",
    "paths",
    "reason",
    "run_hydra",
    "swept",
    "tried_runs",
]

# Group -> name -> what registered it.
Options = Mapping[str, Mapping[str, Registered]]


@dataclass(frozen=True)
class Active:
    """The user's own config folders, and the options of plugins.

    paths: folders of YAML files that plugins ship. absent: what broken and disabled plugins may have provided, for
    messages.
    """

    config_dirs: tuple[str, ...]
    options: Options
    paths: tuple[str, ...] = ()
    absent: str = ""


active: ContextVar[Active | None] = ContextVar("mmeframe_active", default=None)


def own_files(path: str) -> list[Path]:
    """Files of the user's folders that a config's path may mean, the one that Hydra takes first."""
    current = active.get()
    folders = current.config_dirs if current else ()
    return [file for folder in folders if (file := Path(folder) / f"{path}.yaml").is_file()]


def conf_dir() -> Path:
    """The shipped configs: ``mmeframe/conf`` in a wheel, ``conf`` beside the package in a checkout."""
    for folder in (Path(str(files("mmeframe"))) / "conf", Path(__file__).resolve().parents[2] / "conf"):
        if (folder / "_base.yaml").is_file():
            return folder
    raise MissingError("mmeframe's own configs are missing.", hint="Reinstall mmeframe.")


def hydra_base() -> dict[str, Any]:
    """Hydra 1.3 wants to be told whose defaults to use; 1.4 deprecates the question."""
    from importlib.metadata import version

    return {} if version("hydra-core").startswith("1.4") else {"version_base": "1.3"}


def run_hydra(config_name: str, overrides: Iterable[str]) -> Any:
    import hydra

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return hydra.compose(config_name, [piece for override in overrides for piece in as_hydra(override)])


def as_hydra(override: str) -> list[str]:
    """What Hydra is given: an override of a sub-model's key replaces it whole, where Hydra would merge the parts."""
    match = re.fullmatch(r"(models\.[^.=+~]+\.key)=(\{.*)", override, re.DOTALL)
    return [f"~{match[1]}", f"+{match[1]}={match[2]}"] if match else [override]


def failures() -> tuple[type[Exception], ...]:
    """What an override or a file can make Hydra raise."""
    import yaml
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    return (HydraException, OmegaConfBaseException, yaml.YAMLError, OSError, RecursionError, ValueError, TypeError)


def parse_override(override: str) -> Any | None:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(override)
    except HydraException:
        return None


def grammar_fault(override: str) -> str:
    """What Hydra's grammar has against an override that ``parse_override`` cannot read."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        OverridesParser.create().parse_override(override)
    except HydraException as error:
        said = (str(error).splitlines() or [""])[0].rstrip(".")
        # It lists all names of its tokens, and quotes a piece of the value.
        said = re.sub(r" expecting \{.*", "", said)
        name = override.partition("=")[0]
        return re.sub("input '(.*)'", lambda it: f"input '{redact_override(f'{name}={it[1]}')[len(name) + 1 :]}'", said)
    return ""


def for_sweep(overrides: Iterable[str], groups: Collection[str]) -> list[str]:
    """What Hydra is given for ``-m``: where a group is swept, options may not be there yet.

    Hydra composes once without the swept choices, and would refuse ``routing.column=c`` beside ``routing=a,b``. Whether
    an option exists is found when each run is checked.
    """
    parsed = [(text, parse_override(text)) for text in overrides]
    if not any(it is not None and it.is_sweep_override() and it.key_or_group in groups for _, it in parsed):
        return [text for text, _ in parsed]
    return [
        text if it is None or text[0] in "+~" or it.key_or_group in groups or it.package else f"++{text}"
        for text, it in parsed
    ]


def swept(overrides: Iterable[str]) -> set[str]:
    """What the overrides of a sweep vary."""
    parsed = [(text, parse_override(text)) for text in overrides]
    return {named(text) for text, it in parsed if it is not None and it.is_sweep_override()}


def named(override: str) -> str:
    """The option, or the group, that an override sets."""
    return override.lstrip("+~").partition("=")[0]


def tried_runs(overrides: Sequence[str], groups: Collection[str]) -> Iterator[list[str]]:
    """The first run of a sweep, and one for each other file that it chooses: all that Hydra will read, and few runs.

    Values that only Hydra can list, such as those of a glob, are left out.
    """
    first: list[str] = []
    others: list[tuple[int, str]] = []
    for text in overrides:
        parsed = parse_override(text)
        if parsed is not None and parsed.is_sweep_override():
            if not (parsed.is_choice_sweep() or parsed.is_range_sweep()):
                continue
            name, values = text.partition("=")[0], list(parsed.sweep_string_iterator())
            others += [(len(first), f"{name}={it}") for it in values[1:] if parsed.key_or_group in groups]
            text = f"{name}={values[0]}"
        first.append(text)
    yield first
    for place, text in others:
        yield [*first[:place], text, *first[place + 1 :]]


def groups() -> list[str]:
    from hydra.core.global_hydra import GlobalHydra

    return _listed(GlobalHydra.instance().config_loader())


@lru_cache(maxsize=1)
def _listed(loader: Any) -> list[str]:
    """Each composition has a loader of its own, and asks for its groups for each override."""
    return sorted(group for group in loader.list_groups("") if group != "hydra")


def group_options(group: str) -> list[str]:
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.object_type import ObjectType

    return sorted(GlobalHydra.instance().config_loader().get_group_options(group, ObjectType.CONFIG))


def is_group_choice(override: str) -> bool:
    parsed = parse_override(override)
    return parsed is not None and parsed.key_or_group in groups()


def paths(tree: Any, prefix: str = "") -> list[str]:
    from omegaconf import DictConfig

    found = []
    for name in tree:
        path = f"{prefix}{name}"
        found.append(path)
        child = tree._get_node(name)
        if isinstance(child, DictConfig) and not child._is_none() and not child._is_missing():
            found += paths(child, f"{path}.")
    return found


def innermost(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def reason(error: BaseException) -> str:
    """What Hydra says, without its wrapping: the innermost cause, on one line."""
    error = innermost(error)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if "Exception" not in line and "object_type" not in line and "HYDRA_" not in line]
    return "; ".join(said[:3]).replace("full_key: ", "at ") or type(error).__name__
