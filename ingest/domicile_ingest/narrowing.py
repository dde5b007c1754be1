"""What is said of documents now, where the run that read it was refused: labels that became narrower do not wait for a gate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from domicile import labels
from domicile.domain import Collection
from domicile.labels import PartialLabel
from domicile.ports import Commit, IndexWriter


@dataclass(frozen=True, slots=True)
class Said:
    """A label that a stored document is to have joined in, and the state that it then has."""

    label: PartialLabel
    state: str


def narrow_stored(writer: IndexWriter, collection: Collection, said: Mapping[str, Said]) -> Commit | None:
    """Give stored documents what is said of them, as far as it is narrower than their labels; all else stays as it is.

    Returns:
        The generation that this made; ``None`` where every label is as narrow already.

    Raises:
        WriterBusy, StorageError: see ``IndexWriter``.
    """
    with writer.change(collection, None) as change:
        narrower = 0
        for uri, one in said.items():
            stored = change.document(uri)
            if stored is not None and labels.narrow(stored.label, one.label) != stored.label:
                change.relabel(uri, partial(labels.narrow, flags=one.label), one.state)
                narrower += 1
        # without a commit the vectors of what was refused stay remembered
        return change.commit() if narrower else None
