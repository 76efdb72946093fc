"""The calibration page in a real browser: clicked, typed into, looked at, saved."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from alprd.config import load_settings
from support.chromium import Chromium, find_chromium
from support.simulator import PinholeCamera

CAMERA = PinholeCamera(position_m=(1.0, 0.0, 5.0), yaw_deg=4.0, tilt_deg=14.0)
CORNERS = [(-3.5, 14.0), (3.5, 14.0), (3.5, 26.0), (-3.5, 26.0)]
PLACES = [*CORNERS, (0.0, 20.0), (0.0, 14.0)]
PROGRAM = find_chromium()

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(
        PROGRAM is None,
        reason="no Chromium: apt-get install chromium, or packaging/system-packages",
    ),
]


def paint_road(path: Path) -> None:
    """Two lanes with their markings, as the camera sees them."""
    image = np.full((720, 1280, 3), (150, 140, 120), np.uint8)

    def strip(x1: float, x2: float, y1: float, y2: float, shade: int) -> None:
        px = CAMERA.project_ground([(x1, y1), (x2, y1), (x2, y2), (x1, y2)])
        cv2.fillPoly(image, [np.round(px).astype(np.int32)], (shade,) * 3)

    strip(-7.0, 7.0, 8.0, 120.0, 70)
    for x in (-3.5, 3.5):
        strip(x - 0.08, x + 0.08, 8.0, 120.0, 230)
    for y in range(8, 110, 6):
        strip(-0.08, 0.08, float(y), y + 3.0, 230)
    cv2.imwrite(str(path), image)


class Page:
    """The page as a person uses it."""

    def __init__(self, browser: Chromium) -> None:
        self.browser = browser

    def at(self, x_px: float, y_px: float) -> tuple[float, float]:
        """Where in the window a place of the picture is."""
        left, top, width, height = self.browser.evaluate(
            "(() => { const r = document.querySelector('#picture').getBoundingClientRect();"
            "return [r.left, r.top, r.width, r.height] })()"
        )
        return left + x_px * width / CAMERA.size[0], top + y_px * height / CAMERA.size[1]

    def click(self, x_px: float, y_px: float, *, button: str = "left") -> None:
        self.browser.click(*self.at(x_px, y_px), button=button)

    def click_road(self, places: list[tuple[float, float]]) -> None:
        for x, y in CAMERA.project_ground(places):
            self.click(float(x), float(y))

    def fill(self, label: str, text: str) -> None:
        """Type into the field of that label, over what stands there."""
        field = f'document.querySelector(\'[aria-label="{label}"], [id="{label}"]\')'
        self.browser.evaluate(f"({field}.focus(), {field}.select(), null)")
        self.browser.type(text)

    def choose(self, selector: str, value: str) -> None:
        self.browser.evaluate(
            f"(() => {{ const s = document.querySelector('{selector}'); s.value = '{value}';"
            "s.dispatchEvent(new Event('change')) })()"
        )

    def press(self, text: str) -> None:
        """The button of that text."""
        x, y = self.browser.evaluate(
            "(() => { const b = [...document.querySelectorAll('button')]"
            f".find((b) => b.textContent === '{text}'); b.scrollIntoView({{block: 'nearest'}});"
            "const r = b.getBoundingClientRect(); return [r.left + 5, r.top + 5] })()"
        )
        self.browser.click(x, y)

    def problem(self, text: str) -> None:
        """Wait until the page shows this problem, and cannot be saved."""
        self.browser.wait_for(
            f"document.querySelector('#problems').textContent.includes('{text}')"
            " && document.querySelector('#save').disabled"
        )

    def fine(self) -> None:
        """Wait until what is drawn can be saved."""
        self.browser.wait_for(
            "!document.querySelector('#save').disabled && document.body.dataset.checked"
        )

    def saved(self) -> None:
        self.press("Save")
        self.browser.wait_for("document.querySelector('#status').textContent.startsWith('Saved')")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    paint_road(tmp_path / "road.png")
    path = tmp_path / "alprd.toml"
    path.write_text(f'[[cameras]]\nid = "gate"\nsource = "{tmp_path / "road.png"}"\n')
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    assert PROGRAM is not None
    with Chromium(PROGRAM) as running:
        yield running


@pytest.fixture
def page(config: Path, browser: Chromium) -> Iterator[Page]:
    command = [sys.executable, "-m", "alprd", "calibrate", "gate", "--config", str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines = iter(process.stdout.readline, "")
            url = next(found[0] for line in lines if (found := re.search(r"http://\S+", line)))
            browser.complaints.clear()
            browser.open(url)
            browser.wait_for("document.body.dataset.checked")
            yield Page(browser)
            assert browser.complaints == []
            browser.open("about:blank")
        finally:
            process.terminate()


def type_metres(page: Page, places: list[tuple[float, float]]) -> None:
    for number, (x, y) in enumerate(places, 1):
        page.fill(f"Point {number} X in metres", str(x))
        page.fill(f"Point {number} Y in metres", str(y))


def test_points_that_are_clicked_and_typed_become_the_calibration(
    page: Page, config: Path, tmp_path: Path
) -> None:
    page.click_road(PLACES)
    type_metres(page, PLACES)
    page.fine()
    grid = page.browser.evaluate("document.querySelectorAll('#picture .grid').length")
    assert grid > 15
    page.browser.wait_for("document.querySelector('#above img').naturalWidth > 100")
    facts = page.browser.evaluate("document.querySelector('#facts').textContent")
    assert "The camera hangs 5" in facts or "The camera hangs 4.9" in facts
    page.browser.screenshot(
        Path(os.environ.get("ALPRD_TEST_SCREENSHOTS") or tmp_path) / "calibrate-points.png"
    )
    page.saved()
    speed = load_settings(config, environ={}).cameras[0].speed
    assert speed is not None
    assert speed.metres == tuple(PLACES)
    # A click of the mouse is as exact as the window's pixels.
    assert np.array(speed.points) == pytest.approx(CAMERA.project_ground(PLACES), abs=2.0)


def test_points_can_be_dragged_and_removed(page: Page, config: Path) -> None:
    page.click_road([*CORNERS[:3], (0.0, 30.0), (0.0, 16.0)])
    wrong, right = CAMERA.project_ground([(0.0, 30.0), CORNERS[3]])
    page.browser.drag(page.at(*map(float, wrong)), page.at(*map(float, right)))
    extra = CAMERA.project_ground([(0.0, 16.0)])[0]
    page.click(float(extra[0]), float(extra[1]), button="right")
    type_metres(page, CORNERS)
    page.fine()
    page.saved()
    speed = load_settings(config, environ={}).cameras[0].speed
    assert speed is not None
    assert np.array(speed.points) == pytest.approx(CAMERA.project_ground(CORNERS), abs=2.0)


def test_a_rectangle_needs_its_sides_alone(page: Page, config: Path) -> None:
    page.choose("#way", "rectangle")
    page.click_road(CORNERS)
    page.problem("a side of the rectangle is 0 m long")
    page.fill("width_m", "7")
    page.fill("length_m", "12")
    page.fine()
    page.saved()
    speed = load_settings(config, environ={}).cameras[0].speed
    assert speed is not None
    assert speed.rectangle_m == (7.0, 12.0)


def test_two_lines_need_their_distance_and_the_cameras_height(page: Page, config: Path) -> None:
    page.choose("#way", "lines")
    page.click_road([(-3.0, 14.0), (3.0, 14.0), (-3.0, 24.0), (3.0, 24.0)])
    page.problem("the lines are 0 m apart")
    page.fill("distance_m", "10")
    page.problem("give camera_height_m")
    page.fill("Camera above the points", "5")
    page.fine()
    page.saved()
    speed = load_settings(config, environ={}).cameras[0].speed
    assert speed is not None
    assert len(speed.lines) == 2


@pytest.mark.parametrize(
    ("places", "metres", "problem"),
    [
        (CORNERS[:3], CORNERS[:3], "needs at least 4 points, not 3"),
        (CORNERS, CORNERS[:3], "4 points and 3 places in metres"),
        ([(0.0, 12.0), (0.0, 16.0), (0.0, 20.0), (3.0, 20.0)], CORNERS, "lie on one line"),
        (CORNERS, [CORNERS[i] for i in (1, 0, 2, 3)], "crosses itself"),
        (CORNERS, [CORNERS[0], CORNERS[0], *CORNERS[2:]], "are 0 m apart"),
        (
            PLACES,
            [*CORNERS, (9.0, 9.0), (0.0, 14.0)],
            "point 5 is far from where the other points put it",
        ),
    ],
)
def test_a_mistake_is_named_on_the_page_and_cannot_be_saved(
    page: Page,
    config: Path,
    places: list[tuple[float, float]],
    metres: list[tuple[float, float]],
    problem: str,
) -> None:
    page.click_road(places)
    type_metres(page, metres)
    page.problem(problem)
    assert not (config.parent / "conf.d").exists()


def test_a_region_of_two_corners_is_named_and_of_three_saved(page: Page, config: Path) -> None:
    page.press("Region of interest")
    page.click(100.0, 200.0)
    page.click(1180.0, 200.0)
    page.problem("a polygon needs at least 3 points, this has 2")
    page.click(640.0, 700.0)
    page.fine()
    page.saved()
    roi = load_settings(config, environ={}).cameras[0].roi
    assert roi is not None
    assert np.array(roi) * CAMERA.size == pytest.approx(
        np.array([[100.0, 200.0], [1180.0, 200.0], [640.0, 700.0]]), abs=2.0
    )


def test_what_is_in_force_is_shown_again(page: Page, config: Path) -> None:
    page.click_road(PLACES)
    type_metres(page, PLACES)
    page.fill("Speed limit", "50")
    page.fill("Plate widths", "half a metre")
    page.problem("speed.plate_widths_m")
    page.fill("Plate widths", "0.52, 0.21")
    page.fine()
    page.saved()
    speed = load_settings(config, environ={}).cameras[0].speed
    assert speed is not None
    assert (speed.limit, speed.plate_widths_m) == (50.0, (0.52, 0.21))
    page.press("Done")
    page.browser.wait_for("document.body.textContent.includes('can be closed')")
    command = [sys.executable, "-m", "alprd", "calibrate", "gate", "--config", str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines = iter(process.stdout.readline, "")
            url = next(found[0] for line in lines if (found := re.search(r"http://\S+", line)))
            page.browser.open(url)
            page.fine()
            shown = page.browser.evaluate(
                "[...document.querySelectorAll('#points input')].map((i) => Number(i.value))"
            )
            assert shown == [value for place in PLACES for value in place]
            field = "document.querySelector('[aria-label=\"Speed limit\"]').value"
            assert page.browser.evaluate(field) == "50"
            field = "document.querySelector('[aria-label=\"Plate widths\"]').value"
            assert page.browser.evaluate(field) == "0.52, 0.21"
        finally:
            process.terminate()


def test_zones_and_counting_lines_are_drawn_named_and_saved(
    page: Page, config: Path, tmp_path: Path
) -> None:
    page.press("Zone")
    for corner in ((300.0, 300.0), (600.0, 300.0), (600.0, 600.0)):
        page.click(*corner)
    page.press("New zone")
    for corner in ((700.0, 300.0), (900.0, 300.0), (900.0, 600.0)):
        page.click(*corner)
    page.press("Counting line")
    for end in ((200.0, 450.0), (1000.0, 460.0), (640.0, 200.0), (650.0, 700.0)):
        page.click(*end)
    page.fine()
    page.browser.screenshot(
        Path(os.environ.get("ALPRD_TEST_SCREENSHOTS") or tmp_path) / "calibrate-shapes.png"
    )
    page.saved()
    camera = load_settings(config, environ={}).cameras[0]
    assert [zone.name for zone in camera.zones] == ["zone-1", "zone-2"]
    assert [(line.name, line.inwards) for line in camera.lines] == [
        ("line-1", "down"),
        ("line-2", "right"),
    ]
    assert np.array(camera.lines[0].points) * CAMERA.size == pytest.approx(
        np.array([[200.0, 450.0], [1000.0, 460.0]]), abs=2.0
    )
