"""What answers cost: sums of the ledger, and what a month of them would cost here and with each sink. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from domicile.labels import LOCAL
from domicile.policy import Sink
from domicile.ports import Total

GROUPS: Mapping[str, Callable[[Total], str]] = {
    "sink": lambda total: total.sink,
    "tenant": lambda total: total.tenant,
    "key": lambda total: f"{total.tenant}/{total.key}",
    "collection": lambda total: total.collection,
    "model": lambda total: total.model,
    "day": lambda total: total.day.isoformat(),
}
"""What a report may be grouped by."""
HOURS_OF_A_MONTH = 730
_NOT_GENERATED = ("cache", "extractive")


@dataclass(frozen=True, slots=True)
class Spending:
    """Sums over some totals, all in one currency; see ``Total``."""

    currency: str
    calls: int
    answers: int
    estimated: int
    prompt_tokens: int
    completion_tokens: int
    cpu_seconds: float
    amount: float
    highest: float

    @classmethod
    def of(cls, totals: Sequence[Total]) -> Spending:
        """The sums of one total or more."""
        return cls(
            totals[0].currency,
            sum(total.calls for total in totals),
            sum(total.answers for total in totals),
            sum(total.estimated for total in totals),
            sum(total.prompt_tokens for total in totals),
            sum(total.completion_tokens for total in totals),
            sum(total.cpu_seconds for total in totals),
            sum(total.amount for total in totals),
            max(total.highest for total in totals),
        )

    def per_answer(self, whole: float) -> float | None:
        """A share of each answer; ``None`` where there is none."""
        return whole / self.answers if self.answers else None

    def to_json(self) -> dict[str, object]:
        return {**asdict(self), "mean": self.per_answer(self.amount)}


@dataclass(frozen=True, slots=True)
class Place:
    """What a month would cost in one place; ``None`` where nothing was measured.

    Attributes:
        name: of the sink, or ``local``.
        each: an answer.
        month: all of them.
        cpu_hour: of a core, at which an answer costs as much here; a cheaper core makes it cheaper here.
        answers: in a month, from which a core that is paid all month, used or not, costs less than this sink.
    """

    name: str
    each: float | None
    month: float | None
    cpu_hour: float | None = None
    answers: float | None = None


@dataclass(frozen=True, slots=True)
class Projection:
    """What a month of ``volume`` answers would cost, everything in one place.

    Attributes:
        measured: ``hosted``, ``local`` (the tokenizer of the local model counts otherwise than a provider's), or
            ``nothing``.
        prompt_tokens, completion_tokens: the mean of an answer.
        cpu_seconds: the mean of an answer that the local model generated.
    """

    volume: int
    currency: str
    measured: str
    prompt_tokens: float | None
    completion_tokens: float | None
    cpu_seconds: float | None
    places: tuple[Place, ...]


def grouped(totals: Iterable[Total], by: str) -> list[tuple[str, Spending]]:
    """The totals summed by one of ``GROUPS``, each currency apart."""
    found: dict[tuple[str, str], list[Total]] = {}
    for total in totals:
        found.setdefault((GROUPS[by](total), total.currency), []).append(total)
    return [(name, Spending.of(found[name, currency])) for name, currency in sorted(found)]


def project(totals: Iterable[Total], sinks: Iterable[Sink], volume: int, currency: str, cpu_hour: float) -> Projection:
    """What ``volume`` answers a month would cost here, and with each sink at its declared price.

    Args:
        currency: of the prices; what was booked in another one does not count.
        cpu_hour: money for an hour of one core.
    """
    generated = [total for total in totals if total.model not in _NOT_GENERATED and total.currency == currency]
    hosted = _sum(total for total in generated if total.sink != LOCAL)
    local = _sum(total for total in generated if total.sink == LOCAL)
    basis = hosted or local
    prompt = None if basis is None else basis.per_answer(basis.prompt_tokens)
    completion = None if basis is None else basis.per_answer(basis.completion_tokens)
    seconds = None if local is None else local.per_answer(local.cpu_seconds)
    own = None if seconds is None else seconds / 3600 * cpu_hour
    places = [Place(LOCAL, own, None if own is None else own * volume)]
    for sink in sinks:
        if sink.price is None:
            continue
        each = None
        if basis is not None:
            each = basis.per_answer(sink.price.of(basis.prompt_tokens, basis.completion_tokens))
        if not each:  # free, or nothing measured: there is nothing to break even with
            places.append(Place(sink.name, each, each and each * volume))
            continue
        rate = each / (seconds / 3600) if seconds else None
        places.append(Place(sink.name, each, each * volume, rate, HOURS_OF_A_MONTH * cpu_hour / each))
    measured = "hosted" if hosted else "local" if local else "nothing"
    return Projection(volume, currency, measured, prompt, completion, seconds, tuple(places))


def _sum(totals: Iterable[Total]) -> Spending | None:
    found = list(totals)
    spending = Spending.of(found) if found else None
    return spending if spending is not None and spending.answers else None
