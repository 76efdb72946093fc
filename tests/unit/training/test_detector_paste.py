"""How plates are turned before they are pasted."""

import importlib
from types import ModuleType
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip(
    "torch", reason="the training group is not installed (pip install torch)"
)


def module(name: str) -> ModuleType:
    return importlib.import_module(f"engines.training.detector_{name}")


def seen(*, yaw: float, pitch: float, roll: float = 0.0) -> Any:
    """Corners of one plate from far away."""
    turns = {"yaw": yaw, "pitch": pitch, "roll": roll, "aspect": 0.22, "distance": 1e4}
    return module("paste").projected(**{k: torch.tensor([v]) for k, v in turns.items()})[0]


def angles(quad: Any) -> tuple[Any, Any]:
    """Slant of the top edge and lean of the left side, in degrees."""
    top, side = quad[..., 1, :] - quad[..., 0, :], quad[..., 3, :] - quad[..., 0, :]
    slant = torch.rad2deg(torch.atan2(top[..., 1], top[..., 0]))
    return slant, torch.rad2deg(torch.atan2(side[..., 0], side[..., 1]))


def test_a_plate_seen_from_above_and_the_side_slants_between_upright_sides() -> None:
    slant, lean = angles(seen(yaw=0.9, pitch=0.5))
    assert lean.item() == pytest.approx(0.0, abs=0.01)
    assert slant.item() < -25, "its far end, to the right, is higher in the picture"


def test_neither_a_side_view_nor_a_look_down_alone_slants_a_plate() -> None:
    for quad in (seen(yaw=0.9, pitch=0.0), seen(yaw=0.0, pitch=0.5)):
        slant, lean = angles(quad)
        assert (abs(slant.item()), abs(lean.item())) == pytest.approx((0.0, 0.0), abs=0.01)


def test_slanting_plates_between_upright_sides_are_common() -> None:
    dice = module("photo").Dice(torch.Generator().manual_seed(1), np.random.default_rng(1))
    many = torch.ones(4000)
    quads = module("paste").tilted(
        dice, centre=torch.zeros(4000, 2), width=many * 80, aspect=many * 0.22, roll=many * 0
    )
    slant, lean = angles(quads)
    upright = (lean.abs() < 6) & (slant.abs() > 12)
    assert 0.08 < upright.float().mean().item() < 0.3
    sheared = ((slant + lean).abs() > 20).float().mean().item()
    assert sheared > 0.05
    wide = quads[..., 0].amax(1) - quads[..., 0].amin(1)
    assert wide.median().item() == pytest.approx(80, rel=0.1)


def test_a_pasted_picture_lands_on_its_corners() -> None:
    bank, sampler = module("bank"), module("sampler")
    flat = np.zeros((20, 60, 4), np.uint8)
    flat[..., :] = (255, 0, 0, 255)
    words, sizes = bank.mip_words(flat)
    starts = np.cumsum([0] + [w * h for w, h in sizes[:-1]])
    table = [torch.tensor([[size[i] for size in sizes]]) for i in (0, 1)]
    one = bank.Bank(
        torch.from_numpy(words.view(np.int32)), torch.tensor(starts)[None], *table, {},
        np.array(["plate"]), np.array([""]),
    )  # fmt: skip
    canvas = torch.zeros(1, 64, 96, 3)
    quad = torch.tensor([[[20.0, 10.0], [80.0, 30.0], [80.0, 50.0], [20.0, 30.0]]])
    item = {
        "image": torch.zeros(2, dtype=torch.long), "picture": torch.zeros(2, dtype=torch.long),
        "quad": torch.cat([quad, quad + 5]), "gain": torch.ones(2, 3), "lift": torch.zeros(2, 3),
        "ramp": torch.zeros(2, 2), "shadow": torch.zeros(2, 3), "blur": torch.zeros(2),
        "frame": torch.zeros(2, 4),
    }  # fmt: skip
    sampler.paste(canvas, one, item, torch.tensor([True, False]))
    red = canvas[0, ..., 0] > 0.5
    for x, y in ((22, 13), (50, 30), (78, 47)):
        assert red[y, x]
    for x, y in ((22, 34), (78, 25), (84, 50), (16, 20)):
        assert not red[y, x], "outside the plate, and the second one is not wanted"
    assert red.sum().item() == pytest.approx(60 * 20, rel=0.06)
