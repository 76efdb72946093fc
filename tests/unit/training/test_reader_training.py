"""The reader's training: shapes of crops, what is packed, and by what weights are kept."""

import csv
import importlib
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip(
    "torch", reason="the training group is not installed (pip install torch)"
)
cv2 = pytest.importorskip("cv2", reason="OpenCV is needed to cut crops")
pytest.importorskip("PIL", reason="the training group is not installed (pip install pillow)")

CPU = torch.device("cpu")


def module(name: str) -> ModuleType:
    return importlib.import_module(f"engines.training.{name}")


def rises(corners: "torch.Tensor") -> "torch.Tensor":
    """How far the upper edge climbs from left to right, in parts of the left edge's height."""
    height = (corners[:, 3, 1] - corners[:, 0, 1]).abs()
    return (corners[:, 1, 1] - corners[:, 0, 1]) / height


def test_a_slanted_plate_keeps_its_upright_edges_and_climbs_by_its_rise() -> None:
    geometry = module("reader_geometry")
    square = geometry.unit_corners(2, CPU) - 0.5
    slanted = geometry.slanted(square, torch.tensor([0.4, -0.2]))
    assert torch.equal(slanted[..., 0], square[..., 0])
    assert rises(slanted).tolist() == pytest.approx([0.4, -0.2])


def test_a_good_share_of_boxed_plates_climbs_steeply_both_ways() -> None:
    torch.manual_seed(1)
    corners = module("reader_geometry").boxed_corners(torch.full((2000,), 4.0))
    climb = rises(corners)
    assert 0.15 < (climb > 0.3).float().mean() < 0.4
    assert 0.15 < (climb < -0.3).float().mean() < 0.4


def test_even_rectified_plates_and_real_boxes_are_slanted_now_and_then() -> None:
    torch.manual_seed(2)
    geometry = module("reader_geometry")
    for corners in (
        geometry.rectified_corners(torch.full((2000,), 4.0)),
        geometry.real_corners(2000, CPU),
    ):
        assert 0.05 < (rises(corners).abs() > 0.2).float().mean() < 0.4


def test_a_quad_of_a_texture_lands_on_the_corners_asked_for() -> None:
    geometry = module("reader_geometry")
    texture = torch.zeros(1, 3, 100, 200)
    texture[:, :, 40:60, 50:150] = 1.0
    source = torch.tensor([[[0.25, 0.4], [0.75, 0.4], [0.75, 0.6], [0.25, 0.6]]])
    margin = torch.tensor([0.25, 0.25])
    corners = geometry.unit_corners(1, CPU) * (1 - 2 * margin) + margin
    crop, _ = geometry.sample_quad(texture, corners, source, padding="border")
    assert crop[0, 0, 20:44, 44:116].min() > 0.9
    assert crop[0, 0, :10].max() < 0.1


def test_compression_spares_small_pictures_whose_characters_are_smaller_than_its_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    augment = module("reader_augment")
    worst = {}

    def look(x: "torch.Tensor", quality: "torch.Tensor") -> "torch.Tensor":
        worst[x.shape[-1]] = float(quality.min())
        return x

    monkeypatch.setattr(augment, "blocks", look)
    for seed in range(40):
        torch.manual_seed(seed)
        augment.camera(torch.rand(16, 3, 64, 160), low_res=True)
    assert min(worst) < 40
    assert max(worst) > 120
    assert all(quality >= 0.5 for width, quality in worst.items() if width <= 40)
    assert any(quality < 0.4 for width, quality in worst.items() if width > 120)


