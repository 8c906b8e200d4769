"""From a command line that was read to the command: its config is composed, validated, and has no word in vain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmeframe.errors import Problem, ProblemsError

if TYPE_CHECKING:
    from mmeframe.api import Job
    from mmeframe.commandline import ConfigCommand, Flags
    from mmeframe.plugin.manager import Plugins

__all__ = ["check_read", "own_dirs", "run"]


def run(command: ConfigCommand, flags: Flags, plugins: Plugins) -> int:
    """Compose and validate a config, and run the command with it."""
    from mmeframe import api

    work = api.job(
        command.name,
        flags.overrides,
        config_dirs=own_dirs(flags),
        config_name=flags.config_name,
        plugins=plugins,
        logged=flags.model is not None,
        allow=flags.allow,
    )
    check_read(command, work, flags, flags.overrides)
    return command.run(work, flags)


def own_dirs(flags: Flags) -> list[str]:
    """The user's own config folders: of the flags, then of the environment."""
    from mmeframe.config.quick_choices import config_dirs

    return config_dirs(flags.config_dirs)


# What a command about a logged router reads of a config; predict and serve read the sections of their names, too.
_CLIENT = ("name", "tracking.uri", "tracking.register_as", "tracking.alias")


def check_read(command: ConfigCommand, work: Job, flags: Flags, overrides: Sequence[str]) -> None:
    """Refuse overrides that do nothing in a command; a file may hold whatever all of them need."""
    from mmeframe.sections import SECTIONS

    problems = []
    places = [_place(override) for override in overrides]
    # A fleet that is declared on the command line says whose router is meant, as a file does.
    fleet = ("routing", "models", "sources") if {"models", "sources"} & {section for _, section in places} else ()
    for override, (path, section) in zip(overrides, places, strict=True):
        if section == "hydra" and not flags.hydra and path != "hydra.searchpath":
            hint = "Leave it out: Hydra's own options are for its flags, such as --multirun."
            problems.append(Problem(override, f"{command.name} does not read hydra.", hint, "usage"))
        if section not in SECTIONS or section in fleet:
            continue
        if not _reads(path, command.name) if work.client else command.name in SECTIONS[section].unread:
            what = f"{command.name} does not read {section}."
            problems.append(Problem(override, what, _cure(override, section, command.name, work), "usage"))
    if problems:
        raise ProblemsError(problems)


def _place(override: str) -> tuple[str, str]:
    """The path of a config that an override is about, and its section."""
    group, _, place = override.lstrip("+~").partition("=")[0].partition("@")
    path = place or group
    return path, path.split(".")[0].split("/")[0]


def _reads(path: str, command: str) -> bool:
    """Whether a command about a logged router reads an option at a path."""
    return any(path == it or path.startswith(f"{it}.") or it.startswith(f"{path}.") for it in (*_CLIENT, command))


def _cure(override: str, section: str, command: str, work: Job) -> str:
    if section == "output" and "annotate" in override and command == "predict":
        return """It is a router's own; ask for it with --params '{"annotate": true}'."""
    if work.client:
        return f"Leave it out: it reads {', '.join([*_CLIENT, *({command} & {*work.composed.tree})])}."
    return "Leave it out, or put it into a config file, which may hold what other commands need."
