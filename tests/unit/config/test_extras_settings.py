"""[tracks] and [images]: per camera, and never more than privacy allows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from alprd.config import Settings

HIDDEN = {"plates": "hmac", "key": "k" * 32}


def settings(*cameras: dict[str, Any], **sections: Any) -> Settings:
    found = [{"source": "/x", **camera} for camera in cameras or ({"id": "a"},)]
    return Settings.model_validate({"device_id": "test", "cameras": found, **sections})


def test_a_camera_has_the_last_word_on_its_tracks_and_pictures() -> None:
    made = settings(
        {"id": "a"},
        {"id": "b", "tracks": False, "images": True},
        tracks={"enabled": True},
    )
    a, b = made.cameras
    assert (made.tracks_of(a), made.images_of(a)) == (True, False)
    assert (made.tracks_of(b), made.images_of(b)) == (False, True)


def test_pictures_lie_beside_the_outbox_unless_a_folder_is_named() -> None:
    outbox = {"path": "/data/alprd/outbox.sqlite"}
    assert settings(outbox=outbox).images_path == Path("/data/alprd/images")
    assert settings(outbox=outbox, images={"path": "/mnt/p"}).images_path == Path("/mnt/p")


@pytest.mark.parametrize("sections", [{"images": {"enabled": True}}, {"images": {"plates": "own"}}])
def test_pictures_of_hidden_plates_are_refused_with_the_ways_out(sections: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r'images\.plates = "covered"'):
        settings({"id": "a", "images": True}, privacy=HIDDEN, **sections)


@pytest.mark.parametrize(
    "images",
    [
        {"enabled": True, "plates": "covered"},
        {"enabled": True, "show_hidden_plates": True},
        {"enabled": False},
    ],
)
def test_pictures_that_hide_them_or_are_meant_so_are_not(images: dict[str, Any]) -> None:
    assert settings(privacy=HIDDEN, images=images).images.quality == 80


def test_a_picture_of_nothing_but_a_covered_plate_is_refused() -> None:
    with pytest.raises(ValidationError, match="shows nothing"):
        settings(images={"crop": "plate", "plates": "covered"})
