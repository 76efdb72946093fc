"""`alprd calibrate`: what a camera's picture measures, clicked on a local page or given as text."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alprd.commands.common import (
    EXIT_BAD_CONFIG,
    EXIT_DONE,
    EXIT_USAGE,
    CommandError,
    Commands,
    add_config_option,
    load_config,
    quiet_native_libraries,
    write_line,
)

if TYPE_CHECKING:
    from alprd.config import CameraSettings, Settings
    from alprd.ports import ImageU8

_POINT = re.compile(r"\s*(-?[\d.]+)\s*,\s*(-?[\d.]+)\s*=\s*(-?[\d.]+)\s*,\s*(-?[\d.]+)\s*")
JPEG_QUALITY = 92


def add_parser(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "calibrate",
        help="tell a camera where metres are in its picture, to measure speed",
        description="Take a picture of a configured camera and open a page on this machine, on "
        "which you click points whose places on the road you know, the region of interest, zones "
        "and counting lines. What you save becomes a drop-in file beside the configuration. From "
        "another machine: ssh -L PORT:127.0.0.1:PORT with the port that is printed (or --port).",
    )
    parser.add_argument("camera", metavar="CAMERA", help="the camera's id in the configuration")
    add_config_option(parser)
    parser.add_argument(
        "--image",
        type=Path,
        metavar="FILE",
        help="use this picture instead of the camera's; upright, in the stream's own size",
    )
    parser.add_argument(
        "--points",
        metavar="TEXT",
        help='no page: save these points, "x,y=X,Y; x,y=X,Y; ..." in pixels and metres',
    )
    parser.add_argument(
        "--camera-height",
        type=float,
        metavar="METRES",
        help="with --points: how high the camera hangs (default: told by the points)",
    )
    parser.add_argument(
        "--port", type=int, default=0, metavar="N", help="the page's port (default: a free one)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve the page until it is done with, or save the points."""
    settings = load_config(arguments.config)
    quiet_native_libraries()
    camera = _camera(settings, arguments.camera)
    image = _picture(camera, arguments.image)
    if arguments.points is not None:
        return _save_points(arguments, camera, image)
    return _serve(arguments, camera, image)


def _camera(settings: Settings, camera_id: str) -> CameraSettings:
    for camera in settings.cameras:
        if camera.id == camera_id:
            return camera
    known = ", ".join(camera.id for camera in settings.cameras)
    raise CommandError(f"{camera_id}: no camera has this id; configured are: {known}", EXIT_USAGE)


def _picture(camera: CameraSettings, file: Path | None) -> ImageU8:
    # With OpenCV, which reads the environment as it is imported.
    from alprd.cameras.images import load_image  # noqa: PLC0415
    from alprd.commands.calibrate_snapshot import snapshot  # noqa: PLC0415
    from alprd.ports import CameraError  # noqa: PLC0415

    try:
        return snapshot(camera) if file is None else load_image(file)
    except CameraError as error:
        remedy = "" if file is not None else "; or give a picture of it: --image FILE"
        raise CommandError(f"{error}{remedy}") from error


def parse_points(text: str) -> tuple[list[list[float]], list[list[float]]]:
    """Points in pixels and their places in metres, of "x,y=X,Y; ...". Raises CommandError."""
    points, metres = [], []
    for part in filter(str.strip, text.split(";")):
        found = _POINT.fullmatch(part)
        try:
            x, y, across, ahead = (float(number) for number in (found.groups() if found else ()))
        except ValueError:
            raise CommandError(
                f'--points: "{part.strip()}" is not x,y=X,Y; for example "412,650=0,0; '
                '880,648=3.5,0; 700,402=3.5,12; 560,402=0,12"',
                EXIT_USAGE,
            ) from None
        points.append([x, y])
        metres.append([across, ahead])
    return points, metres


def _save_points(arguments: argparse.Namespace, camera: CameraSettings, image: ImageU8) -> int:
    from alprd.commands.calibrate_files import drop_in_path, save  # noqa: PLC0415
    from alprd.commands.calibrate_preview import preview  # noqa: PLC0415

    points, metres = parse_points(arguments.points)
    height, width = image.shape[:2]
    speed: dict[str, Any] = {"frame_size": [width, height], "points": points, "metres": metres}
    if arguments.camera_height is not None:
        speed["camera_height_m"] = arguments.camera_height
    path = drop_in_path(arguments.config, camera.id)
    problems = save({"speed": speed}, camera_id=camera.id, config=arguments.config, path=path)
    if problems:
        raise CommandError("\n".join(problems), EXIT_BAD_CONFIG)
    _say_saved(path)
    facts = preview(speed, image)
    for fact in filter(None, (facts.get("height"), facts.get("typical"))):
        write_line(fact)
    return EXIT_DONE


def _serve(arguments: argparse.Namespace, camera: CameraSettings, image: ImageU8) -> int:
    import cv2  # noqa: PLC0415

    from alprd.commands.calibrate_files import draft_of, drop_in_path, problems_of, save  # noqa: PLC0415
    from alprd.commands.calibrate_preview import preview  # noqa: PLC0415
    from alprd.commands.calibrate_server import PageServer  # noqa: PLC0415

    path = drop_in_path(arguments.config, camera.id)
    height, width = image.shape[:2]
    saved: list[Path] = []

    def begin(_: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "camera": camera.id,
            "frame_size": [width, height],
            "draft": draft_of(camera),
            "file": str(path),
        }

    def check(draft: Mapping[str, Any]) -> dict[str, Any]:
        speed = draft.get("speed")
        shown = preview(speed, image) if isinstance(speed, dict) else {}
        problems = problems_of(draft, camera_id=camera.id, config=arguments.config, path=path)
        return {**shown, "problems": problems}

    def keep(draft: Mapping[str, Any]) -> dict[str, Any]:
        problems = save(draft, camera_id=camera.id, config=arguments.config, path=path)
        if not problems:
            saved.append(path)
            _say_saved(path)
        return {"problems": problems, "file": str(path)}

    fine, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not fine:
        raise CommandError("the picture cannot be encoded; give another one: --image FILE")
    answers = {"begin": begin, "check": check, "save": keep}
    try:
        server = PageServer(data.tobytes(), answers, port=arguments.port)
    except OSError as error:
        raise CommandError(
            f"port {arguments.port}: {error.strerror}; choose another: --port N"
        ) from error
    with server:
        write_line("Open this page in a browser on this machine (Ctrl-C ends it):")
        write_line(f"  {server.url}")
        server.finished.wait()
    if not saved:
        write_line("Nothing was saved.")
    return EXIT_DONE


def _say_saved(path: Path) -> None:
    write_line(f"Saved {path}.")
    write_line("In force after: systemctl reload alprd")
