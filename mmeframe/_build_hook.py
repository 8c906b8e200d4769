"""Hatchling hook: put the repository's ``conf/`` into the wheel as ``mmeframe/conf``.

Only for real wheels: an editable install finds ``conf/`` beside the package, and a second copy in
site-packages would go stale.
"""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ConfHook(BuildHookInterface):  # type: ignore[type-arg]
    """Ship the configs where ``mmeframe.config.conf_dir`` looks first."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add ``conf/`` to a standard build; leave editable builds alone."""
        if version == "standard":
            build_data["force_include"]["conf"] = "mmeframe/conf"
