"""Priors: where unconditional sampling starts.

Gaussian noise ends in a known distribution of x_T. A blur does not: what is left of an image after T blurs has to be
described. A fitted prior is that description of the signal A_T x_0, learnt from the degraded images of the training
split; where the degradation draws noise, sigma_T eps is added to what the prior draws.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from diffcli.diffusion.gaussians import mixture_log_density
from diffcli.diffusion.labels import NO_LABEL
from diffcli.diffusion.randomness import Source, draw_index, normals, randn_images

MAX_MODES = 64
FIT_IMAGES = 50_000
"""A fit sees at most this many images: all of MNIST's training split."""
FIT_VALUES = FIT_IMAGES * 3 * 32 * 32
"""And so many values of pixels in all, which bound its memory: 12,500 images of 64x64 in colour."""
FIT_ITERATIONS = 25
"""Steps of expectation maximisation at most; they bound the time of a fit."""
FIT_ROUNDS = 5
"""The number of times that a fit says how far it is."""
VISIBLE = 0.01
"""A mode with less than this share of the noise's variance is lost in it: leaving it out moves x_T by 2.5e-5 nats."""
IMAGES_A_GAUSSIAN = 20

Array = np.ndarray[Any, Any]
Generators = Sequence[Source]
Shape = tuple[int, int, int]
Device = torch.device | str
Advance = Callable[[int], None]
Residual = Annotated[float, Field(gt=0, lt=1)]


class Prior(nn.Module):
    """Draws the signal A_T x_0, or x_T itself, float32 (B, *shape), image i from ``generators[i]``, on ``device``.

    Where ``labels``, int64 (B,), are given, a prior that was fitted with labels draws image i among those of its label,
    and among all where that is -1 or none was seen; others ignore them. What a fit learns is kept in buffers, so that
    it travels in a checkpoint as a state dict.
    """

    needs_fit: bool = True
    """Whether it must see the signal A_T x_0 of the training images before it can be drawn from."""
    of_signal: bool = True
    """Whether it draws A_T x_0, to which sigma_T eps is added; else x_T itself."""
    restores: bool = False
    """Whether it draws copies of training images: those are never stored, and what comes of them is restoration."""

    def fit(
        self, signal: Tensor, labels: Tensor | None = None, sigma: float = 0.0, advance: Advance | None = None
    ) -> None:
        """Learns from A_T x_0 of training images, float (N, C, H, W), and their labels, int64 (N,).

        A fit of your own may leave out what follows.

        Args:
            sigma: of the noise that is added to what the prior draws; 0 for none.
            advance: called with the number of images that are done, for a bar.
        """

    def forward(
        self, generators: Generators, shape: Shape, device: Device = "cpu", labels: Tensor | None = None
    ) -> Tensor:
        raise NotImplementedError

    def gap(self, labels: Tensor | None = None) -> str | None:
        """The reason why nothing lies between two draws of these labels, int64 (B,); None where something does.

        Draws can be interpolated where they are made of normal numbers alone, which a prior takes from
        :func:`~diffcli.diffusion.randomness.normals`: what lies between two of them is as likely as they are.
        """
        return "it does not say how its draws are interpolated"

    def log_density(self, xT: Tensor, sigma: float, labels: Tensor | None = None) -> Tensor:
        """log p(x_T) in nats, float64 (B,), of x_T (B, C, H, W) on the CPU, by its labels as :meth:`forward` takes
        them.

        x_T is what the prior draws, with ``sigma`` eps added where it draws A_T x_0. A prior that has none leaves this
        out.
        """
        raise NotImplementedError

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *rest: object) -> None:
        # A fit decides the sizes of the buffers, so they are taken as they come.
        for name, _ in list(self.named_buffers(recurse=False)):
            setattr(self, name, state[prefix + name])


