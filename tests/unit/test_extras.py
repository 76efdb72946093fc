"""What a reload does with what waits beside the events."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from alprd.config import Settings
from alprd.extras import Extras
from alprd.policy.sink import Policy
from alprd.publish.thread import PublisherThread


class Publisher:
    """Counts how often what waits was forgotten."""

    forgotten = 0

    def send_track(self, *_: object, **__: object) -> None:
        """Not looked at here."""

    send_picture = send_track

    def forget_spare(self) -> None:
        self.forgotten += 1


def settings(folder: Path, **sections: Any) -> Settings:
    made = {"device_id": "edge-07", "cameras": [{"id": "gate", "source": "/x"}]}
    images = {"path": str(folder / "images")}
    return Settings.model_validate({**made, "images": images, **sections})


def test_what_waits_goes_no_more_once_the_policy_is_another_one(tmp_path: Path) -> None:
    publisher = Publisher()
    extras = Extras(
        settings(tmp_path),
        publisher=cast(PublisherThread, publisher),
        policy=lambda: Policy(lists=tuple, drop_unlisted=False, key=None),
    )
    with extras:
        extras.use(settings(tmp_path, tracks={"enabled": True}))
        assert publisher.forgotten == 0
        listed = [{"name": "staff", "file": str(tmp_path / "staff.txt"), "drop": True}]
        extras.use(settings(tmp_path, lists=listed))
        assert publisher.forgotten == 1
        extras.use(settings(tmp_path, lists=listed, privacy={"drop_unlisted": True}))
        assert publisher.forgotten == 2
