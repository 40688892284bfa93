"""Feature extractors for distances and neighbours: Inception, and the two judges of the data set."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor

from diffcli.evaluation.classifier import TrainedClassifier, Unavailable
from diffcli.evaluation.judges import JudgedData, judges_at_hand, judges_of
from diffcli.utils.compile import full_precision
from diffcli.utils.devices import Processes
from diffcli.utils.errors import UserError
from diffcli.utils.files import user_path
from diffcli.utils.hashing import of_file

EXTRACTORS = ("auto", "inception", "classifier")
INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
INCEPTION_HASH = "6726825d"
"""First digits of the sha256 of the official file, which its name carries."""
INCEPTION_SOURCE = (
    f"{INCEPTION_FILE} of torch-fidelity's release v0.2.0 on GitHub (its sha256 begins with {INCEPTION_HASH})"
)
DOWNLOAD_TIMEOUT = 10.0


@dataclass(frozen=True)
class Extractor:
    """Images in [0, 1], float (B, C, H, W) -> features, float (B, F)."""

    features: Callable[[Tensor], Tensor]
    settings: dict[str, Any]
    """Settings that tell it from every other extractor: its ``name``, a checksum of its weights."""

    @property
    def name(self) -> str:
        """Goes into the key of every score."""
        return str(self.settings["name"])


def inception_cache() -> Path | None:
    """The file in which torch-fidelity keeps the Inception weights; None where the home folder is unknown and
    TORCH_HOME is not set."""
    try:
        return user_path(torch.hub.get_dir()) / "checkpoints" / INCEPTION_FILE
    except UserError:
        return None


def inception(weights: Path | None, device: torch.device) -> Extractor:
    """torch-fidelity's InceptionV3 by way of torchmetrics, 2048 pooled features (Heusel et al. 2017).

    Args:
        weights: a local copy of the weights; None takes the cache, and downloads where that is empty.

    Raises:
        Unavailable: it is not in the cache and cannot be downloaded; the line names the file and
            ```inception_weights``.
        UserError: the file is missing, damaged or not an Inception.
    """
    from torchmetrics.image.fid import NoTrainInceptionV3

    file = weights or _downloaded()
    try:
        # torch-fidelity opens its file without this check: refuse a pickle that would execute code.
        torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        network = NoTrainInceptionV3("inception-v3-compat", ["2048"], str(file)).to(device)
    except FileNotFoundError as error:
        raise UserError(f"`inception_weights` {file} does not exist; name a copy of {INCEPTION_FILE}") from error
    except Exception as error:  # bytes that are damaged can raise anything
        raise UserError(
            f"{file} does not hold Inception weights; name a copy of {INCEPTION_SOURCE} with `inception_weights` FILE"
        ) from error

    @torch.inference_mode()
    def features(images: Tensor) -> Tensor:
        pixels = images.clamp(0, 1).mul(255).round().to(torch.uint8)
        pixels = pixels.expand(-1, 3, -1, -1) if pixels.shape[1] == 1 else pixels
        with full_precision(device):
            return network(pixels.to(device)).cpu()

    return Extractor(features, inception_settings(file))


def inception_settings(file: Path) -> dict[str, Any]:
    """Settings that tell an Inception's features from those of other weights."""
    digest = of_file(file)
    return {
        "name": "inception",
        "features": 2048,
        "resize": "bilinear to 299x299, antialiased",
        "weights_sha256": digest,
        "official_weights": digest.startswith(INCEPTION_HASH),
    }


def _downloaded() -> Path:
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    cache = inception_cache()
    if cache is None:
        raise Unavailable(
            f"there is no place for the Inception weights {INCEPTION_FILE}: the home folder is unknown here; set "
            f"TORCH_HOME, or fetch {INCEPTION_SOURCE} and name the file with `inception_weights` FILE"
        )
    if not cache.is_file():
        cache.parent.mkdir(parents=True, exist_ok=True)
        try:
            with _patience(DOWNLOAD_TIMEOUT):
                torch.hub.download_url_to_file(URL_INCEPTION_V3, str(cache), hash_prefix=INCEPTION_HASH, progress=False)
        except (URLError, OSError, RuntimeError) as error:
            raise Unavailable(
                f"the Inception weights are not in {cache.parent} and cannot be downloaded: fetch {INCEPTION_SOURCE} "
                "elsewhere, and name the file with `inception_weights` FILE"
            ) from error
    return cache


@contextmanager
def _patience(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def of_judge(name: str, judge: TrainedClassifier, device: torch.device) -> Extractor:
    """A judge's penultimate features: comparable within a data set only, never with Inception's.

    Args:
        name: a key of ``JUDGES``.
    """
    network = judge.network.to(device)

    @torch.inference_mode()
    def features(images: Tensor) -> Tensor:
        with full_precision(device):
            return network.features(images.to(device)).cpu()

    return Extractor(features, {"name": name, **judge.settings})


def choose_extractors(
    name: str, data: JudgedData, weights: Path | None, processes: Processes, quiet: bool = True
) -> Sequence[Extractor]:
    """The extractors by name: ``classifier`` is both judges of the data, and ``auto`` every extractor that can be had.

    Judges that have to be trained are.

    Raises:
        Unavailable: none can be had; the line names the ways to one.
        UserError: the file of Inception's weights is not usable.
    """
    device = processes.device

    def of_judges() -> list[Extractor]:
        judges = judges_of(data, processes, quiet)
        return [of_judge(judge, classifier, device) for judge, classifier in judges.items()]

    def of_inception() -> list[Extractor]:
        if not _sees_colours(data):
            raise Unavailable("Inception sees grey and colour images, and these have other channels")
        return [inception(weights, device)]

    ways: dict[str, Callable[[], list[Extractor]]] = {
        "inception": of_inception,
        "classifier": of_judges,
    }
    extractors: list[Extractor] = []
    problems: list[str] = []
    for kind, make in ways.items():
        if name in (kind, "auto"):
            try:
                extractors += make()
            except Unavailable as error:
                problems.append(str(error))
    if extractors:
        return extractors
    others = {
        "inception": "`extractor` classifier takes two classifiers that were trained on such images",
        "classifier": f"Inception's weights are {INCEPTION_SOURCE}: leave `extractor` out, and name the file with "
        "`inception_weights` FILE",
    }
    ends = [*problems, *([others[name]] if name in others else []), "the metric `swd` needs no network"]
    raise Unavailable("; ".join(ends))


def _sees_colours(data: JudgedData) -> bool:
    """Whether images are grey or in colour, as far as they are at hand."""
    return data.source is None or data.source.development.image_shape[0] in (1, 3)


def settings_at_hand(name: str, data: JudgedData, weights: Path | None) -> list[dict[str, Any]]:
    """The settings of the extractors that :func:`choose_extractors` takes where nothing is downloaded or trained; none
    where it has none."""
    file, settings = weights or inception_cache(), []
    if name != "classifier" and _sees_colours(data) and file is not None and (weights is not None or file.is_file()):
        settings.append(inception_settings(file))
    if name != "inception":
        settings += [{"name": judge, **judge_settings} for judge, judge_settings in judges_at_hand(data).items()]
    return settings
