"""The MNIST family's files are read without torchvision."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from idx_files import write_idx_files


def test_files_on_disk_are_read_without_torchvision(tmp_path: Path) -> None:
    write_idx_files(tmp_path)
    code = (
        "import sys; from pathlib import Path; from diffcli.data.datasets import mnist; "
        f"mnist(data_dir=Path({str(tmp_path)!r}), download=True); print('torchvision' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
