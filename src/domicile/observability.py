"""The four golden signals (traffic, errors, latency, saturation) and what answers are made of, for Prometheus.

Every label value comes from a fixed set, or is the name of a declared sink: no question, document, key or path is ever one.
"""

from __future__ import annotations

from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from domicile.domain import Answer, Note, SearchResult
from domicile.jobs import JobState, QueueFigures

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The metrics of one application, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "domicile_requests_total",
            "Requests by route and status.",
            ["route", "method", "status"],
            registry=self._registry,
        )
        self.latency = Histogram(
            "domicile_request_seconds",
            "Time until the last byte, by route.",
            ["route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.in_flight = Gauge("domicile_requests_in_flight", "Requests being served.", registry=self._registry)
        self.rejected = Counter(
            "domicile_requests_rejected_total",
            "Requests refused because a bounded queue was full.",
            registry=self._registry,
        )
        self.stages = Histogram(
            "domicile_stage_seconds",
            "Time in each stage of a search or an answer.",
            ["stage"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.answers = Counter(
            "domicile_answers_total",
            "Answers by route, grounding and degradation.",
            ["route", "grounded", "abstained", "degraded"],
            registry=self._registry,
        )
        self.notes = Counter(
            "domicile_notes_total",
            "Searches and answers that had to do without something, by what they say of it.",
            ["note"],
            registry=self._registry,
        )
        self.tokens = Counter(
            "domicile_tokens_total", "Tokens of the language model.", ["kind"], registry=self._registry
        )
        self.denied = Counter(
            "domicile_sink_denied_total",
            "Times that a sink did not answer, by the first reason against it.",
            ["sink", "reason"],
            registry=self._registry,
        )
        self.money = Counter(
            "domicile_cost_total",
            "Money that answers cost, in the configured currency, by route.",
            ["route"],
            registry=self._registry,
        )
        self.busy = Gauge(
            "domicile_workers_busy", "Work running or waiting in a bounded pool.", ["pool"], registry=self._registry
        )
        self.capacity = Gauge(
            "domicile_workers_capacity", "Work that a bounded pool accepts.", ["pool"], registry=self._registry
        )

        self.jobs = Gauge(
            "domicile_ingestion_jobs",
            "Jobs of ingestion by state; ended ones are remembered for a while.",
            ["state"],
            registry=self._registry,
        )
        self.oldest_job = Gauge(
            "domicile_ingestion_oldest_queued_seconds",
            "How long the oldest queued job has waited.",
            registry=self._registry,
        )
        self.failed_documents = Gauge(
            "domicile_ingestion_documents_failed",
            "Documents that the last run of each collection listed as failed.",
            registry=self._registry,
        )

    def queued(self, figures: QueueFigures) -> None:
        for state in get_args(JobState):
            self.jobs.labels(state).set(figures.jobs.get(state, 0))
        self.oldest_job.set(figures.oldest_seconds)
        self.failed_documents.set(figures.failed_documents)

    def searched(self, result: SearchResult) -> None:
        self._time(result.timings_ms)
        self._note(result.notes)

    def answered(self, answer: Answer) -> None:
        self._time(answer.timings_ms)
        self._note(answer.notes)
        self.answers.labels(
            answer.decision.route, answer.grounded, str(answer.abstained).lower(), answer.degraded or ""
        ).inc()
        self.tokens.labels("prompt").inc(answer.usage.prompt_tokens)
        self.tokens.labels("completion").inc(answer.usage.completion_tokens)
        self.money.labels(answer.decision.route).inc(answer.cost.amount)
        for sink, reasons in answer.decision.denied:
            self.denied.labels(sink, reasons[0]).inc()

    def exposition(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def _note(self, notes: tuple[Note, ...]) -> None:
        for note in notes:
            self.notes.labels(note).inc()

    def _time(self, timings_ms: dict[str, float]) -> None:
        for stage, milliseconds in timings_ms.items():
            self.stages.labels(stage).observe(milliseconds / 1e3)
