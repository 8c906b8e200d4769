"""Hydra's own flags: a command that ``hydra.main`` runs, once or, with ``-m``, once per combination."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mmeframe.commands.dispatch import check_read, own_dirs
from mmeframe.errors import MmeframeError, Problem, ProblemsError
from mmeframe.output import note

if TYPE_CHECKING:
    from pathlib import Path

    from mmeframe.api import Job
    from mmeframe.commandline import ConfigCommand, Flags
    from mmeframe.plugin.manager import Plugins

__all__ = ["delegate"]


def delegate(command: ConfigCommand, flags: Flags, plugins: Plugins) -> int:
    """Hand Hydra's own flags to ``hydra.main``, and report the problems of all runs at the end."""
    import tempfile

    import hydra

    from mmeframe.config.compose import activated
    from mmeframe.config.hydra_api import conf_dir, for_sweep, hydra_base, tried_runs
    from mmeframe.config.quick_choices import groups, located, places

    config_name, config_dirs = located(flags.config_name or command.name, own_dirs(flags))
    work = _Runs(command, flags, plugins, config_name)
    overrides, runs = flags.overrides, [flags.overrides]
    if work.sweeps:
        known = groups(places(map(str, config_dirs), plugins))
        overrides = for_sweep(overrides, known)
        runs = [*tried_runs(overrides, known)]
    if "--hydra-help" not in flags.hydra:
        work.check(runs, config_dirs)
    sys.argv = [f"mmeframe {command.name}", *flags.hydra, *overrides, *_quiet(command.name)]
    base: dict[str, Any] = hydra_base()
    with activated(plugins, config_dirs), tempfile.TemporaryDirectory(prefix="mmeframe-sweep-") as scratch:
        # Hydra writes multirun.yaml somewhere, whatever is asked of it.
        sys.argv += [] if any("hydra.sweep.dir=" in word for word in sys.argv) else [f"hydra.sweep.dir={scratch}"]
        hydra.main(config_path=str(conf_dir()), config_name=config_name, **base)(work.run)()
    if work.problems:
        raise ProblemsError(work.problems)
    if work.trains and not work.alias:
        note("a sweep moves no alias: train once more with the overrides of the best trial, or set train.alias")
    return max(work.codes, default=0)


def _quiet(name: str) -> list[str]:
    """Overrides by which Hydra writes no files, and sets up no logging."""
    return [
        "hydra.run.dir=.",
        "hydra.output_subdir=null",
        "hydra/job_logging=none",
        "hydra/hydra_logging=none",
        f"hydra.job.name={name}",
    ]


@dataclass
class _Runs:
    """What Hydra is to run, and what came of each run."""

    command: ConfigCommand
    flags: Flags
    plugins: Plugins
    config_name: str
    codes: list[int] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def sweeps(self) -> bool:
        return bool({"-m", "--multirun"} & set(self.flags.hydra))

    @property
    def trains(self) -> bool:
        """Whether each run is a trial of a training."""
        return self.sweeps and self.command.name == "train"

    @property
    def alias(self) -> bool:
        """Whether the command line names the alias: the default one would go to whichever trial comes last."""
        from mmeframe.config.hydra_api import named

        return "train.alias" in map(named, self.flags.overrides)

    def check(self, runs: Sequence[Sequence[str]], config_dirs: Sequence[str | Path]) -> None:
        """Raises ProblemsError for what Hydra would end with words of its own, or a traceback."""
        from mmeframe.config.compose import compose

        for tried in runs:
            composed = compose(
                self.command.name,
                tried,
                plugins=self.plugins,
                config_dirs=config_dirs,
                config_name=self.config_name,
            )
            if composed.problems:
                raise ProblemsError(composed.problems)

    def run(self, cfg: Any) -> None:
        """One run, with what Hydra has composed; its problems are kept, so that the others run."""
        from hydra.core.hydra_config import HydraConfig

        found: tuple[Problem, ...] = ()
        given = tuple(HydraConfig.get().overrides.task) if self.sweeps else tuple(self.flags.overrides)
        try:
            self.codes.append(self._run(cfg, given))
        except ProblemsError as error:
            found = error.problems
        except MmeframeError as error:
            found = (Problem.of(error),)
        if found and self.sweeps:
            job = " ".join(HydraConfig.get().overrides.task)
            found = tuple(replace(problem, what=f"{problem.what} (in the run of {job})") for problem in found)
        self.problems.extend(found)

    def _run(self, cfg: Any, given: tuple[str, ...]) -> int:
        from mmeframe import api
        from mmeframe.config.compose import composed_from
        from mmeframe.config.hydra_api import named, swept
        from mmeframe.redact import redact_override

        composed = composed_from(self.command.name, cfg, given, self.config_name)
        work = api.job_of(composed, self.plugins, self.flags.model is not None, self.flags.allow)
        check_read(self.command, work, self.flags, given)
        if self.trains:
            varied = swept(self.flags.overrides)
            label = " ".join(redact_override(text) for text in given if named(text) in varied or not varied)
            work = _as_trial(work, label, keeps_alias=not self.alias)
        return self.command.run(work, self.flags)


def _as_trial(work: Job, label: str, *, keeps_alias: bool) -> Job:
    """The training of one combination of a sweep: what it makes is labelled, and no alias moves unasked."""
    spec = work.spec
    assert spec.train is not None  # noqa: S101 - parsing has refused a training without a section
    name = f"{spec.tracking.run_name or f'train-{spec.name}'} {label}"
    tracking = replace(spec.tracking, run_name=name, tags={**spec.tracking.tags, "mmeframe.trial": label})
    settings = replace(spec.train, alias=None) if keeps_alias else spec.train
    return replace(work, spec=replace(spec, tracking=tracking, train=settings))
