"""The reader must stay small enough for the smallest device it is meant for."""

import importlib
from types import ModuleType

import pytest

torch = pytest.importorskip(
    "torch", reason="the training group is not installed (pip install torch)"
)


def reader_net() -> ModuleType:
    return importlib.import_module("engines.training.reader_net")


def test_the_reader_stays_within_its_parameters_and_operations() -> None:
    module = reader_net()
    net = module.ReaderNet(regions=120)
    assert module.count_parameters(net) <= 2_000_000
    assert 2 * module.count_macs(net) <= 0.4e9


def test_the_reader_gives_slots_a_region_a_quality_and_corners_for_any_batch_size() -> None:
    module = reader_net()
    net = module.ReaderNet(regions=7).eval()
    with torch.no_grad():
        for count in (1, 3):
            chars, region, quality, corners = net(torch.rand(count, 3, 64, 160))
            assert tuple(chars.shape) == (count, 12, 37)
            assert tuple(region.shape) == (count, 7)
            assert tuple(quality.shape) == (count, 1)
            assert tuple(corners.shape) == (count, 8)


def test_the_quality_head_cannot_change_what_is_read() -> None:
    module = reader_net()
    net = module.ReaderNet(regions=7)
    quality = net(torch.rand(4, 3, 64, 160))[2]
    quality.sum().backward()
    touched = {name.split(".")[0] for name, p in net.named_parameters() if p.grad is not None}
    assert touched == {"quality"}