class StandardNormal(Prior):
    """N(0, I): the limit of Gaussian noise as alpha_T goes to 0 (report Algorithm 2, line 3)."""

    needs_fit = False
    of_signal = False

    def forward(
        self, generators: Generators, shape: Shape, device: Device = "cpu", labels: Tensor | None = None
    ) -> Tensor:
        return randn_images(generators, shape, device)

    def gap(self, labels: Tensor | None = None) -> str | None:
        return None

    def log_density(self, xT: Tensor, sigma: float, labels: Tensor | None = None) -> Tensor:
        flat = xT.flatten(1).double()
        return -0.5 * (flat.square() + math.log(2 * math.pi)).sum(dim=1)


class Uniform(Prior):
    """A constant image whose intensity is normal, plus a little noise (report 3.4).

    The normal is fitted to the mean intensities of the degraded training images; colours vary together.

    Args:
        noise: standard deviation of the noise added to each pixel, for images in [-0.5, 0.5].
    """

    mean: Tensor
    factor: Tensor

    def __init__(self, noise: Annotated[float, Field(ge=0, le=1)] = 0.002) -> None:
        super().__init__()
        self.noise = noise
        self.register_buffer("mean", torch.empty(0))
        self.register_buffer("factor", torch.empty(0))

    def fit(
        self, signal: Tensor, labels: Tensor | None = None, sigma: float = 0.0, advance: Advance | None = None
    ) -> None:
        levels = signal.cpu().double().mean(dim=(2, 3))
        self.mean = levels.mean(dim=0).float()
        covariance = levels.T.cov(correction=min(1, len(levels) - 1)).reshape(levels.shape[1], -1)
        self.factor = torch.linalg.cholesky(covariance + 1e-12 * torch.eye(len(covariance))).float()

    def forward(
        self, generators: Generators, shape: Shape, device: Device = "cpu", labels: Tensor | None = None
    ) -> Tensor:
        levels = self.mean + torch.cat([normals(g, 1, shape[:1]) for g in generators]) @ self.factor.T
        return levels[:, :, None, None].to(device) + self.noise * randn_images(generators, shape, device)

    def gap(self, labels: Tensor | None = None) -> str | None:
        return None

    def log_density(self, xT: Tensor, sigma: float, labels: Tensor | None = None) -> Tensor:
        channels, pixels = xT.shape[1], xT[0, 0].numel()
        channel_basis = torch.eye(channels).repeat_interleave(pixels, dim=1)
        noise = math.hypot(sigma, self.noise)
        only = torch.zeros(1)
        return mixture_log_density(
            xT.flatten(1), channel_basis, self.mean[None].cpu(), self.factor[None].cpu(), only, noise
        )


