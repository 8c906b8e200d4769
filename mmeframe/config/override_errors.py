"""What a user reads when something does not compose: where, what, the nearest name, what exists."""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from mmeframe.config.files import RefusedError
from mmeframe.config.hydra_api import (
    active,
    conf_dir,
    grammar_fault,
    group_options,
    groups,
    innermost,
    own_files,
    parse_override,
    paths,
    reason,
)
from mmeframe.config.options import config_fault, config_schema, members
from mmeframe.config.origins import interpolations, resolved, watched
from mmeframe.config.quick_choices import WITH_KINDS
from mmeframe.errors import Problem, ProblemsError, known_names, legible, listed, nearest, suggest
from mmeframe.plugin.kinds import CHOSEN, of_group
from mmeframe.sections import open_maps

__all__ = ["bad_interpolations", "broken_file", "endless", "headless", "problem_of"]

# Maps of open sections that take any key, in which a new one needs a plus.
_OPEN = re.compile(r"models(\.[^.]+)?(\.key|\.combine)?|sources\.[^.]+\.(key|each)")


def broken_file(config_name: str, error: Exception) -> ProblemsError:
    """A config that does not compose on its own."""
    import yaml
    from hydra.errors import MissingConfigException

    where = f"{config_name}.yaml"
    if isinstance(cause := innermost(error), RefusedError):
        return ProblemsError([cause.problem])
    if isinstance(cause, UnicodeDecodeError):
        return ProblemsError(_undecoded(error))
    if isinstance(error, yaml.YAMLError):
        return ProblemsError([Problem(where, f"this is not YAML: {_yaml_fault(error)}.")])
    missing = error.missing_cfg_file if isinstance(error, MissingConfigException) else None
    if missing == config_name:
        hint = (
            suggest(config_name, _config_names(), "Shipped configs" if not _own_configs() else "Configs")
            + " Add your own folder with --config-dir."
        )
        return ProblemsError([Problem("--config-name", f"there is no config {config_name!r}.", hint)])
    if missing is not None:
        group, _, name = missing.rpartition("/")
        known = group_options(group) if group else _config_names()
        return ProblemsError([Problem(where, f"no {group or 'config'} named {name!r}.", suggest(name, known))])
    if wrong := _wrong_defaults(where, error) or _wrong_shapes(config_name):
        return ProblemsError(wrong)
    # OmegaConf knows the path in the config, where it reads a file that Hydra only names.
    inner = innermost(error)
    path = getattr(inner, "full_key", None)
    if "key type 'NoneType'" in str(inner):
        hint = f"Write the name as it should be, in quotes (in {where})."
        return ProblemsError([Problem(str(path), "YAML read a name here as null; quote it.", hint)])
    return ProblemsError([Problem(str(path) if path else where, f"{reason(error)} (in {where})")])


def endless(where: str) -> Problem:
    """Of what nobody can follow to its end."""
    what = "it is nested too deeply, or refers to itself, through an anchor or its defaults."
    return Problem(where, what, "Look at its anchors (&a, *a), at the defaults of its files, and at the overrides.")


def _wrong_defaults(where: str, error: Exception, group: str = "") -> list[Problem]:
    """Defaults of a file that lead to no list. group: the one that the file itself was chosen from."""
    if isinstance(innermost(error), RecursionError):
        return [endless(where)]
    # Hydra 1.3's words, and 1.4's.
    unmatched = re.search(r"(?:Could not override|No earlier Group Default for) '([^'@]+)", str(error))
    if unmatched and unmatched[1] != group:
        name, known = unmatched[1], groups()
        what = f"its defaults override {name!r}, which is in no defaults list before it."
        # Without a slash a group is one in the file's own folder.
        own = name.rpartition("/")[2]
        return [Problem(where, what, f"Write 'override /{own}'." if own in known else suggest(name, known, "Groups"))]
    if twice := re.search(r"Multiple values for ([\w/]+)|([\w/]+)\S* appears more than once", str(error)):
        name = twice[1] or twice[2]
        hint = f"Name one config that brings it, and choose another of its files with 'override /{name}: <name>'."
        return [Problem(where, f"its defaults bring {name!r} twice.", hint)]
    return []


