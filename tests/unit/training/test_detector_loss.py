"""What the detector's loss punishes, and what it leaves alone."""

import importlib
from types import ModuleType
from typing import Any

import pytest

torch = pytest.importorskip(
    "torch", reason="the training group is not installed (pip install torch)"
)
WIDTH, HEIGHT = 160, 96
BOX = (40.0, 24.0, 120.0, 72.0)
CAR, BUS = 1, 3


def module(name: str) -> ModuleType:
    return importlib.import_module(f"engines.training.detector_{name}")


def told(label: int, *, silence: float) -> Any:
    """One picture with one box of a class, in a set whose silence about vehicles has a weight."""
    classes = torch.full((1, 4), -1)
    classes[0, 0] = label
    boxes = torch.zeros(1, 4, 4)
    boxes[0, 0] = torch.tensor(BOX)
    return module("compose").Batch(
        images=torch.zeros(1, 3, HEIGHT, WIDTH),
        classes=classes,
        boxes=boxes,
        corners=torch.zeros(1, 4, 8),
        has_corners=torch.zeros(1, 4, dtype=torch.bool),
        split=torch.tensor([[float(WIDTH), float(HEIGHT)]]),
        weights=torch.tensor([1.0, silence]).expand(1, 4, 2),
    )


def score_gradient(batch: Any, believed: int) -> Any:
    """Gradient of the loss by the logits where every cell lays the very box and believes a type."""
    loss = module("loss").DetectorLoss(WIDTH, HEIGHT, torch.device("cpu"))
    centres, strides = loss.centres, loss.strides
    low, high = torch.tensor(BOX[:2]), torch.tensor(BOX[2:])
    reach = torch.cat([centres - low, high - centres], 1).clamp(min=1.0)
    offsets = torch.log(reach / strides)[None]
    logits = torch.full((1, len(centres), 5), -4.0)
    logits[..., believed] = 1.0
    logits.requires_grad_()
    loss(batch, logits, offsets, torch.zeros(1, len(centres), 8)).total.backward()
    return logits.grad[0]


def middle() -> Any:
    """Cells well inside the box, of the levels that know vehicles."""
    loss = module("loss").DetectorLoss(WIDTH, HEIGHT, torch.device("cpu"))
    x, y = loss.centres.unbind(1)
    inside = (x > BOX[0] + 8) & (x < BOX[2] - 8) & (y > BOX[1] + 8) & (y < BOX[3] - 8)
    return inside & (loss.strides[:, 0] > 4)


@pytest.mark.parametrize("silence", [0.0, 0.6, 1.0])
def test_a_wrong_type_is_punished_on_a_known_vehicle_whatever_the_sets_silence(
    silence: float,
) -> None:
    gradient = score_gradient(told(CAR, silence=silence), BUS)
    assert (gradient[middle(), BUS] > 0).all()
    assert gradient[middle(), CAR].min() < 0


def test_a_vehicle_of_unknown_type_never_loses_a_belief_nor_gains_certainty() -> None:
    loss = module("loss")
    gradient = score_gradient(told(loss.ANY_VEHICLE, silence=0.0), BUS)
    assert (gradient[:, CAR] == 0).all()
    assert (gradient[:, BUS] <= 0).all(), "nobody knows that it is no bus"


def test_a_place_that_somebody_refused_is_punished_more_than_silence() -> None:
    loss = module("loss")
    refused = score_gradient(told(loss.NOT_PLATE, silence=0.0), 0)
    plain = score_gradient(told(-1, silence=0.0), 0)
    unsure = score_gradient(told(loss.IGNORE_PLATE, silence=0.0), 0)
    inside = middle()
    ratio = refused[inside, 0] / plain[inside, 0]
    torch.testing.assert_close(ratio, torch.full_like(ratio, loss.REFUSED_WEIGHT))
    assert (unsure[inside, 0] == 0).all()


def test_exact_corners_pull_harder_than_a_span() -> None:
    loss = module("loss")
    batch = told(0, silence=0.0)
    skewed = torch.tensor([40.0, 24.0, 120.0, 44.0, 120.0, 72.0, 40.0, 52.0])
    upright = torch.tensor([40.0, 24.0, 120.0, 24.0, 120.0, 72.0, 40.0, 72.0])
    batch.corners[0, 0] = skewed
    target = torch.tensor([0])
    wanted = batch.boxes[:, target]
    spanned = loss.corner_errors(upright[None, None], batch, target, wanted)
    batch.has_corners[0, 0] = True
    exact = loss.corner_errors(upright[None, None], batch, target, wanted)
    right = loss.corner_errors(skewed[None, None], batch, target, wanted)
    assert spanned.item() == pytest.approx(0.0)
    assert right.item() == pytest.approx(0.0)
    assert exact.item() > 0.3


@pytest.mark.parametrize(("side", "finest"), [(10.0, True), (30.0, False)])
def test_the_finest_level_alone_answers_for_specks_of_vehicles(side: float, finest: bool) -> None:
    loss = module("loss").DetectorLoss(WIDTH, HEIGHT, torch.device("cpu"))
    batch = told(CAR, silence=1.0)
    batch.boxes[0, 0] = torch.tensor(
        [80.0 - side / 2, 48.0 - side / 2, 80 + side / 2, 48 + side / 2]
    )
    cells = len(loss.centres)
    answers = loss.assign(
        batch, torch.full((1, cells, 5), 0.1), batch.boxes[:, :1].expand(1, cells, 4)
    )
    strides = loss.strides[answers.cell[answers.wins], 0]
    assert len(strides) > 0
    assert ((strides == 4).all() if finest else (strides > 4).all()).item()
