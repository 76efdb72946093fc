"""Vehicles cut out of photographs and pasted beside others; plates that leave the picture."""

import importlib
from types import ModuleType

import numpy as np
import pytest

torch = pytest.importorskip(
    "torch", reason="the training group is not installed (pip install torch)"
)


def module(name: str) -> ModuleType:
    return importlib.import_module(f"engines.training.detector_{name}")


def painted() -> np.ndarray:
    """A grey road with a red vehicle at 60..100, 40..70."""
    image = np.full((120, 200, 3), 90, np.uint8)
    image[40:70, 60:100] = (200, 30, 30)
    return image


def test_a_vehicle_is_cut_out_with_its_mirror_image_and_the_light_around_it() -> None:
    cuttings = module("cutout").cut_vehicles(painted(), [(1, 58.0, 38.0, 102.0, 72.0)], range(1, 5))
    assert [label for label, _, _ in cuttings] == [1, 1]
    one, other = (image for _, image, _ in cuttings)
    assert (one[:, ::-1] == other).all()
    assert one[one.shape[0] // 2, one.shape[1] // 2, 3] > 200, "the middle is the vehicle's"
    assert cuttings[0][2] == pytest.approx([90 / 255] * 3, abs=0.02)


@pytest.mark.parametrize(
    "boxes",
    [
        [(1, 0.0, 38.0, 102.0, 72.0)],
        [(1, 58.0, 38.0, 72.0, 50.0)],
        [(5, 58.0, 38.0, 102.0, 72.0)],
    ],
    ids=["cut by the border", "too small", "of no agreed type"],
)
def test_a_vehicle_that_is_not_seen_whole_is_not_cut_out(
    boxes: list[tuple[int, float, float, float, float]],
) -> None:
    assert module("cutout").cut_vehicles(painted(), boxes, range(1, 5)) == []


def test_of_two_vehicles_before_each_other_neither_is_cut_out() -> None:
    boxes = [(1, 58.0, 38.0, 102.0, 72.0), (2, 80.0, 40.0, 120.0, 80.0)]
    assert module("cutout").cut_vehicles(painted(), boxes, range(1, 5)) == []


def test_a_plate_that_leaves_the_picture_keeps_its_corners_and_its_box_is_what_is_seen() -> None:
    known = (torch.full((1, 1), -1), torch.zeros(1, 1, 4))
    quad = torch.tensor([[[[-30.0, 10.0], [60.0, 10.0], [60.0, 40.0], [-30.0, 40.0]]]])
    classes, boxes, corners, has = module("compose").join(
        known, quad, torch.ones(1, 1, dtype=torch.long), (640, 384)
    )
    assert classes[0, 0].item() == 0
    assert boxes[0, 0].tolist() == [0.0, 10.0, 60.0, 40.0]
    assert corners[0, 0, :2].tolist() == [-30.0, 10.0]
    assert has[0, 0].item()


def test_a_vehicle_behind_something_pasted_need_not_be_found() -> None:
    boxes = torch.tensor([[[0.0, 0.0, 40.0, 40.0], [100.0, 0.0, 140.0, 40.0]]])
    quad = torch.tensor([[[[90.0, -5.0], [150.0, -5.0], [150.0, 45.0], [90.0, 45.0]]]])
    classes = module("compose").behind((torch.tensor([[1, 1]]), boxes), quad, torch.full((1, 1), 2))
    assert classes[0, 0].item() == 1
    assert classes[0, 1].item() == module("labels").IGNORE_VEHICLE
