"""How much pictures and texts count for the region: fitted on labelled reads."""

import importlib
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cv2", reason="OpenCV is needed to cut plates out")
pytest.importorskip("tomllib", reason="the accuracy modules need Python 3.11")


def fitting() -> Any:
    return importlib.import_module("engines.training.region_fit")


def labelled(text: str, label: str, *regions: tuple[str, float]) -> Any:
    types = importlib.import_module("alprd.core.types")
    read = types.PlateRead(
        text=text, char_probs=np.zeros((len(text), 37), np.float32),
        quad=np.zeros((4, 2), np.float32), t_s=0.0, score=0.9, regions=regions,
    )  # fmt: skip
    return fitting().Labelled(read=read, label=label)


KNOWN = frozenset(("GB", "SE", "US", "US-CA", "US-OH", "unknown"))


def test_texts_count_where_they_tell_what_pictures_do_not() -> None:
    torn = (("GB", 0.5), ("SE", 0.5))
    reads = [labelled("LS15EBC", "GB", *torn), labelled("ABC123", "SE", *torn)] * 3
    assert fitting().fit(reads, KNOWN).text == max(fitting().TEXT)


def test_texts_do_not_count_where_they_mislead() -> None:
    torn = (("GB", 0.5), ("SE", 0.5))
    reads = [labelled("LS15EBC", "SE", *torn), labelled("ABC123", "GB", *torn)] * 3
    assert fitting().fit(reads, KNOWN).text == 0.0


@pytest.mark.parametrize(
    ("label", "given"),
    [("US-CA", 0.6), ("US", 0.9), ("US-AK", 0.9), ("KW", 0.1)],
)
def test_a_label_is_given_as_far_as_the_reader_can_know_it(label: str, given: float) -> None:
    seen = labelled("A", label, ("US-CA", 0.6), ("US-OH", 0.3), ("unknown", 0.1))
    plain = importlib.import_module("alprd.core.regions").Evidence(
        picture=1.0, text=0.0, unknown=1.0
    )
    assert fitting().log_loss([seen], KNOWN, plain) == pytest.approx(-np.log(given))
