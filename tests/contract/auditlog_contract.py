"""What every audit log keeps. A test class inherits this and gives the fixture ``log``."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from domicile.errors import AuditUnavailable, UnknownReceipt
from domicile.ports import AuditLog

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@dataclass(slots=True)
class Wall:
    """A clock that tests move."""

    now: datetime = NOON

    def __call__(self) -> datetime:
        return self.now

    def go_on(self, **by: float) -> None:
        self.now += timedelta(**by)


@dataclass(frozen=True, slots=True)
class Log:
    """A log, its clock, and what makes its disk refuse and take again."""

    log: AuditLog
    wall: Wall
    refuse: Callable[[], None]
    heal: Callable[[], None]


class AuditLogContract:
    def test_a_record_is_found_as_it_was_appended(self, log: Log) -> None:
        body = {
            "question_sha256": "ab",
            "label": {"regions": ["eu"]},
            "cost": 0.25,
            "ünïcode\u2028": [None, True],
            "n": 3,
        }
        made = log.log.append("answer", body)
        log.wall.go_on(seconds=2)
        other = log.log.append("egress", {})
        assert (made.seq, made.kind, dict(made.body)) == (1, "answer", body)
        assert datetime.fromisoformat(made.at) == NOON
        assert other.seq == 2
        assert datetime.fromisoformat(other.at) == NOON + timedelta(seconds=2)
        assert log.log.find(made.id) == made
        assert log.log.find(other.id) == other
        assert re.fullmatch("r_[0-9a-f]{31}", made.id)
        assert re.fullmatch("e_[0-9a-f]{31}", other.id)
        assert re.fullmatch("[0-9a-f]{64}", made.hash)
        assert re.fullmatch("[0-9a-f]{128}", made.signature)

    @pytest.mark.parametrize(
        "unknown", ["", "r_", "r_" + "0" * 31, "r_" + "f" * 31, "e_../../etc/passwd", "r_" + "F" * 31, "x" * 5_000]
    )
    def test_what_was_not_appended_is_unknown(self, log: Log, unknown: str) -> None:
        with pytest.raises(UnknownReceipt):
            log.log.find(unknown)
        log.log.append("answer", {})
        with pytest.raises(UnknownReceipt):
            log.log.find(unknown)

    def test_among_many_of_the_same_and_of_other_moments_each_is_found(self, log: Log) -> None:
        made = []
        for number in range(60):
            made.append(
                log.log.append("answer" if number % 3 else "start", {"number": number, "x": "x" * (number * 7)})
            )
            log.wall.go_on(milliseconds=number % 4 // 2)
        assert [log.log.find(record.id) for record in made] == made
        assert [record.seq for record in made] == list(range(1, 61))
        assert len({record.hash for record in made}) == 60

    def test_threads_append_each_record_once(self, log: Log) -> None:
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(lambda number: log.log.append("egress", {"number": number}), range(80)))
        assert sorted(record.seq for record in made) == list(range(1, 81))
        assert [record.body["number"] for record in made] == list(range(80))
        assert all(log.log.find(record.id) == record for record in made)

    def test_moments_never_go_back_though_the_clock_does(self, log: Log) -> None:
        log.log.append("answer", {})
        log.wall.go_on(days=-3652)
        made = [log.log.append("answer", {"number": number}) for number in range(5)]
        log.wall.go_on(days=3653)
        made.append(log.log.append("answer", {}))
        moments = [record.at for record in made]
        assert moments == sorted(moments)
        assert datetime.fromisoformat(moments[0]) >= NOON
        assert datetime.fromisoformat(moments[-1]) == NOON + timedelta(days=1)
        assert [log.log.find(record.id) for record in made] == made

    @pytest.mark.parametrize("body", [{"x": float("nan")}, {"x": {1, 2}}, {"id": "r_1"}, {"prev": ""}, {"x": b"bytes"}])
    def test_what_is_no_body_is_refused_and_harms_nobody(self, log: Log, body: dict[str, object]) -> None:
        with pytest.raises((ValueError, TypeError)):
            log.log.append("answer", body)
        assert log.log.append("answer", {}).seq == 1

    def test_a_disk_that_refuses_takes_nothing_and_later_everything(self, log: Log) -> None:
        first = log.log.append("egress", {})
        assert log.log.trouble() is None
        log.refuse()
        for _ in range(2):
            with pytest.raises(AuditUnavailable) as refused:
                log.log.append("egress", {"lost": True})
            assert log.log.trouble() == str(refused.value)
            assert "\n" not in str(refused.value)
        assert log.log.find(first.id) == first  # reading goes on
        log.heal()
        made = log.log.append("egress", {})
        assert made.seq == 2
        assert log.log.trouble() is None
