"""Which waiting event goes next."""

from __future__ import annotations

import pytest

from alprd.publish.lanes import OLD_AFTER_S, Lanes
from alprd.publish.rows import OutboxRow


class Rows:
    """Waiting rows by number and age; each is handed out once."""

    def __init__(self, **ages_s: float) -> None:
        self.ages_s = {int(name[1:]): age_s for name, age_s in ages_s.items()}
        self.questions = 0

    def claim(self, after_seq: int, before_seq: int | None) -> list[OutboxRow]:
        self.questions += 1
        chosen = [
            seq
            for seq in sorted(self.ages_s)
            if after_seq < seq and (before_seq is None or seq < before_seq)
        ][:2]
        return [
            OutboxRow(
                seq=seq, topic="t", event_id=str(seq), payload=b"", age_s=self.ages_s.pop(seq)
            )
            for seq in chosen
        ]

    def first_younger_than(self, age_s: float) -> int | None:
        return min((seq for seq, age in self.ages_s.items() if age <= age_s), default=None)


OLD = OLD_AFTER_S + 1.0


def order(rows: Rows, share: float) -> list[int]:
    lanes = Lanes(rows, share=share)
    found = []
    while (row := lanes.next()) is not None:
        found.append(row.seq)
    return found


def test_without_old_ones_the_order_is_that_of_the_numbers() -> None:
    assert order(Rows(s1=5.0, s2=4.0, s3=3.0, s4=0.0), 0.25) == [1, 2, 3, 4]


def test_old_ones_alone_go_in_order() -> None:
    assert order(Rows(s1=OLD, s2=OLD, s3=OLD), 0.25) == [1, 2, 3]


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0.0, [5, 6, 7, 8, 1, 2, 3, 4]),
        (0.5, [5, 1, 6, 2, 7, 3, 8, 4]),
        (1.0, [1, 2, 3, 4, 5, 6, 7, 8]),
    ],
)
def test_the_share_says_how_often_an_old_one_goes(share: float, expected: list[int]) -> None:
    rows = Rows(s1=OLD, s2=OLD, s3=OLD, s4=OLD, s5=0.0, s6=0.0, s7=0.0, s8=0.0)
    assert order(rows, share) == expected


def test_an_empty_outbox_is_asked_little() -> None:
    rows = Rows()
    assert order(rows, 0.25) == []
    assert rows.questions <= 2


def test_a_row_that_comes_back_is_found_although_later_ones_have_gone() -> None:
    rows = Rows(s5=0.0, s6=0.0)
    lanes = Lanes(rows, share=0.25)
    assert [lanes.next().seq, lanes.next().seq] == [5, 6]  # type: ignore[union-attr]
    rows.ages_s[2] = OLD
    row = lanes.next()
    assert row is not None
    assert row.seq == 2