class Mixture(Prior):
    """Gaussians in the leading principal modes of A_T x_0; the other modes keep their mean.

    A blur leaves few modes alive, but a network that undoes it reads the faintest of them. Kept are the fewest
    principal components whose rest is below ``residual``, at most 64, and where noise is added only those that it
    leaves visible; scikit-learn fits a mixture of full Gaussians to them. Where all images are equal none is kept:
    their mean is what is drawn.

    With labels there is one mixture for each, in the same modes, and each weighs as much as its label has images.

    Args:
        components: Gaussians in all, shared by the labels as the images are; fewer where there are less than 20 images
            for each.
        residual: root mean square, per pixel, of what the dropped modes may hold, for images in [-0.5, 0.5].
    """

    mean: Tensor
    modes: Tensor
    weights: Tensor
    means: Tensor
    factors: Tensor
    labels: Tensor
    """The label of each Gaussian, -1 where the images had none."""

    def __init__(self, components: Annotated[int, Field(ge=1, le=1000)] = 250, residual: Residual = 2e-6) -> None:
        super().__init__()
        self.components = components
        self.residual = residual
        for name in ("mean", "modes", "weights", "means", "factors", "labels"):
            self.register_buffer(name, torch.empty(0))

    def fit(
        self, signal: Tensor, labels: Tensor | None = None, sigma: float = 0.0, advance: Advance | None = None
    ) -> None:
        from sklearn.decomposition import PCA

        flat = signal.flatten(1).cpu().numpy()
        mean = flat.mean(axis=0, dtype=np.float64)
        # A network that undoes a blur without noise reads modes that float32 would round away; noise drowns them, and
        # half the memory will do.
        centred = flat - (mean.astype(flat.dtype) if sigma else mean)
        square = float(np.linalg.norm(centred)) ** 2
        modes = np.empty((0, len(mean)))
        if square > self.residual**2 * flat.size:
            # In place: PCA subtracts the mean once more, which is none by now, and may leave ``centred`` as anything.
            pca = PCA(n_components=min(MAX_MODES, *flat.shape), copy=False, random_state=0)
            coordinates = pca.fit_transform(centred)
            dropped = square / (len(flat) - 1) - pca.explained_variance_.cumsum()
            count = min(1 + int((dropped > self.residual**2 * flat.shape[1]).sum()), len(dropped))
            if sigma:
                count = min(count, int((pca.explained_variance_ > VISIBLE * sigma**2).sum()))
            # Each mode in units of what matters: of the noise where there is some, else of its own spread.
            scale = np.full(count, sigma) if sigma else pca.explained_variance_[:count] ** 0.5
            modes = pca.components_[:count] * scale[:, None]
        if not len(modes):
            self._learn(mean, modes, [(NO_LABEL, np.ones(1), np.empty((1, 0)), np.empty((1, 0, 0)))])
            return
        coordinates = coordinates[:, :count].astype(np.float64) / scale
        of_image = np.full(len(flat), NO_LABEL) if labels is None else labels.cpu().numpy()
        self._learn(
            mean,
            modes,
            [
                (int(label), *self._mixture(coordinates, of_image == label, bool(sigma), advance))
                for label in np.unique(of_image)
            ],
        )

    def _mixture(
        self, coordinates: Array, rows: Array, noisy: bool, advance: Advance | None
    ) -> tuple[Array, Array, Array]:
        """(weights, which add up to the share of what is chosen; means; Cholesky factors) of the chosen rows'
        mixture.

        Where there is noise, of unit variance in these coordinates, the images are fitted as they will be drawn: by
        Gaussians that are at least as wide as the noise. The covariance of each counts as its images do, and the
        average of all as so many more as there are modes: the mean of an inverse Wishart posterior, without which
        Gaussians of twenty images each in sixty modes are too narrow.
        """
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture

        points, share = coordinates[rows], rows.mean()
        # One image has no covariance: it stands for itself.
        images = points if len(points) > 1 else np.repeat(points, 2, axis=0)
        components = max(1, min(round(self.components * share), len(points) // IMAGES_A_GAUSSIAN))
        noise = 1.0 if noisy else 1e-6
        mixture = GaussianMixture(
            components,
            init_params="k-means++",
            max_iter=FIT_ITERATIONS // FIT_ROUNDS,
            random_state=0,
            reg_covar=noise,
            warm_start=True,
        )
        total = 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            for turn in range(1, FIT_ROUNDS + 1):
                mixture.fit(images)
                part = (len(points) if mixture.converged_ else len(points) * turn // FIT_ROUNDS) - total
                total += part
                if advance is not None:
                    advance(part)
                if mixture.converged_:
                    break
        covariances = mixture.covariances_
        if noisy:
            count, modes = mixture.weights_[:, None, None] * len(images), coordinates.shape[1]
            signal = covariances - noise * np.eye(modes)
            average = (mixture.weights_[:, None, None] * signal).sum(axis=0)
            covariances = (count * signal + modes * average) / (count + modes) + 1e-6 * np.eye(modes)
        return share * mixture.weights_, mixture.means_, np.linalg.cholesky(covariances)

    def _learn(self, mean: Array, modes: Array, mixtures: list[tuple[int, Array, Array, Array]]) -> None:
        of_label, *tables = zip(*mixtures, strict=True)
        self.labels = torch.tensor(of_label).repeat_interleave(torch.tensor([len(weights) for weights in tables[0]]))
        self.mean, self.modes, self.weights, self.means, self.factors = (
            torch.from_numpy(table).float() for table in (mean, modes, *map(np.concatenate, tables))
        )

    def forward(
        self, generators: Generators, shape: Shape, device: Device = "cpu", labels: Tensor | None = None
    ) -> Tensor:
        coordinates = []
        for generator, label in zip(generators, _label_list(labels, len(generators)), strict=True):
            matches = _of_label(self.labels, label)
            component = draw_index(generator, self.weights * matches)
            (noise,) = normals(generator, 1, self.modes.shape[:1])
            coordinates.append(self.means[component] + self.factors[component] @ noise)
        # One product for each image, so that an image does not depend on how many are drawn beside it.
        flat = (torch.stack(coordinates)[:, :, None] * self.modes).sum(dim=1) + self.mean
        return flat.view(-1, *shape).to(device)

    def gap(self, labels: Tensor | None = None) -> str | None:
        count = max(int(_of_label(self.labels, label).sum()) for label in _label_list(labels, 1))
        return None if count < 2 else f"it draws from {count} Gaussians, and from nothing between them"

    def log_density(self, xT: Tensor, sigma: float, labels: Tensor | None = None) -> Tensor:
        matches = torch.stack([_of_label(self.labels, label) for label in _label_list(labels, len(xT))])
        weights = self.weights.double() * matches
        log_weights = (weights / weights.sum(dim=1, keepdim=True)).log()
        offset = xT.flatten(1).double() - self.mean.double()
        return mixture_log_density(offset, self.modes, self.means, self.factors, log_weights, sigma)


class Gaussian(Mixture):
    """One Gaussian in the leading principal modes of A_T x_0.

    Args:
        residual: root mean square, per pixel, of what the dropped modes may hold, for images in [-0.5, 0.5].
    """

    def __init__(self, residual: Residual = 2e-6) -> None:
        super().__init__(components=1, residual=residual)


class BlurredData(Prior):
    """A_T x_0 of training images, drawn at random: what networks learn from, for study.

    What comes out restores training images; it is not generation.
    """

    restores = True

    def fit(
        self, signal: Tensor, labels: Tensor | None = None, sigma: float = 0.0, advance: Advance | None = None
    ) -> None:
        self.images = signal
        self.labels = torch.full((len(signal),), NO_LABEL) if labels is None else labels.cpu()

    def forward(
        self, generators: Generators, shape: Shape, device: Device = "cpu", labels: Tensor | None = None
    ) -> Tensor:
        indices = []
        for generator, label in zip(generators, _label_list(labels, len(generators)), strict=True):
            matches = _of_label(self.labels, label).nonzero().flatten()
            assert isinstance(generator, torch.Generator)  # see gap
            indices.append(int(matches[torch.randint(len(matches), (1,), generator=generator)]))
        return self.images[indices].to(device)

    def gap(self, labels: Tensor | None = None) -> str | None:
        return "it draws copies of training images, and nothing between them"


def _label_list(labels: Tensor | None, count: int) -> list[int]:
    return [NO_LABEL] * count if labels is None else labels.tolist()


def _of_label(labels: Tensor, label: int) -> Tensor:
    """A mask of the ``labels`` that are ``label``, bool; all where that is none, or not among them."""
    matches = labels == label
    return matches if label != NO_LABEL and bool(matches.any()) else torch.ones_like(matches)


PRIORS: dict[str, type[Prior]] = {
    "standard-normal": StandardNormal,
    "uniform": Uniform,
    "gaussian": Gaussian,
    "mixture": Mixture,
    "blurred-data": BlurredData,
}
