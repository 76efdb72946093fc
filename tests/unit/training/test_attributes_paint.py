"""Colours of vehicles: what counts as grey, and whose paint was judged."""

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

torch = pytest.importorskip(
    "torch", reason="the training group is not installed (pip install torch)"
)
pytest.importorskip("cv2", reason="OpenCV is needed to read crops")


def net() -> ModuleType:
    return importlib.import_module("engines.training.attributes_net")


def street() -> "torch.Tensor":
    """A red car in miniature on a grey road (1, 3, 20, 20)."""
    generator = torch.Generator().manual_seed(0)
    small = 0.3 + 0.3 * torch.rand(1, 1, 20, 20, generator=generator).expand(1, 3, 20, 20).clone()
    small[:, :, 6:14, 4:16] *= torch.tensor([1.4, 0.4, 0.4]).view(1, 3, 1, 1)
    return small


def test_a_picture_in_one_hue_is_grey_whatever_that_hue_is() -> None:
    colourfulness, least = net().colourfulness, net().COLOURLESS
    grey = street().mean(1, keepdim=True).expand(-1, 3, -1, -1)
    purple = grey * torch.tensor([1.0, 0.72, 0.95]).view(1, 3, 1, 1)
    assert float(colourfulness(street())) > least
    assert float(colourfulness(grey)) < least / 4
    assert float(colourfulness(purple)) < least / 4


def two_painters() -> list["torch.nn.Module"]:
    """As one training leaves them: on the same principal components."""
    torch.manual_seed(0)
    first, second = net().Painter().eval(), net().Painter().eval()
    second.basis8.load_state_dict(first.basis8.state_dict())
    second.basis16.load_state_dict(first.basis16.state_dict())
    return [first, second]


def test_painters_side_by_side_say_the_mean_of_what_each_says() -> None:
    painters = two_painters()
    generator = torch.Generator().manual_seed(1)
    p8 = torch.randn(3, 64, 20, 20, generator=generator)
    p16 = torch.randn(3, 128, 10, 10, generator=generator)
    small = torch.rand(3, 3, 20, 20, generator=generator)
    with torch.no_grad():
        each = [painter(p8, p16, small) for painter in painters]
        together = net().Painters(painters).eval()(p8, p16, small)
    assert float((each[0] - each[1]).abs().max()) > 0.01
    assert float((together - torch.stack(each).mean(0)).abs().max()) < 1e-5


def test_painters_of_two_trainings_are_not_joined() -> None:
    with pytest.raises(ValueError, match="basis8: train them in one call"):
        net().Painters([net().Painter(), net().Painter()])


def test_crops_of_one_photograph_are_held_back_together() -> None:
    paint = importlib.import_module("engines.training.attributes_paint")
    paths = [f"{k}.jpg" for k in range(40)] * 2
    folds = paint.fold_of(paths, 5)
    assert (folds[:40] == folds[40:]).all()
    assert set(folds.tolist()) == set(range(5))


def test_painters_name_no_colour_of_a_grey_crop() -> None:
    labels = importlib.import_module("engines.training.attributes_labels")
    painters = two_painters()
    with torch.no_grad():
        for painter in painters:
            painter.out[-1].bias[labels.COLOURS.index("white")] = 8.0
    model = net().Repainted(net().AttributesNet(), painters).eval()
    crop = torch.nn.functional.interpolate(street(), scale_factor=8)
    place = list(labels.HEADS).index("color")
    with torch.no_grad():
        seen = model(crop)[place].argmax(1)
        grey = model(crop.mean(1, keepdim=True).expand(-1, 3, -1, -1))[place].argmax(1)
    assert labels.COLOURS[int(seen)] == "white"
    assert labels.COLOURS[int(grey)] == "unknown"


def test_judged_paint_fills_gaps_and_changes_no_label(tmp_path: Path) -> None:
    paint = importlib.import_module("engines.training.attributes_paint")
    table = tmp_path / "judged.csv"
    table.write_text("image,number,color\na.jpg,0,red\na.jpg,1,blue\n")
    colours = np.array([paint.COLOURS.index("green"), -1, -1])
    found = paint.with_judged(colours, ["a.jpg", "a.jpg", "b.jpg"], [table])
    assert [paint.COLOURS[k] if k >= 0 else None for k in found] == ["green", "blue", None]
