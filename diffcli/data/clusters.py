"""Labels found in the images themselves: k-means clusters, for data sets without classes."""

from __future__ import annotations

import torch
from torch import Tensor

from diffcli.data.pixels import to_model
from diffcli.data.sources import ImageSet
from diffcli.utils.errors import UserError

COMPONENTS = 50
"""Principal components that k-means works in: the rest is detail, which a cluster does not share."""
AT_A_TIME = 4096


def check_clusters(count: int, images: int) -> None:
    """Checks that a number of images can be in ``count`` clusters.

    Raises:
        UserError: there are fewer.
    """
    if count > images:
        raise UserError(f"labels.clusters must be at most the number of training images, {images:,}, got {count:,}")


def cluster_centres(images: Tensor, count: int) -> Tensor:
    """The centres of ``count`` k-means clusters of uint8 images (N, C, H, W): float32 (count, C * H * W), pixels in
    [-0.5, 0.5].

    A model that is told clusters has less to decide by itself than one that is told nothing (Bao et al. 2022, "Why are
    conditional generative models better than unconditional ones?"; Hu et al. 2023, "Self-guided diffusion models").
    """
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.decomposition import PCA

    flat = to_model(images.cpu()).flatten(1).numpy()
    pca = PCA(min(COMPONENTS, *flat.shape), random_state=0).fit(flat)
    means = MiniBatchKMeans(count, batch_size=AT_A_TIME, n_init=3, random_state=0).fit(pca.transform(flat))
    # The distance to a centre in pixels is that in the components and one to their plane, which is the same for all.
    return torch.from_numpy(pca.inverse_transform(means.cluster_centers_)).float()


def nearest_centres(images: Tensor, centres: Tensor) -> Tensor:
    """The number of the centre, of (K, C * H * W), that is nearest to each uint8 image (N, C, H, W): int64 (N,)."""
    batches = images.cpu().split(AT_A_TIME)
    return torch.cat([torch.cdist(to_model(batch).flatten(1), centres).argmin(dim=1) for batch in batches])


def label_by_cluster(images: ImageSet, centres: Tensor) -> ImageSet:
    """The images with their clusters for labels."""
    return ImageSet(images.images, nearest_centres(images.images, centres))
