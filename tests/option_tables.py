"""Tables of strategies' options in the guide, made of their dataclasses: ``python -m tests.option_tables`` renews them.

A table stands below a line ``<!-- options: datepart -->``; what it says of an option is the comment above its field.
"""

from __future__ import annotations

import re
from pathlib import Path

from mmeframe.config.options import default_text, describe
from mmeframe.plugin.kinds import STRATEGY
from mmeframe.plugin.manager import isolated_plugins

GUIDE = Path(__file__).resolve().parents[1] / "docs" / "configuration.md"
MARK = re.compile(r"(<!-- options: (\w+) -->\n)((?:\|.*\n)*)")


def table(name: str) -> str:
    """The table of a built-in strategy's options."""
    config = isolated_plugins().get(STRATEGY.noun, name, "").record.config
    rows = [["option", "type", "default", "meaning"], ["---"] * 4]
    for option in describe(config):
        default = "" if option.required else f"`{default_text(option.to_json())}`"
        rows.append([f"`{option.name}`", _text(option.type), default, _text(option.help)])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _text(text: str) -> str:
    """A comment as Markdown has it in a cell."""
    return re.sub(r"([|<])", r"\\\1", text).replace("``", "`")


def written(text: str) -> str:
    """The guide with every table as it should be."""
    return MARK.sub(lambda mark: mark[1] + table(mark[2]), text)


if __name__ == "__main__":
    GUIDE.write_text(written(GUIDE.read_text(encoding="utf-8")), encoding="utf-8")
