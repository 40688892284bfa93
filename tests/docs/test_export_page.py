"""docs/export.md: its commands run, and its programs need no diffcli."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

from conftest import ROOT, Cli
from pages import QUICK, snippets

PAGE = ROOT / "docs" / "export.md"
WITHOUT_DIFFCLI = (
    "import sys; sys.modules['diffcli'] = None; exec(compile(open(sys.argv[1]).read(), sys.argv[1], 'exec'), {})"
)


def test_the_page_does_what_it_says(cli: Cli, workplace: Path, small_presets: None) -> None:
    for command in re.findall(r"^diffcli (.*)$", PAGE.read_text(), flags=re.MULTILINE):
        name, *words = shlex.split(command)
        result = cli(name, *words, *shlex.split(QUICK.get(name, "")))
        assert result.code == 0, (command, result.err)
    for language, file, text in snippets(PAGE):
        assert (language, bool(file)) == ("python", True)
        Path(file).write_text(text)
        process = subprocess.run([sys.executable, "-c", WITHOUT_DIFFCLI, file], capture_output=True, text=True)
        assert process.returncode == 0, process.stderr
        line = next(iter(re.findall(r"# (\(8, 1, 8, 8\) [\w.]+)", text)))
        assert process.stdout.strip() == line