def _wrong_shapes(path: str) -> list[Problem]:
    """The user's own file or its sections that are no maps, which is what Hydra cannot merge."""
    import yaml

    files = own_files(path)
    if not files:
        return []
    file = files[0]
    base = yaml.safe_load((conf_dir() / "_base.yaml").read_text(encoding="utf-8"))
    own = yaml.safe_load(file.read_text(encoding="utf-8"))
    if own is not None and not isinstance(own, dict):
        return [
            Problem(f"{path}.yaml", f"a config is a map, not a {type(own).__name__}.", "Write 'name: value' lines.")
        ]
    return [
        Problem(name, f"this must be a map, not a {type(value).__name__} (in {file.name}).")
        for name, value in (own.items() if isinstance(own, dict) else ())
        if isinstance(base.get(name), dict) and isinstance(value, list | str | int)
    ]


def _undecoded(error: BaseException) -> list[Problem]:
    """The file of the user's that is no UTF-8: what the decoder was given is a piece of it, mostly its beginning."""
    current = active.get()
    piece = getattr(innermost(error), "object", b"")
    homes = [Path(folder) for folder in (current.config_dirs if current else ())]
    files = [(file, home) for home in homes for file in sorted(home.rglob("*.yaml"))]
    for file, home in sorted(files, key=lambda it: not it[0].read_bytes().startswith(piece)):
        content = file.read_bytes()
        try:
            content.decode("utf-8")
        except UnicodeDecodeError as fault:
            if piece in content:
                line = content.count(b"\n", 0, fault.start) + 1
                where = file.relative_to(home).as_posix()
                return [Problem(where, f"it is not UTF-8 (line {line}).", "Save it as UTF-8.")]
    return [Problem("--config-dir", f"a file is not UTF-8: {reason(error)}.", "Save it as UTF-8.")]


def headless(path: str) -> Problem | None:
    """What is wrong with a file of a group that is about the whole config, and whose header does not say so."""
    group = path.rpartition("/")[0]
    what = f"all that it says stands below {group.replace('/', '.')!r}, where nothing reads it."
    for text in (file.read_text(encoding="utf-8") for file in own_files(path)[:1]):
        if re.match(r"(#\s*@.*\n|\s*\n)*#\s*@package\s", text):
            return None
        late = re.search(r"^\ufeff?#\s*@package\s", text, re.MULTILINE)
        but = ": it stands too late" if late else ""
        but = (
            ": the file begins with a byte order mark, so save it without one" if text[:1] == "\ufeff" and late else but
        )
        return Problem(f"{path}.yaml", what, f"Make '# @package _global_' its first line{but}.")
    return None


def _config_names() -> list[str]:
    """Primary configs: the shipped ones and the user's own."""
    shipped = {path.stem for path in conf_dir().glob("*.yaml") if path.stem[0] != "_"}
    return sorted(shipped | _own_configs())


def _own_configs() -> set[str]:
    current = active.get()
    return {path.stem for folder in (current.config_dirs if current else ()) for path in Path(folder).glob("*.yaml")}


def _yaml_fault(error: Any) -> str:
    mark = getattr(error, "problem_mark", None)
    at = f" in {mark.name}, line {mark.line + 1}" if mark else ""
    return f"{getattr(error, 'problem', None) or reason(error)}{at}"


def problem_of(override: str, error: Exception, tree: Any) -> Problem:
    """Say what is wrong with one override: syntax, a sweep, a group, an option, a key."""
    import yaml

    parsed = parse_override(override)
    if isinstance(cause := innermost(error), RefusedError):
        return cause.problem
    if isinstance(cause, UnicodeDecodeError):
        return _undecoded(error)[0]
    if isinstance(error, yaml.YAMLError):
        return Problem(override, f"its file is not YAML: {_yaml_fault(error)}.")
    if parsed is None:
        return _no_override(override)
    if parsed.is_sweep_override():
        hint = f"Quote it for one value: '{parsed.key_or_group}=\"...\"', or add --multirun."
        return Problem(override, "values with a comma between them are several runs.", hint)
    known = groups()
    if parsed.key_or_group in known and not parsed.is_delete():
        return _explain_group(override, parsed, error)
    if parsed.package is not None or (parsed.is_add() and "." not in parsed.key_or_group):
        close = nearest(parsed.key_or_group, known)
        if close:
            hint = f"Did you mean {override.replace(parsed.key_or_group, close, 1)}? {known_names(known, 'Groups')}"
            return Problem(override, f"there is no group {parsed.key_or_group!r}.", hint)
    return _explain_key(override, parsed, tree)


