"""The label of a document: everything that speaks of it, joined."""

from __future__ import annotations

import hashlib
import json
import stat
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize

from domicile import labels
from domicile.domain import Collection, Label
from domicile.errors import LabelError
from domicile.labels import PartialLabel, Regions
from domicile_ingest.sources import SIDECAR, printable

MAX_SIDECAR_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Labeller:
    """Joins the collection's label, the rules that match, the sidecar and what the document says of itself.

    Attributes:
        rules: (glob over the file's relative path, label).
        sidecars: label files by the relative path of what they speak of.
    """

    collection: Collection
    regions: Regions
    own: PartialLabel
    rules: tuple[tuple[str, PartialLabel], ...]
    sidecars: Mapping[str, Path]

    def outside(self, file: str) -> tuple[list[PartialLabel], list[str]]:
        """What is said of a file without opening it, and warnings."""
        found = [self.own, *(label for glob, label in self.rules if _matches(file, glob))]
        if (sidecar := self.sidecars.get(file)) is None:
            return found, []
        try:
            return [*found, labels.parse(_read_sidecar(sidecar), self.regions)], []
        except (OSError, ValueError, RecursionError, LabelError) as error:
            warning = f"{file}{SIDECAR}: {error}: the label of {file} is the most restrictive one"
            return [*found, labels.MALFORMED], [warning]

    def state(self, outside: Sequence[PartialLabel]) -> str:
        """A hash of what is said outside, to see whether a document must be labelled anew.

        The known regions are part of it: the label inside a document means something else once they change.
        """
        joined = labels.join_partial(outside)
        whole = labels.complete(joined, self.collection.groups)
        missing = [getattr(joined, field) is None for field in labels.FIELDS]
        regions = {name: sorted(leaves) for name, leaves in sorted(self.regions.groups.items())}
        return hashlib.sha256(json.dumps([labels.to_record(whole), missing, regions]).encode()).hexdigest()

    def whole(self, outside: Sequence[PartialLabel]) -> PartialLabel:
        """What is said outside, with what nobody says as the most restrictive value."""
        whole = labels.complete(labels.join_partial(outside), self.collection.groups)
        return PartialLabel(**{field: getattr(whole, field) for field in labels.FIELDS})

    def label(
        self, uri: str, outside: list[PartialLabel], *inside: Mapping[str, object] | None
    ) -> tuple[Label, list[str]]:
        """The whole label and warnings; a malformed part makes all of it the most restrictive one.

        Args:
            inside: what the document, or whoever brought it, declares; ``None`` declares nothing.
        """
        warnings: list[str] = []
        sources = list(outside)
        for declared in inside:
            if declared is None:
                continue
            try:
                sources.append(labels.parse(declared, self.regions))
            except LabelError as error:
                sources.append(labels.MALFORMED)
                warnings.append(f"{uri}: {error}: its label is the most restrictive one")
        return labels.complete(labels.join_partial(sources), self.collection.groups), warnings

    def orphans(self, files: frozenset[str]) -> list[str]:
        """Warnings for sidecars that speak of nothing."""
        missing = [printable(file) for file in sorted(self.sidecars.keys() - files)]
        return [f"{file}{SIDECAR}: there is no {file}" for file in missing]


def _read_sidecar(path: Path) -> dict[str, object]:
    status = path.lstat()  # neither a link out of the source nor a pipe, which would block
    if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_SIDECAR_BYTES:
        raise LabelError("label", f"must be a plain file of at most {MAX_SIDECAR_BYTES:,} bytes")
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _matches(file: str, glob: str) -> bool:
    from wcmatch.glob import DOTGLOB, GLOBSTAR, globmatch

    # a name may come with its accents apart, and is then another text than the rule that a person typed
    return bool(globmatch(normalize("NFC", file), normalize("NFC", glob), flags=GLOBSTAR | DOTGLOB))
