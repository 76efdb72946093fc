"""The detector's size, and what its outputs mean."""

import importlib
import math
from types import ModuleType

import pytest

torch = pytest.importorskip(
    "torch", reason="the training group is not installed (pip install torch)"
)


def net() -> ModuleType:
    return importlib.import_module("engines.training.detector_net")


@pytest.mark.parametrize(("name", "giga"), [("plate-detector", 3.5), ("plate-detector-small", 1.2)])
def test_each_size_keeps_its_budget(name: str, giga: float) -> None:
    detector = net().PlateDetector(net().SIZES[name])
    assert net().parameter_count(detector) <= 3_000_000
    assert net().giga_flops(detector) <= giga


def test_offsets_reach_from_the_cells_centre_to_the_four_sides() -> None:
    centres, strides = net().cell_centres(64, 32)
    offsets = torch.full((1, len(centres), 4), math.log(2.0))
    boxes = net().decode_boxes(offsets, centres, strides)
    assert boxes[0, 0].tolist() == pytest.approx([2 - 8, 2 - 8, 2 + 8, 2 + 8])
    assert centres[-1].tolist() == [48.0, 16.0]
    assert strides[-1].item() == 32


def test_corners_are_fractions_of_their_own_box() -> None:
    box = torch.tensor([[10.0, 20.0, 30.0, 30.0]])
    corners = torch.tensor([[0.0, 0.0, 1.0, 0.5, 1.0, 1.0, 0.0, 0.5]])
    found = net().decode_corners(box, corners)[0].tolist()
    assert found == pytest.approx([10, 20, 30, 25, 30, 30, 10, 25])


def test_weights_of_a_finest_level_that_knew_only_plates_keep_their_plates() -> None:
    old = net().PlateDetector(net().SIZES["plate-detector-small"]).eval()
    weights = {key: value.half() for key, value in old.state_dict().items()}
    for part in ("weight", "bias"):
        weights[f"head4.score.{part}"] = weights[f"head4.score.{part}"][:1]
    new = net().PlateDetector(net().SIZES["plate-detector-small"]).eval()
    net().load_weights(new, weights)
    picture = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        before, after = old(picture)[0], new(picture)[0]
    finest = (64 // 4) * (96 // 4)
    torch.testing.assert_close(after[..., 0], before[..., 0], atol=0.02, rtol=0.01)
    assert (after[0, :finest, 1:] < -4).all(), "nothing is believed before it is learnt"