class OnePlate:
    """A detector that finds one slanted plate, and counts the photographs it sees."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, image: np.ndarray, floor: float) -> SimpleNamespace:
        self.asked += 1
        return SimpleNamespace(
            labels=np.array([0, 1]),
            boxes=np.array([[100.0, 50, 200, 90], [0, 0, 300, 200]], np.float32),
            corners=np.array([[100.0, 50, 200, 60, 200, 90, 100, 80], [0] * 8], np.float32),
        )


def test_a_packed_crop_holds_the_detectors_quad_in_parts_of_its_canvas() -> None:
    pack = module("reader_pack")
    detector = OnePlate()
    quads = pack.Quads(detector)
    image = np.zeros((200, 300, 3), np.uint8)
    quad = quads.of("a.jpg", image, (100.0, 50.0, 100.0, 40.0)).reshape(4, 2)
    # The box fills the middle 1 / 1.8 of its canvas, from 0.4 / 1.8 on.
    assert quad[0] == pytest.approx([0.4 / 1.8, 0.4 / 1.8])
    assert quad[1] == pytest.approx([1.4 / 1.8, 0.65 / 1.8])
    assert np.isnan(quads.of("a.jpg", image, (0.0, 0.0, 50.0, 30.0))).all()
    assert detector.asked == 1  # one look a photograph


def test_only_train_places_judged_to_be_no_plate_become_negatives(tmp_path: Path) -> None:
    path = tmp_path / "judged.csv"
    rows = [
        ("a.jpg", "train", 10, 10, 50, 30, "notplate"),
        ("a.jpg", "train", 60, 10, 90, 30, "plate"),
        ("a.jpg", "train", 60, 40, 90, 50, "unsure"),
        ("b.jpg", "val", 10, 10, 50, 30, "notplate"),
        ("c.jpg", "train", 10, 10, 14, 12, "notplate"),  # nothing to see
    ]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "split", "x1", "y1", "x2", "y2", "verdict"), *rows])
    assert module("reader_pack").judged_negatives(path) == [("a.jpg", [10.0, 10.0, 40.0, 20.0])]


def crops_of(texts: list[str], splits: list[str]) -> object:
    data, render = module("reader_data"), module("render_flat")
    count = len(texts)
    return data.RealCrops(
        canvases=np.zeros((count, 144, 320, 3), np.uint8),
        slots=np.stack([render.slots_of(text) for text in texts]),
        region=np.full(count, render.MASKED, np.int16),
        text=np.array(texts),
        split=np.array(splits),
        folder=np.full(count, "plates-mixed"),
        quality=np.full(count, "good"),
        script=np.full(count, "latin"),
        image=np.full(count, "a.jpg"),
        width_px=np.full(count, 80.0, np.float32),
        quads=np.full((count, 4, 2), np.nan, np.float32),
    )


class Sure(torch.nn.Module):
    """Reads one text in every crop, with a given logit."""

    def __init__(self, text: str, logit: float) -> None:
        super().__init__()
        slots = torch.from_numpy(module("render_flat").slots_of(text).astype(np.int64))
        self.logits = torch.nn.functional.one_hot(slots, 37).float() * logit

    def forward(self, crops: "torch.Tensor") -> tuple["torch.Tensor", ...]:
        count = len(crops)
        return self.logits.expand(count, 12, 37), torch.zeros(count, 3), torch.zeros(count, 1)


def test_weights_are_kept_by_held_out_texts_and_val_has_no_say() -> None:
    train = module("reader_train")
    crops = crops_of(["AB12", "CD34", "XY99"], ["held", "held", "val"])
    half = train.held_figures(Sure("AB12", 20.0), crops, CPU)
    assert half["held/box"] == half["held/quad"] == 0.5
    assert half["worth"] == pytest.approx(0.5, abs=1e-3)
    assert train.held_figures(Sure("XY99", 20.0), crops, CPU)["worth"] == pytest.approx(0, abs=1e-3)
    unsure = train.held_figures(Sure("AB12", 5.0), crops, CPU)
    assert unsure["held/box"] == 0.5
    assert unsure["worth"] < half["worth"]


def test_the_best_checkpoint_stays_when_a_later_look_is_worse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = module("reader_train")
    worths = iter([0.4, 0.6, 0.5])
    monkeypatch.setattr(train, "held_figures", lambda *_: {"worth": next(worths)})
    monkeypatch.setattr(train, "accuracy", lambda *_: {})
    average = train.Average(torch.nn.Linear(2, 2), 0.9)
    pools = SimpleNamespace(crops=None, device=CPU)
    keeper = train.Keeper(tmp_path, average, pools, {"regions": []})
    for step in (1, 2, 3):
        keeper.look(step, 0.0)
    best = torch.load(tmp_path / "reader-best.pt", weights_only=True)
    last = torch.load(tmp_path / "reader.pt", weights_only=True)
    assert (best["meta"]["steps"], last["meta"]["steps"]) == (2, 3)


def test_the_average_moves_towards_the_net_by_the_rest_of_its_decay() -> None:
    train = module("reader_train")
    net = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(net.weight)
    average = train.Average(net, 0.9)
    average.steps = 10**6  # past the warm-up
    torch.nn.init.ones_(net.weight)
    average.update()
    assert average.net.weight.item() == pytest.approx(0.1)


def test_a_batch_mixes_rendered_real_and_judged_crops_and_never_draws_val(tmp_path: Path) -> None:
    data, render = module("reader_data"), module("render_flat")
    regions = render.regions()
    np.save(tmp_path / "plates.npy", np.full((4, 96, 240, 4), 200, np.uint8))
    np.savez(
        tmp_path / "plates.npz",
        slots=np.stack([render.slots_of("AB12")] * 4),
        region=np.zeros(4, np.int16),
        aspect=np.full(4, 4.0, np.float32),
        regions=np.array(regions),
    )
    blob = cv2.imencode(".jpg", np.full((60, 120, 3), 90, np.uint8))[1].ravel()
    texts = ["CD34", "VAL99", "", "EF5?"]
    assert not any(data.is_held_out(text) for text in texts if text)
    np.savez(
        tmp_path / "crops.npz",
        jpegs=np.concatenate([blob] * 4),
        ends=np.cumsum([blob.size] * 4),
        patches=blob,
        patch_ends=np.array([blob.size]),
        quads=np.full((4, 8), np.nan, np.float32),
        split=np.array(["train", "val", "train", "train"]),
        folder=np.full(4, "plates-mixed"),
        text=np.array(texts),
        quality=np.array(["good", "good", "notplate", "partial"]),
        region=np.full(4, ""),
        script=np.full(4, "latin"),
        width_px=np.full(4, "80"),
        image=np.full(4, "a.jpg"),
    )
    torch.manual_seed(4)
    pools = data.Pools(tmp_path, tmp_path / "crops.npz", CPU)
    assert pools.real_index.tolist() == [0, 3]
    assert pools.none_index.tolist() == [2]
    batch = pools.batch(64, real=0.25, negative=0.25)
    assert batch.images.shape == (64, 3, 64, 160)
    blank = (batch.slots == render.BLANK).all(1)
    assert blank.sum() == 16
    rendered = (batch.slots == torch.from_numpy(render.slots_of("AB12").astype(np.int64))).all(1)
    assert rendered.sum() == 32
    assert (~batch.judged).sum() == (batch.slots == render.MASKED).any(1).sum() > 0
    # Nobody knows a real plate's corners, and what is no plate has none.
    assert torch.equal(batch.corners.isfinite().all(1), rendered)
    assert torch.equal(batch.corners.isnan().all(1), ~rendered)


def pools_of(tmp_path: Path, plates: np.ndarray) -> object:
    """Pools of these flat plates (N, 96, 240, 4), without any real crop, before a grey wall."""
    data, render = module("reader_data"), module("render_flat")
    count = len(plates)
    np.save(tmp_path / "plates.npy", plates)
    np.savez(
        tmp_path / "plates.npz",
        slots=np.stack([render.slots_of("AB12")] * count),
        region=np.zeros(count, np.int16),
        aspect=np.full(count, 4.0, np.float32),
        regions=np.array(render.regions()),
    )
    blob = cv2.imencode(".jpg", np.full((60, 120, 3), 90, np.uint8))[1].ravel()
    ends = np.array([blob.size])
    np.savez(
        tmp_path / "crops.npz",
        jpegs=blob,
        ends=ends,
        patches=blob,
        patch_ends=ends,
        quads=np.full((1, 8), np.nan, np.float32),
        width_px=np.array(["80"]),
        **{name: np.array([""]) for name in ("folder", "text", "quality", "region", "image")},
        split=np.array(["val"]),
        script=np.array(["latin"]),
    )
    return data.Pools(tmp_path, tmp_path / "crops.npz", CPU)


def test_the_corners_of_a_rendered_crop_are_where_its_plate_is_drawn(tmp_path: Path) -> None:
    red = np.zeros((1, 96, 240, 4), np.uint8)
    red[..., 0] = red[..., 3] = 255
    torch.manual_seed(3)
    pools = pools_of(tmp_path, red)
    crops, _, corners = pools._rendered(24)
    for crop, quad in zip(crops, corners.reshape(-1, 4, 2), strict=True):
        is_red = (crop[0] > 0.97) & (crop[1] < 0.03)
        drawn = np.zeros((64, 160), np.uint8)
        points = ((quad.numpy() * [160, 64] - 0.5) * 16).round().astype(np.int32)
        cv2.fillConvexPoly(drawn, points, 1, shift=4)
        inside = torch.from_numpy(cv2.erode(drawn, np.ones((5, 5), np.uint8)) > 0)
        outside = torch.from_numpy(cv2.dilate(drawn, np.ones((5, 5), np.uint8)) == 0)
        assert is_red[inside].float().mean() > 0.98
        assert is_red[outside].float().mean() < 0.02


def test_what_lies_beside_round_corners_is_the_scene(tmp_path: Path) -> None:
    clear = np.zeros((1, 96, 240, 4), np.uint8)  # all of it is cut away
    torch.manual_seed(3)
    pools = pools_of(tmp_path, clear)
    crops, _, _ = pools._rendered(8)
    assert (crops.mean((1, 2, 3)) > 0.15).all()


def test_only_known_corners_count_and_each_by_its_distance() -> None:
    train = module("reader_train")
    truth = torch.full((3, 8), float("nan"))
    truth[0] = torch.rand(8)
    given = torch.nan_to_num(truth).requires_grad_()
    loss, off = train.corner_loss(given, truth)
    assert loss.item() == pytest.approx(0, abs=1e-3)
    moved = torch.nan_to_num(truth)
    moved[0, 2] += 0.03
    moved[2] = 5.0  # nobody knows this one
    moved.requires_grad_()
    loss, off = train.corner_loss(moved, truth)
    assert off.item() == pytest.approx(0.03 / 4, abs=1e-4)
    loss.backward()
    assert moved.grad is not None
    assert moved.grad.isfinite().all()
    assert moved.grad[0, 2] > 0
    assert not moved.grad[1:].any()
    assert train.corner_loss(moved, truth * float("nan"))[0] == 0


def test_a_dark_crop_is_tinted_and_the_others_stay_as_they_are() -> None:
    torch.manual_seed(5)
    crops = torch.rand(16, 3, 64, 160)
    dark = torch.arange(16) < 8
    found = module("reader_augment").night(crops, dark)
    assert torch.equal(found[~dark], crops[~dark])
    assert found.isfinite().all()
    assert (found[:8] - crops[:8]).abs().mean((1, 2, 3)).min() > 0.05


def test_weights_move_to_a_net_with_more_heads_and_other_region_labels() -> None:
    net = module("reader_net")
    torch.manual_seed(1)
    old, new = net.ReaderNet(3).eval(), net.ReaderNet(4).eval()
    before = {after: before for before, after in net.RENAMED.items()}
    weights = {
        before.get(name, name): value.clone()
        for name, value in old.state_dict().items()
        if not name.startswith(net.NEW_HEADS)
    }
    net.carried(weights, ["FR", "RO", "US"], new, ["AD", "RO", "FR", "US"])
    crops = torch.rand(2, 3, 64, 160)
    with torch.no_grad():
        theirs, mine = old(crops), new(crops)
    assert torch.allclose(theirs[0], mine[0], atol=1e-5)
    assert torch.allclose(theirs[2], mine[2], atol=1e-5)
    assert torch.allclose(theirs[1], mine[1][:, [2, 1, 3]], atol=1e-4)
    inset = torch.tensor([0.04, 0.08, 0.96, 0.08, 0.96, 0.92, 0.04, 0.92])
    assert torch.allclose(mine[3], inset.expand(2, 8))  # nothing learnt yet: the cut itself
    with pytest.raises(ValueError, match=r"chars\.weight"):
        net.carried({k: v for k, v in weights.items() if k != "chars.weight"}, [], new, [])
