"""From the composed tree to a ``RouterSpec``: every problem in one report, each with its config path."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from mmeframe import sections
from mmeframe.config.compose import Composed
from mmeframe.config.model_entry import ModelConf
from mmeframe.config.secrets import stored_secrets
from mmeframe.config.validation import LEVELS_HINT, Checker, missing_paths, walk, without_missing
from mmeframe.errors import QUOTE, ConfigError, Problem, ProblemsError, listed, suggest
from mmeframe.graph import circle
from mmeframe.option_types import unseen
from mmeframe.plugin.components import make_component
from mmeframe.plugin.conf import MISSING
from mmeframe.plugin.kinds import COMBINER, LOADER, OBSERVER, SOURCE, STRATEGY, Kind, of_group
from mmeframe.plugin.manager import Plugins
from mmeframe.rows.keys import canonical
from mmeframe.sections import (
    OWN_ROUTING,
    ModelDefaults,
    ResidencySpec,
    RouterSpec,
    RoutingConf,
    RoutingSpec,
    TrackingSpec,
    TrafficSpec,
    TrainSpec,
)
from mmeframe.spec import MAIN_ARM, ComponentSpec, KeyPart, SubModelEntry

__all__ = ["key_fault", "parse", "parse_client"]

_FORBIDDEN = ("_target_", "_args_", "_partial_", "_recursive_", "_convert_")
_PART = re.compile(r"[A-Za-z_]\w*")
# Stands for a strategy that was refused: its part is one all the same, for whatever names it.
_REFUSED = ComponentSpec("", "", "")
# MLflow's scoring server takes a body with one of these names for a chat request.
_RESERVED_INPUTS = ("messages", "prompt", "input")


def key_fault(value: Any) -> str:
    """Why a value cannot be a routing key, or an empty text. Text and whole numbers can."""
    if isinstance(value, bool) or value is None or isinstance(value, float):
        kind = "null" if value is None else f"the {type(value).__name__} {value}"
        return f"YAML read this as {kind}; {QUOTE} to use it as a key."
    if not isinstance(value, str | int):
        return f"a key is text or a whole number, not {type(value).__name__}."
    return "a key cannot be empty." if value == "" else ""


def parse(composed: Composed, plugins: Plugins) -> RouterSpec:
    """Validate a whole config.

    Raises ProblemsError with everything that is wrong in it.
    """
    return _Parser(composed, plugins).router()


def parse_client(composed: Composed, plugins: Plugins) -> RouterSpec:
    """Validate only what commands on a logged router need: ``name``, and the sections that are theirs.

    ``name`` and ``tracking.register_as`` are empty where the config leaves them open.
    """
    return _Parser(composed, plugins).client()


class _Parser(Checker):
    """One pass over one tree."""

    def __init__(self, composed: Composed, plugins: Plugins) -> None:
        super().__init__(plugins)
        self.tree, self.command = composed.tree, composed.command
        self.composed, self.origins = composed.problems, composed.origins
        # Ids of explicit sub-models that are never to be dropped from memory.
        self.pinned: list[str] = []

    def _complete(self) -> None:
        """Refuse a config without all sections; what else is wrong with it mostly follows from that."""
        if gone := [name for name in sections.SECTIONS if name not in self.tree]:
            where, what = "defaults", f"these sections are missing: {listed(gone)}."
            if len(gone) == 1:
                where, what = gone[0], "this section is missing."
            hint = "Extend a shipped config: 'defaults: [build, _self_]'."
            raise ProblemsError([*self.composed, Problem(where, what, hint)])

    def client(self) -> RouterSpec:
        self._complete()
        open_name = self.tree.get("name") == MISSING
        name = "" if open_name else str(self.tree.get("name") or "")
        found = self._closed(client=True)
        self._finish()
        found["tracking"] = _tracking(found["tracking"], name)
        return sections.RouterSpec(name, RoutingSpec((), ()), **found)

    def _closed(self, client: bool = False) -> dict[str, Any]:
        """The closed sections; client: only those that commands on a logged router read."""
        return {
            name: self.section(name, self.tree[name])
            for name, it in sections.SECTIONS.items()
            if not it.open and (it.client or not client)
        }

    def router(self) -> RouterSpec:
        self._complete()
        # Alone: what there is to say of the rest could hold the values.
        if problems := stored_secrets(self.tree, self.origins):
            raise ProblemsError([*self.composed, *problems])
        for name in self.tree:
            if (kind := of_group(name)) and not kind.alone:
                self.report.take([kind.needs_name(name, str(self.tree[name].get("kind")))])
            elif name not in sections.SECTIONS:
                self.report.add(name, "this is no section of a config.", suggest(name, sections.SECTIONS, "Sections"))
        for path, name in _forbidden(self.tree):
            self.report.add(path, f"{name} is not allowed: nothing in a config names code to run.", "Choose a kind.")
        self._missing()
        name = self._name()
        found = self._closed()
        routing = self.routing(self.tree["routing"])
        models = tuple(self.models(self.tree["models"], found["model_defaults"], routing))
        self._combined(models)
        sources, observers = tuple(self.named(SOURCE)), tuple(self.named(OBSERVER))
        found["traffic"] = self.traffic(found["traffic"], routing)
        found["residency"] = self._residency(found["residency"])
        found["tracking"] = _tracking(found["tracking"], name)
        train = found.pop("train")
        if self.command in ("train", "demo"):
            found["train"] = self.train(train, name, routing)
        self._finish()
        return sections.RouterSpec(name, routing, models=models, sources=sources, observers=observers, **found)

    def _finish(self) -> None:
        # What follows from an override that could not be applied is not worth saying again.
        failed = {_section(problem.where) for problem in self.composed}
        later = [problem for problem in self.report.problems if not {_section(problem.where), "experiment"} & failed]
        if self.composed or later:
            raise ProblemsError([*self.composed, *later])

    def _missing(self) -> None:
        for path in missing_paths(self.tree):
            if not path.startswith("train.") or self.command in ("train", "demo"):
                self.required(path)

    def _name(self) -> str:
        name = self.tree.get("name")
        if not isinstance(name, str):
            self.report.add("name", f"this must be text, not {name!r}.", "Quote it in YAML.")
            return "router"
        if not name:
            self.report.add("name", "this cannot be empty.", "Set it: name=<value>.")
        elif what := unseen(name):
            self.report.add("name", f"{what}.")
        elif name != MISSING and (bad := set(name) & set("/:.%\"'")):
            self.report.add("name", f"MLflow refuses {' '.join(sorted(bad))} in a model's name.")
        return name

    # -- routing -----------------------------------------------------------------------------------------------

    def routing(self, value: Any) -> RoutingSpec:
        if not isinstance(value, Mapping):
            self.report.add("routing", "this must be a map.", "Choose a kind: routing=column routing.column=<name>.")
            return RoutingSpec((), ())
        own = {name: item for name, item in value.items() if name in OWN_ROUTING}
        short = {name: item for name, item in value.items() if name not in OWN_ROUTING}
        keys = own.pop("keys", {})
        if not isinstance(keys, Mapping):
            self.report.add("routing.keys", "this must be a map of key parts.")
            keys = {}
        own = {
            name: item
            for name, item in without_missing(own).items()
            if self.check(RoutingConf, {name: item}, "routing")
        }
        conf = RoutingConf(**own)
        parts: list[KeyPart] = []
        if "kind" in short and keys:
            self.report.add(
                "routing.kind",
                "the short form and routing.keys cannot be used together.",
                "Add parts with +routing@routing.keys.<part>=<kind>, and leave routing=<kind> out.",
            )
        elif short:
            parts = self._short(short)
        for name, item in keys.items():
            where = f"routing.keys.{name}"
            if not isinstance(name, str):
                self.report.add(where, f"YAML read this name as {type(name).__name__} {name}; quote it.")
            elif not _PART.fullmatch(str(name)):
                self.report.add(where, "a key part's name is letters, digits and underscores.")
            parts.append(KeyPart(str(name), self.component(STRATEGY.noun, item, where) or _REFUSED))
        declared = bool(short or keys)
        if not declared and not self._only_global():
            kinds = suggest("", self.plugins.names(STRATEGY.noun), "Kinds")
            self.report.add(
                "routing", "no routing is declared.", f"Choose one: routing=column routing.column=dow. {kinds}"
            )
        reads = {part.name: self._inputs(part, "" if keys else "routing") for part in parts}
        self._order(reads)
        return RoutingSpec(tuple(parts), self._levels(conf.levels, parts, declared), conf.on_unknown)

    def _only_global(self) -> bool:
        models = self.tree["models"]
        return self.tree["routing"].get("levels") == [[]] and isinstance(models, Mapping)

    def _short(self, short: Mapping[str, Any]) -> list[KeyPart]:
        """``routing=column routing.column=dow``: one part, named after its parameter or column."""
        if "kind" not in short:
            for name in short:
                kinds = suggest(name, [*OWN_ROUTING, "kind"], "It has")
                self.report.add(f"routing.{name}", f"there is no option {name!r}.", kinds)
            return []
        component = self.component(STRATEGY.noun, short, "routing")
        if component is None:
            return []
        options = component.options
        name = next((options[it] for it in ("param", "column") if isinstance(options.get(it), str)), component.kind)
        return [KeyPart(str(name), component)]

    def _inputs(self, part: KeyPart, options: str) -> tuple[str, ...]:
        """Check what a strategy reads; returns the other key parts that it builds on.

        options: where its options stand, if not below ``routing.keys``.
        """
        if part.strategy is _REFUSED:
            return ()
        try:
            inputs = make_component(part.strategy).inputs()
        except ConfigError as error:
            at = options or f"routing.keys.{part.name}"
            self.report.add(f"{at}.{error.where}" if error.where else at, error.what, error.hint)
            return ()
        except Exception as error:  # noqa: BLE001 - a plugin's own code
            said = str(error).rstrip(".")
            self.report.add(
                f"routing.keys.{part.name}", f"{part.strategy.kind} failed: {type(error).__name__}: {said}."
            )
            return ()
        for name in [*inputs.columns, *inputs.params]:
            if name in (*_RESERVED_INPUTS, "annotate"):
                why = "annotated answers" if name == "annotate" else "chat models"
                self.report.add(
                    f"routing.keys.{part.name}", f"{name!r} cannot carry a key: it is taken for {why}.", "Rename it."
                )
        return tuple(inputs.parts)

    def _order(self, reads: Mapping[str, tuple[str, ...]]) -> None:
        """Parts that build on others need those to exist, and not to build on them in turn."""
        for name, needs in reads.items():
            for need in needs:
                if need not in reads:
                    hint = suggest(need, [other for other in reads if other != name], "Key parts")
                    self.report.add(f"routing.keys.{name}", f"it depends on {need!r}, which is no key part.", hint)
        if names := circle({name: [need for need in needs if need in reads] for name, needs in reads.items()}):
            shown = " -> ".join([*names, names[0]])
            self.report.add(
                f"routing.keys.{names[0]}", f"these parts depend on one another: {shown}.", "Break the circle."
            )

    def _levels(self, levels: Any, parts: list[KeyPart], declared: bool) -> tuple[tuple[str, ...], ...]:
        names = [part.name for part in parts]
        if levels == "auto":
            return (tuple(names),)
        found: list[tuple[str, ...]] = []
        for number, level in enumerate(levels):
            where = f"routing.levels[{number}]"
            for name in level:
                if name not in names and (names or not declared):
                    self.report.add(where, f"{name!r} is no key part.", suggest(name, names, "Key parts"))
            if len(set(level)) != len(level) or set(level) in [set(other) for other in found]:
                self.report.add(where, "duplicate level." if len(set(level)) == len(level) else "duplicate part.")
            found.append(tuple(level))
        if not found:
            self.report.add("routing.levels", "there are no levels.", LEVELS_HINT)
        return tuple(found)

    # -- sub-models --------------------------------------------------------------------------------------------

    def named(self, kind: Kind) -> Iterator[tuple[str, ComponentSpec]]:
        """A map of names to components: ``sources``, ``observers``."""
        value = self.tree[kind.place]
        if not isinstance(value, Mapping):
            self.report.add(kind.place, "this must be a map of names.", kind.add("<name>", "<kind>"))
            return
        for name, item in value.items():
            component = self.component(kind.noun, item, f"{kind.place}.{name}")
            if component:
                yield str(name), component

    def traffic(self, conf: TrafficSpec, routing: RoutingSpec) -> TrafficSpec:
        """Shares of arms. That sub-models have these arms, and keys, is known once sources are expanded."""
        if conf.excess:
            self.report.add("traffic.arms", conf.excess, "Lower them.")
        if MAIN_ARM in conf.arms:
            self.report.add(f"traffic.arms.{MAIN_ARM}", "the main arm takes what the others leave.", "Remove it.")
        for arm in conf.shadow:
            if conf.arms.get(arm):
                what = f"{arm!r} takes traffic (traffic.arms), so it cannot be a shadow."
                self.report.add("traffic.shadow", what, "Remove it from one of the two.")
        parts = [part.name for part in routing.parts]
        only: dict[str, tuple[Mapping[str, str], ...]] = {}
        for arm, keys in conf.only.items():
            if arm not in conf.arms:
                hint = suggest(arm, conf.arms, "Arms")
                self.report.add(f"traffic.only.{arm}", f"traffic.arms has no arm {arm!r}.", hint)
            found = []
            for number, key in enumerate(keys):
                where = f"traffic.only.{arm}[{number}]"
                if not isinstance(key, Mapping):
                    if len(parts) != 1:
                        self.report.add(where, "a key of several parts is a map.", f"Write {{{', '.join(parts)}}}.")
                        continue
                    key = {parts[0]: key}
                found.append(self._key(key, where, parts) or {})
            only[arm] = tuple({part: str(value) for part, value in key.items()} for key in found)
        return dataclasses.replace(conf, only=only)

    def models(self, value: Any, defaults: ModelDefaults, routing: RoutingSpec) -> Iterator[SubModelEntry]:
        if not isinstance(value, Mapping):
            self.report.add("models", "this must be a map of ids.", "+models.<id>.uri=models:/name@champion")
            return
        self.loader(defaults.loader, "model_defaults.loader")
        parts = [part.name for part in routing.parts]
        for id_, item in value.items():
            where = f"models.{id_}"
            if not isinstance(id_, str):
                what = f"YAML read this id as {type(id_).__name__} {id_}; quote it."
                self.report.add(where, what, "Write the id as it should be, in quotes.")
                continue
            if not id_:
                self.report.add("models", "an id cannot be empty.", "Give the sub-model a name.")
                continue
            if isinstance(item, str):
                item = {"uri": item}
            if not isinstance(item, Mapping):
                shown = "null" if item is None else f"{type(item).__name__} {item}"
                self.report.add(
                    where, f"a sub-model is a URI or a map, not {shown}.", f"{where}.uri=models:/name@champion"
                )
                continue
            # A source may say more of its sub-models than the defaults, which are asked last.
            given = {"flavor": defaults.flavor, "loader": defaults.loader, **item}
            conf = self.check(ModelConf, without_missing(given), where)
            if conf is None:
                continue
            if conf.combine is not None:
                self._no_files(item, where)
            if conf.pin:
                self.pinned.append(id_)
            yield SubModelEntry(
                id_,
                conf.uri or "",
                {} if conf.key == "none" else self._key(conf.key, f"{where}.key", parts),
                conf.flavor,
                # What every sub-model gets is wrong once, where it is written.
                self.loader(conf.loader, f"{where}.loader" if "loader" in item else "model_defaults.loader"),
                conf.arm,
                origin=where,
                routed=conf.key != "none",
                combine=self._combine(conf.combine, f"{where}.combine"),
                signature=dataclasses.asdict(conf.signature) if conf.signature else None,
                prove=conf.prove,
            )

    def _combined(self, models: Iterable[SubModelEntry]) -> None:
        """Only explicit sub-models combine others; which others there are is known once sources are expanded."""
        needs = {entry.id: entry.of for entry in models if entry.of}
        if names := circle(needs):
            shown = " -> ".join([*names, names[0]])
            self.report.add(
                f"models.{names[0]}.combine.of", f"these combine one another: {shown}.", "Break the circle."
            )

    def _no_files(self, item: Mapping[str, Any], where: str) -> None:
        """What combines others has no files: options about them would do nothing."""
        if item.get("uri"):
            self.report.add(
                f"{where}.combine", "a sub-model has files (uri) or combines others, not both.", "Keep one."
            )
        for name in ("flavor", "loader", "pin", "signature"):
            default = getattr(ModelConf(), name)
            if item.get(name, default) != default:
                self.report.add(f"{where}.{name}", "it combines others, and has no files to load.", "Remove it.")

    def _combine(self, value: Any, where: str) -> ComponentSpec | None:
        """A combiner over other sub-models. Which of them exist is known once sources are expanded."""
        component = self.component(COMBINER.noun, value, where) if value is not None else None
        if component is not None and not component.options["of"]:
            self.report.add(f"{where}.of", "name the sub-models whose answers are combined.", "of: [a, b]")
        return component

    def _key(self, key: Any, where: str, parts: list[str]) -> Mapping[str, str | int] | None:
        if key is None:
            return None
        found: dict[str, str | int] = {}
        for part, value in key.items():
            if part not in parts and parts:
                self.report.add(f"{where}.{part}", f"{part!r} is no key part.", suggest(part, parts, "Key parts"))
            elif fault := key_fault(value):
                self.report.add(f"{where}.{part}", fault, "Write the key as it should be, in quotes.")
            else:
                found[part] = str(canonical(value))
        return found

    def loader(self, value: Any, where: str) -> ComponentSpec | str:
        if value == "auto":
            return "auto"
        if isinstance(value, str):
            value = {"kind": value}
        return self.component(LOADER.noun, value, where) or "auto"

    def _residency(self, conf: ResidencySpec) -> ResidencySpec:
        pinned = tuple(dict.fromkeys([*conf.pin, *self.pinned]))
        spec = dataclasses.replace(conf, pin=pinned)
        for name in spec.idle_options:
            where = f"residency.{name}" if getattr(conf, name) else f"models.{pinned[0]}.pin"
            what = "every sub-model is in memory from the start, so this option has no effect."
            self.report.add(where, what, "Choose residency=lazy, or remove it.")
        return spec

    # -- train -------------------------------------------------------------------------------------------------

    def train(self, conf: TrainSpec, name: str, routing: RoutingSpec) -> TrainSpec | None:
        required = {
            "train.target": (conf.target, "train.target=<column>"),
            "train.estimator.class": (conf.estimator.class_, "train.estimator.class=sklearn.linear_model.Ridge"),
            "train.reader": (conf.reader.path or conf.reader.object, "train.reader.path=rows.csv"),
            "train.features": (conf.features.numeric + conf.features.categorical, "train.features.numeric=[<column>]"),
        }
        for where, (value, example) in required.items():
            reported = [problem.where for problem in self.report.problems]
            if not value and not any(it.startswith(where) or where.startswith(f"{it}.") for it in reported):
                self.report.add(where, "this option is required to train.", f"For instance {example}.")
        if conf.reader.path and conf.reader.object:
            self.report.add("train.reader", "path and object cannot both be set.")
        named = [*conf.features.numeric, *conf.features.categorical, *([conf.target] if conf.target else [])]
        for name in dict.fromkeys(name for name in named if named.count(name) > 1):
            what = f"the column {name!r} is named twice, among the features and train.target."
            self.report.add("train.features", what, "Keep one: a column is numeric, categorical, or what is predicted.")
        parts = [part.name for part in routing.parts]
        keys = tuple(dict.fromkeys(conf.key or (parts if len(parts) == 1 else ())))
        if not keys or not set(keys) <= set(parts):
            key = next((key for key in keys if key not in parts), "")
            what = f"{key!r} is no key part." if keys else "name the key part to train for."
            self.report.add("train.key", what, suggest(key, parts, "Key parts"))
            return None
        pattern = conf.register_as or "_".join([name, *(f"{{{key}}}" for key in keys)])
        self._pattern(pattern, keys)
        for where, text in (("train.register_as", pattern), ("train.global_as", conf.global_as or "")):
            if bad := set(text) & set("/:"):
                self.report.add(where, f"MLflow refuses {' '.join(sorted(bad))} in a registered name.")
        return dataclasses.replace(conf, key=keys, register_as=pattern)

    def _pattern(self, pattern: str, keys: Sequence[str]) -> None:
        """Registered names have all parts of the key, and no others."""
        where, named = "train.register_as", re.findall(r"\{([^{}]*)\}", pattern)
        lost = ", ".join(f"{{{key}}}" for key in keys if key not in named)
        if lost:
            self.report.add(where, f"{pattern!r} does not contain {lost}.", "All keys would get one name.")
        for part in dict.fromkeys(named):
            if part not in keys:
                self.report.add(
                    where, f"{{{part}}} is no part of train.key.", suggest(part, keys, "Parts of train.key")
                )


def _section(where: str) -> str:
    """The section that a config path or an override is about."""
    path = where.split("=")[0].lstrip("+~")
    return re.split(r"[.\[/]", path.rpartition("@")[2])[0]


def _forbidden(tree: Any) -> list[tuple[str, str]]:
    return [(path, name) for path, name, _ in walk(tree) if name in _FORBIDDEN]


def _tracking(conf: TrackingSpec, name: str) -> TrackingSpec:
    return dataclasses.replace(conf, register_as=conf.register_as or name or None)
