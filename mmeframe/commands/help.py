"""``--help``: of the command line, and of one command."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mmeframe._version import __version__
from mmeframe.commandline import FLAGS, Command, ConfigCommand
from mmeframe.commands import COMMANDS
from mmeframe.output import say

if TYPE_CHECKING:
    from mmeframe.commandline import Flags
    from mmeframe.plugin.manager import Plugins

__all__ = ["overview", "show_help"]

_OVERVIEW = """mmeframe {version}: many models behind one endpoint.

Usage: mmeframe COMMAND [flags] [overrides]

Commands:
{commands}

Flags:
{flags}
  --cfg job, --info, --multirun, --package   Hydra's own; --hydra-help explains them

Overrides are Hydra's: routing=column routing.column=dow +models.a.uri=models:/a@champion
'mmeframe COMMAND --help' shows a command's options and examples.
Environment: MLFLOW_TRACKING_URI, MMEFRAME_CONFIG_DIR, MMEFRAME_PLUGINS, MMEFRAME_DISABLE_PLUGINS, MMEFRAME_CACHE_DIR,
MMEFRAME_EXPECT_DIGEST, MMEFRAME_TRAFFIC_ARMS, MMEFRAME_DISABLED_MODELS, MMEFRAME_ALLOW.
"""


def overview() -> str:
    """What ``mmeframe --help`` prints."""
    width = max(map(len, COMMANDS))
    return _OVERVIEW.format(
        version=__version__,
        commands="\n".join(f"  {it.name:<{width}}  {it.summary}" for it in COMMANDS.values()),
        flags="\n".join(_flag_lines(FLAGS)),
    )


def _flag_lines(names: Iterable[str]) -> list[str]:
    flags = [FLAGS[name] for name in names if FLAGS[name].help]
    return [f"  {f'{flag.name} {flag.value}':<18}   {flag.help}" for flag in flags]


def show_help(command: Command, flags: Flags) -> None:
    """Examples and flags of a command; of one that composes a config, also groups and options."""
    say(f"mmeframe {command.name}: {command.summary}", "", "Examples:")
    for example in command.examples:
        say(f"  {example}")
    if own := _flag_lines(command.flags):
        say("", "Flags (those of every command: mmeframe --help):", *own)
    if isinstance(command, ConfigCommand):
        _show_config(flags)


def _show_config(flags: Flags) -> None:
    from mmeframe.config.hydra_api import conf_dir
    from mmeframe.plugin.kinds import CHOSEN
    from mmeframe.plugin.manager import load_plugins

    loaded = load_plugins(flags.plugins)
    experiments = sorted(path.stem for path in (conf_dir() / "experiment").glob("*.yaml"))
    say("", "Groups:", f"  experiment={' | '.join([*experiments, *loaded.presets('experiment')])}")
    for kind in CHOSEN:
        choices = " | ".join([*loaded.names(kind.noun), *loaded.presets(kind.group)])
        say(f"  {kind.group}={choices}" if kind.alone else f"  {kind.add('<name>', choices)}")
    _show_chosen(flags, loaded)
    say("", "Options (section.option=value), with their defaults:", "")
    print((conf_dir() / "_base.yaml").read_text(encoding="utf-8"), end="")


def _show_chosen(flags: Flags, loaded: Plugins) -> None:
    """The options of every kind that the command line chooses, by itself or through a file."""
    from mmeframe.commands.dispatch import own_dirs
    from mmeframe.commands.plugins import show_options
    from mmeframe.config.options import describe, options_error
    from mmeframe.config.quick_choices import CHOICE, layout, places

    if not any(CHOICE.fullmatch(text) for text in flags.overrides):
        return
    found = layout(flags.config_name or flags.command, flags.overrides, places(own_dirs(flags), loaded), loaded)
    for place, (group, kind) in found.kinds.items():
        if (entry := loaded.chosen(group, kind)) is None:
            continue
        try:
            options = [option.to_json() for option in describe(entry.record.config)]
        except Exception as error:
            raise options_error(entry, f"{group}={kind}", error) from error
        say("", f"{entry.kind.noun} {kind}: {entry.record.summary}")
        show_options(options, f"{place}.")