# What the grammar of overrides is made of.
_GRAMMAR = "{}[]()="
# What Unicode calls quotation marks that open and close.
_CURLY = ("Pi", "Pf")
_LETTERS = {"\r": "a carriage return", "\n": "a line feed", "\0": "a null"}


def _no_override(override: str) -> Problem:
    """What the grammar of overrides refuses, with a spelling that it takes."""
    where, (key, _, value) = legible(override), override.partition("=")
    clean = "".join(it for it in override if it.isprintable())
    if clean != override and parse_override(clean) is not None:
        hidden = [it for it in dict.fromkeys(override) if not it.isprintable()]
        return Problem(where, f"it holds {_letters(hidden)}.", f"Write {clean}.")
    bare = "=".join(it.strip() for it in override.split("=", 1))
    if bare != override and parse_override(bare) is not None:
        return Problem(where, "it holds spaces around its name or its value.", f"Write {bare}.")
    if re.match(r"(models|runs):/", override):
        return Problem(where, "this is not an override.", f"Did you mean model={override}?")
    if Path(override).suffix in (".yaml", ".yml"):
        file = Path(override)
        rename = f"Rename it to {file.stem}.yaml: Hydra reads no other files. " if file.suffix == ".yml" else ""
        return Problem(where, "a config file is no override.", rename + _named_so(file))
    if re.search(r"\.0\d", key):
        hint = "A name that begins with 0 cannot stand in an override: declare it in a YAML file, in quotes."
        return Problem(where, f"this is not an override: {grammar_fault(override)}.", hint)
    if odd := [it for it in dict.fromkeys(key.lstrip("+~")) if not re.fullmatch(r"[\w./@:$-]", it, re.ASCII)]:
        what = f"the name of an override cannot hold {_letters(odd)}."
        return Problem(where, what, "Declare it in a YAML file, in quotes.")
    if override and "=" not in override and parse_override(f"{override}=x") is not None:
        return Problem(where, "this is not an override: it has no value.", f"Write {where}=<value>.")
    odd = [it for it in dict.fromkeys(value) if it not in _GRAMMAR and parse_override(f"k=a{it}a") is None]
    written = _quoted(key, value)
    hint = "Quote values that hold braces, commas, brackets or spaces: 'name=\"a,b\"'."
    # What begins like a map, a list or a quoted text was meant as one.
    meant = written if value[:1] not in tuple("{['\"") else ""
    if odd and meant:
        return Problem(where, f"Hydra takes no {_letters(odd)} outside of quotes.", meant)
    return Problem(where, f"this is not an override: {grammar_fault(override)}.", meant or hint)


def _quoted(key: str, value: str) -> str:
    """How a value is written that Hydra takes in quotes only, an empty text where there is no way."""
    # Shells know a home folder only where it stands alone.
    plain = str(Path(value).expanduser()) if value.startswith("~/") else value
    while plain and unicodedata.category(plain[0]) in _CURLY and unicodedata.category(plain[-1]) in _CURLY:
        plain = plain[1:-1]
    if parse_override(f"{key}={plain}") is not None:
        return f"Write {key}={plain}."
    for text in (f'{key}="{plain}"', f"{key}='{plain}'"):
        # One that cannot be shown cannot be copied.
        if text.isprintable() and parse_override(text) is not None:
            return f"Quote the value, and all of it for the shell: {quote(text)}."
    return ""


