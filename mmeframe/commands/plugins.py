"""``mmeframe plugins``: what is installed, and what the options of a component are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from mmeframe.commandline import PlainCommand
from mmeframe.errors import PluginError, UsageError, suggest
from mmeframe.output import emit, say, show_plugin_errors, table

if TYPE_CHECKING:
    from mmeframe.commandline import Flags
    from mmeframe.plugin.manager import PluginInfo, Plugins, Registered

__all__ = ["COMMAND", "check_configs", "show_options"]

_USAGE = "mmeframe plugins [show NAME] [--json] [-p MODULE]"


def _run(flags: Flags) -> int:
    """List plugins, or show components. Neither broken ones nor a name of several make a list fail."""
    from mmeframe.plugin.manager import load_plugins

    loaded = load_plugins(flags.plugins)
    check_configs(loaded)
    if flags.debug:
        show_plugin_errors(loaded)
    if not flags.overrides:
        return _list(loaded, flags)
    if flags.overrides[0] != "show" or len(flags.overrides) != 2:
        what = "plugins show takes one name" if flags.overrides[0] == "show" else "plugins takes no overrides"
        raise UsageError(f"{what}.", hint=_USAGE)
    return _show(loaded, flags.overrides[1], flags)


def _words(flags: Flags) -> Iterable[str]:
    from mmeframe.plugin.manager import load_plugins

    if flags.overrides == ["show"]:
        return _known_names(load_plugins(flags.plugins))
    return () if flags.overrides else ("show",)


def _known_names(loaded: Plugins) -> list[str]:
    """What ``plugins show`` takes: names of components, plugins and distributions."""
    components = {name for names in loaded.registered.values() for name in names}
    owners = {name for plugin in loaded.plugins for name in (plugin.name, plugin.distribution) if name}
    return sorted(components | owners)


def check_configs(loaded: Plugins) -> None:
    """Find options that no config can hold. Here, and not at each command: pydantic takes milliseconds for each."""
    from mmeframe.config.options import config_fault

    for entry in _entries(loaded):
        # The built-in ones are tested with mmeframe.
        if entry.plugin is not loaded.plugins[0] and (fault := config_fault(entry.record.config)):
            entry.plugin.status = "broken"
            entry.plugin.reason = f"Plugin {entry.plugin.name!r}: {entry.kind.noun} {entry.record.name!r}: {fault}."


def _entries(loaded: Plugins) -> Iterable[Registered]:
    from mmeframe.plugin.kinds import KINDS

    return [entry for kind in KINDS for _, entry in sorted(loaded.registered[kind.noun].items())]


def _list(loaded: Plugins, flags: Flags) -> int:
    from mmeframe.plugin.kinds import KINDS

    data = [
        {
            "name": plugin.name,
            "distribution": plugin.distribution,
            "version": plugin.version,
            "module": plugin.module,
            "status": plugin.status,
            "reason": plugin.reason,
            "provides": plugin.provides,
            "hooks": plugin.hooks,
            "disabled": plugin.off,
        }
        | ({"import_seconds": plugin.seconds} if flags.debug else {})
        for plugin in loaded.plugins
    ]
    clashes = [{"what": it.what, "hint": it.hint} for it in loaded.clashes()]

    def show() -> None:
        heads = ["plugin", "from", "status", "provides", "hooks"] + ["import"] * flags.debug
        table("plugins", heads, [_row(plugin, flags.debug) for plugin in loaded.plugins])
        for plugin in loaded.plugins:
            if plugin.reason:
                say(*f"{plugin.name}: {plugin.reason}".split("\n"))
            if plugin.off:
                say(f"{plugin.name}: disabled: {', '.join(plugin.off)}")
        for clash in clashes:
            say(f"{clash['what']} {clash['hint']}")
        for kind in KINDS:
            rows = [[name, entry.record.summary] for name, entry in sorted(loaded.registered[kind.noun].items())]
            table(kind.plural, ["name", "what"], rows)
        say("Options of one: mmeframe plugins show NAME")

    emit(flags.json, {"plugins": data, "clashes": clashes}, show)
    return 0


def _row(plugin: PluginInfo, debug: bool) -> list[str]:
    provides = "; ".join(f"{noun}: {', '.join(names)}" for noun, names in plugin.provides.items())
    hooks = ", ".join(hook.removeprefix("mmeframe_") for hook in plugin.hooks)
    spent = [f"{plugin.seconds * 1000:.0f} ms"] if debug else []
    return [plugin.name, plugin.title, plugin.status, provides, hooks, *spent]


def _show(loaded: Plugins, name: str, flags: Flags) -> int:
    owners = [plugin for plugin in loaded.plugins if name in (plugin.name, plugin.distribution)]
    found = [
        entry
        for entry in _entries(loaded)
        if name in (entry.record.name, *entry.full_names) or any(entry.plugin is owner for owner in owners)
    ]
    if not found:
        for plugin in owners:
            if plugin.status != "ok":
                raise PluginError(f"{plugin.title} is {plugin.status}: {plugin.reason}", where=name)
    if not found and not owners:
        hint = f"{suggest(name, _known_names(loaded))} {loaded.absent()}".rstrip()
        raise UsageError(f"there is no component, plugin or distribution {name!r}.", where="plugins show", hint=hint)
    data = [_told(entry, loaded) for entry in found]

    def show() -> None:
        for component in data:
            _show_component(component)
        for owner in owners:
            if not found:
                say(f"{owner.title} registers no component; its hooks: {', '.join(owner.hooks)}")

    emit(flags.json, {"components": data}, show)
    return 0


def _told(entry: Registered, loaded: Plugins) -> dict[str, Any]:
    """One component for machines."""
    from mmeframe.config.options import describe, options_error

    record, plugin, kind = entry.record, entry.plugin, entry.kind
    try:
        options = [option.to_json() for option in describe(record.config)]
    except Exception as error:
        raise options_error(entry, record.name, error) from error
    told = {
        "kind": kind.noun,
        "name": record.name,
        "summary": record.summary,
        "target": record.target,
        "plugin": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "choose": kind.choose.format(name=_chosen_by(entry, loaded)),
        "options": options,
        "presets": _presets(entry, loaded),
    }
    return told | ({"flavors": list(record.flavors)} if hasattr(record, "flavors") else {})


def _chosen_by(entry: Registered, loaded: Plugins) -> str:
    """What a config writes: its name, where no other component has that."""
    return next(name for name, other in loaded.registered[entry.kind.noun].items() if other is entry)


def _presets(entry: Registered, loaded: Plugins) -> list[str]:
    """YAML files of plugins that choose this component."""
    from mmeframe.config.quick_choices import kind_of

    group, folders = entry.kind.group, loaded.config_folders()
    if not group or not folders:
        return []
    name = entry.record.name
    return [preset for preset in loaded.presets(group) if kind_of(group, preset, folders, loaded) == name]


def _show_component(told: dict[str, Any]) -> None:
    title = f"{told['distribution']} {told['version']}" if told["distribution"] else told["target"].partition(":")[0]
    say(f"{told['kind']} {told['name']}: {told['summary']}")
    say(f"from {title} ({told['target']})")
    say(f"choose it with {told['choose']}")
    if told.get("flavors"):
        say(f"takes the flavors: {', '.join(told['flavors'])}")
    if told["presets"]:
        say(f"presets: {', '.join(told['presets'])}")
    show_options(told["options"])


def show_options(options: Sequence[dict[str, Any]], prefix: str = "") -> None:
    """A table of options; ``prefix``: the config path that they are at."""
    from mmeframe.config.options import default_text

    rows = [[f"{prefix}{option['name']}", option["type"], default_text(option), option["help"]] for option in options]
    if rows:
        table("options", ["option", "type", "default", "what"], rows)
    else:
        say("it has no options", "")


COMMAND = PlainCommand(
    name="plugins",
    summary="installed plugins, what they register, and why any is broken; options of one: plugins show NAME",
    examples=(
        "mmeframe plugins",
        "mmeframe plugins show datepart",
        "mmeframe plugins -p my_module -p no:mmeframe-nearest",
    ),
    run=_run,
    words=_words,
)
