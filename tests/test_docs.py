"""Every code block of the README and the guides runs, in order, in an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmeframe.plugin.kinds import STRATEGY
from mmeframe.plugin.manager import isolated_plugins
from tests import option_tables, run_doc

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "plugins").glob("*/README.md"))]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.process
@pytest.mark.parametrize(
    "document",
    [
        pytest.param(path, marks=[pytest.mark.smoke] if path.name == "README.md" else [])
        for path in DOCUMENTS
        if path.parts[-3] != "plugins"
    ],
    ids=name,
)
def test_code_blocks_run(document, tmp_path):
    """What a reader copies works, as written."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "MMEFRAME_"))}
    environment |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MMEFRAME_CACHE_DIR": str(tmp_path / "cache")}
    work = tmp_path / "work"
    work.mkdir()
    command = [sys.executable, str(ROOT / "tests" / "run_doc.py"), str(document)]

    ran = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, timeout=300)

    assert ran.returncode == 0, f"{ran.stdout[-2000:]}\n{ran.stderr[-4000:]}"


def test_the_readme_has_no_block_that_is_not_run():
    """Nothing in the README is only for show, but outputs."""
    shown = [block for block in run_doc.blocks(ROOT / "README.md") if "notest" in block.words]

    assert shown == []


def test_every_hook_has_its_row_in_the_plugin_guide():
    """The guide names each hook with its exact arguments and what it returns."""
    import inspect

    from mmeframe.plugin import hookspecs

    guide = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    for hook in hookspecs.__all__:
        signature = inspect.signature(getattr(hookspecs, hook))
        arguments = f"({', '.join(signature.parameters)})"
        assert f"| `{hook}` | `{arguments}` | `{signature.return_annotation}` |" in guide


def test_tables_of_options_say_what_the_dataclasses_say():
    """Every built-in strategy has its table; ``python -m tests.option_tables`` renews them."""
    guide = option_tables.GUIDE.read_text(encoding="utf-8")
    kinds = isolated_plugins().names(STRATEGY.noun)

    assert sorted(mark[2] for mark in option_tables.MARK.finditer(guide)) == kinds
    assert option_tables.written(guide) == guide


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_links_lead_somewhere(document):
    """Relative links of the documents exist."""
    import re

    targets = re.findall(r"\]\((?!https?://|#)([^)#]+)", document.read_text(encoding="utf-8"))

    assert [target for target in targets if not (document.parent / target).exists()] == []