def _letters(letters: Sequence[str]) -> str:
    """``'#', '“' (left double quotation mark) and '\\r' (a carriage return)``."""
    told = []
    for it in letters:
        name = _LETTERS.get(it) or ("" if it.isascii() or it.isalpha() else unicodedata.name(it, "").lower())
        told.append(f"'{legible(it)}'" + (f" ({name})" if name else ""))
    return told[0] if len(told) == 1 else f"{', '.join(told[:-1])} and {told[-1]}"


def _named_so(file: Path) -> str:
    folder = file.parent
    if folder.name == "experiment":
        return f"Say --config-dir {folder.parent} experiment={file.stem}."
    return f"Say --config-dir {folder} --config-name {file.stem}."


def _explain_group(override: str, parsed: Any, error: Exception) -> Problem:
    from hydra.errors import MissingConfigException

    group, value, options = parsed.key_or_group, parsed.value(), group_options(parsed.key_or_group)
    # A file in a folder of a group is a choice, too, and none of those that Hydra lists.
    path = f"{group}/{value}"
    if (wrong := _wrong_shapes(path)) and isinstance(error, OSError):
        return wrong[0]
    if group not in WITH_KINDS and parsed.package is None and (found := headless(path)):
        return found
    if not isinstance(value, str | list):
        return Problem(override, f"{group} is chosen by name.", suggest("", options))
    if isinstance(value, str) and value not in options and not own_files(path):
        current = active.get()
        absent = current.absent if current else ""
        return Problem(override, f"no {group} named {value!r}.", f"{suggest(value, options)} {absent}".rstrip())
    if parsed.is_add():
        return Problem(override, f"{group} is in the defaults already.", f"Write {override.lstrip('+')}.")
    if parsed.package is not None:
        return Problem(override, f"nothing is chosen at {parsed.package} yet.", f"Write +{override}.")
    if (kind := of_group(group)) and not kind.alone:
        return kind.needs_name(override, str(value))
    if wrong := _wrong_defaults(f"{path}.yaml", error, group):
        return wrong[0]
    if re.search("No match in the defaults list|No earlier Group Default", str(error)):
        hint = f"Add '- {group}: null' to the defaults of your config, after _self_."
        return Problem(override, f"the config does not take {group}.", hint)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        asked, _, name = str(error.missing_cfg_file).rpartition("/")
        return Problem(override, f"its file names {name!r}, which is no {asked}.", suggest(name, group_options(asked)))
    return Problem(override, reason(error))


def _explain_key(override: str, parsed: Any, tree: Any) -> Problem:
    key, value = parsed.key_or_group, parsed.value()
    head = key.split(".")
    for kind in CHOSEN:
        # Of an option of an entry: sources.days.name
        place, *rest = key.removeprefix(f"{kind.place}.").split(".")
        if key.startswith(f"{kind.place}.") and rest and place not in _names(tree, kind.place):
            hint = f"Use {kind.add(place, '<kind>')} to add one. {known_names(group_options(kind.group), 'Kinds')}"
            return Problem(override, f"there is no {kind.entry} {place!r} yet.", hint)
    known = paths(tree)
    plain = override.lstrip("+~")
    parent = ".".join(head[:-1])
    if key in known and isinstance(value, dict):
        return Problem(override, f"a new key of {key} needs a leading +.", f"Use +{plain}, or +{key}.<name>=<value>.")
    if key in known and parsed.is_add():
        return Problem(override, f"{key} is there already.", f"Write {plain}.")
    if key in known and parsed.is_delete():
        return Problem(override, f"{key} has another value.", f"Write ~{key}.")
    if not parsed.is_add() and (head[0] == "models" and len(head) > 2 and ".".join(head[:2]) not in known):
        return Problem(override, f"there is no sub-model {head[1]!r} yet.", f"Use +{plain} to add it.")
    takes_any = _OPEN.fullmatch(parent) or parent in open_maps() or _is_map(tree, parent)
    if not parsed.is_add() and not parsed.is_delete() and takes_any and parent in known:
        return Problem(override, f"{parent} has no {head[-1]!r} yet.", f"Use +{plain} to add it.")
    if not parsed.is_delete() and head[-1] in _left_out(tree, parent):
        what = f"the file that chooses the kind of {parent} leaves {head[-1]!r} out."
        return Problem(override, what, f"Use +{plain} to add it.")
    assigned = "" if parsed.is_delete() else f"={parsed.get_value_string()}"
    # The first name that is wrong is the one to mend; what stands below it is kept.
    while len(head) > 2 and parent not in known and head[0] in tree:
        assigned = f".{head.pop()}{assigned}"
        key, parent = ".".join(head), ".".join(head[:-1])
    if key in known:
        shapes = [_shape(it) for it in (_at(tree, key), value)]
        what = f"{key} is {shapes[0]} in the config, and cannot become {shapes[1]}."
        return Problem(override, what, f"Give {shapes[0]}, or replace it: ~{key} +{plain}.")
    close = nearest(key, known, 0.75) or nearest(key, groups()) or _same_leaf(key, known)
    sign = "~" if parsed.is_delete() else ""
    guess = f"Did you mean {sign}{close}{assigned}? " if close else ""
    if len(head) == 1 or head[0] not in tree:
        return Problem(
            override, f"there is no section {head[0]!r}.", f"{guess}{known_names(map(str, tree), 'Sections')}"
        )
    siblings = known_names(_names(tree, parent), "It has")
    return Problem(override, f"there is no option {head[-1]!r} in {parent}.", f"{guess}{siblings}")


