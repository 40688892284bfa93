"""How often two processes that train together exchange messages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from conftest import TINY

COUNTING = """\
import sys
from torch import distributed
from diffcli.cli import main
from diffcli.training import agreement, module

agreement.SECONDS_BETWEEN = 1e9  # steps count as fast, however busy the machine
messages = []
for name in ("all_reduce", "broadcast", "broadcast_object_list", "all_gather", "all_gather_object", "barrier",
    "reduce"):
    def counted(*arguments, name=name, before=getattr(distributed, name), **options):
        messages.append(name)
        return before(*arguments, **options)
    setattr(distributed, name, counted)
step = module.DiffusionModule.training_step
def training_step(self, *arguments):
    if self.global_step in (15, 65) and self.trainer.is_global_zero:
        print(self.global_step, len(messages), file=open("counted.txt", "a"))
    return step(self, *arguments)
module.DiffusionModule.training_step = training_step
main(sys.argv[1:])
"""


def test_two_processes_exchange_a_message_every_ten_steps(workplace: Path) -> None:
    preset = TINY.replace("batch_size: 128", "batch_size: 16, max_time: 1h, ema: 0.9, lr_decay: true")
    (workplace / "tiny.yaml").write_text(preset)
    (workplace / "counting.py").write_text(COUNTING)
    command = [sys.executable, "counting.py", "train", "--preset", "tiny.yaml", "--epochs", "1", "--out", "run", "-q"]
    process = subprocess.run(
        [*command, "--devices", "2", "--strategy", "ddp", "--accelerator", "cpu"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 0, process.stderr
    (_, before), (_, after) = (line.split() for line in (workplace / "counted.txt").read_text().splitlines())
    # In fifty steps five agreements, and one question whether the losses are finite: each a barrier and a reduction.
    assert int(after) - int(before) == 2 * 6
