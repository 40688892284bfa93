"""``diffcli doctor``: what it says is so, and a broken installation is told of."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from conftest import ROOT, Cli

import diffcli
from diffcli.utils import installation
from diffcli.utils.compile import precision_of
from diffcli.utils.devices import Devices


def test_the_facts_are_those_of_this_machine(cli: Cli, workplace: Path, small_mnist: Path) -> None:
    result = cli("doctor", "--json", "--data-dir", small_mnist)
    assert (result.code, result.err) == (0, "")
    facts = json.loads(result.out)
    assert facts["diffcli"]["version"] == diffcli.__version__
    assert Path(facts["diffcli"]["code"]) == Path(diffcli.__file__).parent
    assert facts["packages"]["torch"] == metadata.version("torch")
    assert facts["packages"]["lightning"] == metadata.version("lightning")
    assert facts["devices"]["cores"] >= 1
    assert facts["devices"]["cuda"] == [] or torch.cuda.is_available()
    assert facts["precision"]["auto"] == precision_of(Devices(precision="auto"))
    assert facts["precision"]["fast_bfloat16"] == (facts["precision"]["auto"] == "bf16-mixed")
    missing = [name for name in ("onnxruntime", "onnx") if find_spec(name) is None]
    assert facts["engine"] == {"auto": "torch" if missing else "onnxruntime", "missing": missing}
    assert facts["data"]["mnist"] == "300 and 60 images"
    assert facts["data"]["cifar10"] == "300 and 60 images"
    assert facts["data"]["kmnist"].startswith("Kuzushiji-MNIST is not whole in")
    assert facts["models"]["runs"].startswith("0 in ")
    assert {"dev", "notebook"} <= set(facts["extras"])
    assert list(workplace.iterdir()) == []


def test_the_commit_of_a_checkout_is_named() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    head = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True)
    if head.returncode:
        pytest.skip("no commit here")
    assert installation.installation()["commit"] == head.stdout.strip()


def test_the_table_says_what_a_report_needs(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFCLI_API_TOKEN", "not to be told")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    result = cli("doctor", "--data-dir", "nowhere")
    assert result.code == 0
    for word in ("torch", "lightning", "cores", "why", "nowhere", "extras", "OMP_NUM_THREADS"):
        assert word in result.out
    assert "not to be told" not in result.out
    assert result.out.splitlines()[-1].startswith("A bug report needs:")


def test_a_damaged_file_of_data_is_named(cli: Cli, workplace: Path) -> None:
    raw = workplace / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (raw / f"{name}-ubyte").write_bytes(b"\0")
    facts = json.loads(cli("doctor", "--json", "--data-dir", workplace).out)
    assert facts["data"]["mnist"] == f"{raw}/train-images-idx3-ubyte is not an idx file of bytes"


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_pytorch_that_does_not_load_is_told_of(workplace: Path, form: list[str]) -> None:
    (workplace / "torch.py").write_text("raise ImportError('libcudart.so.99: cannot open shared object file')")
    code = "import sys; sys.path.insert(0, '.'); from diffcli.cli import main; main(sys.argv[1:])"
    process = subprocess.run([sys.executable, "-c", code, "doctor", *form], capture_output=True, text=True)
    assert process.returncode == 1
    assert "ImportError: libcudart.so.99" in process.stdout
    assert "Traceback" not in process.stderr
    assert diffcli.__version__ in process.stdout
    if form:
        assert set(json.loads(process.stdout)["devices"]) == {"error"}


def test_an_installation_without_metadata_is_told_of(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(installation.metadata, "requires", missing)
    result = cli("doctor", "--json", "--data-dir", "nowhere")
    assert result.code == 1
    assert "error" in json.loads(result.out)["packages"]