def _at(tree: Any, path: str) -> Any:
    for step in path.split("."):
        tree = tree[step] if hasattr(tree, "keys") else tree[int(step)]
    return tree


def _shape(value: Any) -> str:
    if hasattr(value, "keys"):
        return "a map"
    return "one value" if isinstance(value, str | bytes) or not hasattr(value, "__len__") else "a list"


def _left_out(tree: Any, place: str) -> list[str]:
    """Options of the kind that is chosen for a place."""
    config = _config_of(tree, place)
    return [option.name for option in dataclasses.fields(config)] if config else []


def _is_map(tree: Any, path: str) -> bool:
    """Whether a path is an option of a kind, and takes any names."""
    place, _, name = path.rpartition(".")
    config = _config_of(tree, place)
    if config is None or config_fault(config):
        return False
    whole = config_schema(config)
    found = members(whole["properties"].get(name, {}), whole["$defs"])
    return any(member.get("type") == "object" and "properties" not in member for member in found)


def _config_of(tree: Any, place: str) -> Any:
    """The dataclass of the kind that is chosen for a place, None where there is none."""
    from omegaconf import DictConfig, OmegaConf

    current, section = active.get(), place.split(".")[0]
    kind = next((it for it in CHOSEN if it.place.split(".")[0] == section), None)
    node = OmegaConf.select(tree, place) if kind else None
    if current is None or kind is None or not isinstance(node, DictConfig):
        return None
    entry = current.options.get(kind.group, {}).get(str(node.get("kind")))
    return entry.record.config if entry else None


def _same_leaf(key: str, known: Sequence[str]) -> str | None:
    """An option of that name in another section."""
    leaves = {path.rsplit(".", 1)[-1]: path for path in known}
    found = nearest(key.rsplit(".", 1)[-1], leaves, 0.8)
    return leaves[found] if found else None


def _names(tree: Any, path: str) -> list[str]:
    """Names in the map at a path."""
    from omegaconf import DictConfig, OmegaConf

    node = OmegaConf.select(tree, path)
    return [str(name) for name in node] if isinstance(node, DictConfig) else []


def bad_interpolations(tree: Any, error: Exception) -> list[Problem]:
    """Every value whose interpolation fails, at its own path."""
    from omegaconf.errors import OmegaConfBaseException

    problems = []
    for path, node in interpolations(tree):
        with watched() as seen:
            try:
                resolved(node)
            except OmegaConfBaseException as fault:
                # What OmegaConf says may hold a piece of the value.
                of = f"this cannot be resolved from the value of {listed([*seen])}."
                problems.append(Problem(path, of if seen else reason(fault)))
    return problems or [Problem(str(getattr(error, "full_key", None) or "config"), reason(error))]
