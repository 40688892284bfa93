"""Stand-in weights of Inception, and a machine without a network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session")
def stand_in_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An Inception of the right shape with random weights, in the format of the official file."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    file = tmp_path_factory.mktemp("inception") / "stand-in.pth"
    torch.manual_seed(0)
    original = FeatureExtractorInceptionV3.load_state_dict
    try:
        # Its constructor insists on loading a file; the stand-in is what it would have loaded into.
        FeatureExtractorInceptionV3.load_state_dict = lambda self, state, *args, **kwargs: None
        empty = file.with_name("empty.pth")
        torch.save({}, empty)
        network = FeatureExtractorInceptionV3("stand-in", ["2048"], feature_extractor_weights_path=str(empty))
    finally:
        FeatureExtractorInceptionV3.load_state_dict = original
    torch.save(network.state_dict(), file)
    return file


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    from urllib.error import URLError

    def refuse(*args: object, **kwargs: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
