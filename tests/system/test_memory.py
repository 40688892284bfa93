"""Memory stays flat: over many calls of the Python API, and over many images of one call."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SLOW
from PIL import Image

from diffcli.data.array_format import BYTES
from diffcli.inference.options import SampleOptions
from diffcli.inference.pictures import save_arrays
from diffcli.inference.save_samples import sample
from diffcli.utils.devices import Devices

LINUX = pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads Linux's /proc")


def mebibytes() -> float:
    """Resident memory of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


@LINUX
def test_sampling_again_and_again_leaks_nothing(workplace: Path, hot_run: Path) -> None:
    options = SampleOptions(hot_run, 1, Path("image.png"), devices=Devices("cpu", "1"), steps=2, quiet=True)

    def again(times: int) -> float:
        for _ in range(times):
            sample(options)
        gc.collect()
        return mebibytes()

    before = again(30)  # caches fill
    growth = again(1000 if SLOW else 60) - before
    print(f"{1000 if SLOW else 60} x sample --n 1: {growth:+.1f} MiB")
    assert growth < (20 if SLOW else 8)


PEAK = """
import sys
from pathlib import Path
from diffcli.inference.options import SampleOptions
from diffcli.inference.save_samples import sample
from diffcli.utils.devices import Devices
run, out, *counts = sys.argv[1:]
for count in counts:
    place = Path(f"{count}-{out}")
    sample(SampleOptions(run, int(count), place, devices=Devices("cpu", "1"), steps=2, batch_size=100, quiet=True))
    print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@LINUX
@pytest.mark.parametrize("out", ["images.npz", "images"])
def test_memory_is_flat_in_the_number_of_images(workplace: Path, hot_run: Path, out: str) -> None:
    few, many = 200, 20_000 if SLOW else 2_000
    # The highest of a process so far: what many images take beyond a few shows in the same one.
    command = [sys.executable, "-c", PEAK, str(hot_run), out, str(few), str(many)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    peaks = [int(line) / 1024 for line in output.split()]
    assert len(peaks) == 2
    print(f"peak memory for {few} and {many} images to {out}: {peaks[0]:.0f} and {peaks[1]:.0f} MiB")
    assert peaks[1] - peaks[0] < 10
    if out == "images":
        assert len(list(Path(f"{many}-{out}").iterdir())) == many
        assert Image.open(Path(f"{many}-{out}") / f"{many - 1:05d}.png").size == (8, 8)
    else:
        assert np.load(f"{many}-{out}")["images"].shape == (many, 8, 8, 1)


def test_an_array_is_written_batch_by_batch_and_read_as_one(tmp_path: Path) -> None:
    images = torch.randint(0, 256, (7, 3, 4, 5), dtype=torch.uint8)
    save_arrays(map(BYTES.of, images.split(3)), 7, tmp_path / "images.npz", "a label")
    content = np.load(tmp_path / "images.npz")
    assert np.array_equal(content["images"], images.permute(0, 2, 3, 1).numpy())
    assert str(content["label"]) == "a label"
