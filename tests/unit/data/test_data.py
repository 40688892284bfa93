"""Data sets, splits, batches and pixel ranges, on real digits and made-up folders."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from diffcli.data.datamodule import Batches, Epoch, batch_sizes, epoch_mirrored, epoch_order
from diffcli.data.datasets import ImageSet, digits, folder, split
from diffcli.data.pixels import to_model, to_uint8, to_unit
from diffcli.utils.errors import UserError


def test_digits_are_embedded_and_whole() -> None:
    source = digits()
    assert len(source.development) + len(source.test) == 1797
    assert source.test.image_shape == (1, 8, 8)
    assert source.development.images.dtype == torch.uint8
    assert int(source.development.images.max()) == 255
    assert set(source.test.labels.tolist()) == set(range(10))


def test_digits_test_split_is_fixed_and_disjoint() -> None:
    first, again = digits(), digits()
    assert torch.equal(first.test.images, again.test.images)
    held_out = {image.numpy().tobytes() for image in first.test.images}
    both = held_out & {image.numpy().tobytes() for image in first.development.images}
    assert not both


def test_split_is_80_20_random_and_a_function_of_the_seed() -> None:
    images = digits().development
    train, val = split(images, 0.2, seed=1)
    assert (len(train), len(val)) == (1150, 288)
    assert torch.equal(split(images, 0.2, seed=1)[1].images, val.images)
    assert not torch.equal(split(images, 0.2, seed=2)[1].images, val.images)
    assert len(set(val.labels.tolist())) == 10


def make_folder(root: Path, count: int = 12, mode: str = "RGB") -> Path:
    (root / "below").mkdir(parents=True)
    for i in range(count):
        size = (20 + i, 16) if i % 2 else (16, 20)
        Image.new(mode, size, color=i * 20 if mode == "L" else (i * 20, 0, 255)).save(root / "below" / f"{i}.png")
    (root / "notes.txt").write_text("not an image")
    return root


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (3, "L"), (1, "RGB")])
def test_folder_reads_any_images_as_asked(tmp_path: Path, channels: int, mode: str) -> None:
    source = folder(str(make_folder(tmp_path / "images", mode=mode)), size=8, channels=channels)  # type: ignore[arg-type]
    assert source.development.image_shape == (channels, 8, 8)
    assert len(source.development) + len(source.test) == 12
    assert (source.classes, set(source.test.labels.tolist())) == (("below",), {0})


def test_folder_keeps_colours_in_their_channels(tmp_path: Path) -> None:
    pixels = folder(str(make_folder(tmp_path / "images")), size=8).development.images
    assert bool((pixels[:, 2] == 255).all())
    assert bool((pixels[:, 1] == 0).all())


def test_folder_errors_name_the_culprit(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a folder"):
        folder(str(tmp_path / "nowhere"), size=8)
    root = make_folder(tmp_path / "few", count=3)
    with pytest.raises(UserError, match="holds 3 images; at least 10"):
        folder(str(root), size=8)
    root = make_folder(tmp_path / "bad")
    (root / "broken.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(UserError, match=r"broken\.png is not a readable image"):
        folder(str(root), size=8)


def test_batches_gather_by_index_and_cover_the_epoch_once() -> None:
    images = digits().test
    batches = Batches(images, 100, lambda: Epoch(epoch_order(len(images), seed=0, epoch=0)))
    epoch = list(batches)
    assert [batch.size for batch in epoch] == [100, 100, 100, 59]
    assert len(batches) == 4
    index = torch.cat([batch.indices for batch in epoch])
    assert sorted(index.tolist()) == list(range(len(images)))
    assert torch.equal(torch.cat([batch.images for batch in epoch]), images.images[index])
    assert torch.equal(torch.cat([batch.labels for batch in epoch]), images.labels[index])


def test_processes_share_every_batch() -> None:
    images = ImageSet(torch.arange(17, dtype=torch.uint8).view(17, 1, 1, 1), torch.arange(17) % 3)
    shares = [list(Batches(images, 4, lambda: Epoch(torch.arange(17), 1), rank, 3)) for rank in range(3)]
    # The lone last image of four batches of four would leave two processes without one.
    assert [batch.size for batch in shares[0]] == [4, 4, 5]
    for parts in zip(*shares, strict=True):
        assert len({part.size for part in parts}) == 1
        assert sum(len(part.indices) for part in parts) == parts[0].size
    whole = sorted(int(index) for share in shares for batch in share for index in batch.indices)
    assert whole == list(range(4, 17))


@given(count=st.integers(1, 500), size=st.integers(1, 100), world=st.integers(1, 8))
def test_batches_cover_the_images_with_one_for_each_process(count: int, size: int, world: int) -> None:
    if min(count, size) < world:
        with pytest.raises(UserError, match="processes cannot share"):
            batch_sizes(count, size, world)
        return
    sizes = batch_sizes(count, size, world)
    assert sum(sizes) == count
    assert min(sizes) >= world
    assert max(sizes) < size + world


def test_epochs_have_their_own_order() -> None:
    orders = [epoch_order(100, seed, epoch).tolist() for seed, epoch in ((0, 0), (0, 1), (1, 0), (0, 0))]
    assert orders[0] == orders[3]
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_pixels_survive_the_round_trip() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    values = to_model(pixels)
    assert (float(values.min()), float(values.max())) == (-0.5, 0.5)
    assert torch.equal(to_uint8(values), pixels)
    assert (float(to_unit(values * 3).min()), float(to_unit(values * 3).max())) == (0.0, 1.0)


def test_mirrored_images_are_a_function_of_seed_and_epoch() -> None:
    images = ImageSet(torch.arange(17 * 4, dtype=torch.uint8).view(17, 1, 2, 2), torch.zeros(17, dtype=torch.int64))
    mirrored = epoch_mirrored(17, seed=0, epoch=3)
    assert torch.equal(mirrored, epoch_mirrored(17, seed=0, epoch=3))
    assert not torch.equal(mirrored, epoch_mirrored(17, seed=0, epoch=4))
    assert 300 < int(epoch_mirrored(1000, seed=0, epoch=0).sum()) < 700
    order = epoch_order(17, seed=0, epoch=3)
    expected = torch.where(mirrored.view(-1, 1, 1, 1), images.images[order].flip(-1), images.images[order])

    def images_of(rank: int, processes: int, first: int = 0) -> Tensor:
        batches = Batches(images, 4, lambda: Epoch(order, first, mirrored), rank, processes)
        return torch.cat([batch.images for batch in batches])

    assert torch.equal(images_of(0, 1), expected)
    assert torch.equal(images_of(0, 1, first=2), expected[8:])
    assert sorted(torch.cat([images_of(0, 2), images_of(1, 2)]).flatten(1).tolist()) == sorted(
        expected.flatten(1).tolist()
    )
