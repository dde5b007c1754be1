"""The exact changeset of a run, before it: what a person can review and ``run --plan`` then does, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from domicile.errors import UsageError

_Strict = ConfigDict(extra="forbid", frozen=True)


class PlannedChange(BaseModel):
    """What happens to one document.

    Attributes:
        digest: sha256 of the bytes that were planned for; ``None`` for a deletion.
        chunks: passages that it has then.
        embed: of these, those whose vectors are not known.
    """

    model_config = _Strict
    document: str
    action: Literal["add", "change", "delete"]
    digest: str | None = None
    chunks: int = 0
    embed: int = 0


class PlannedFailure(BaseModel):
    model_config = _Strict
    document: str
    kind: str
    reason: str


class Plan(BaseModel):
    """What ``ingest run`` with the same arguments would do now.

    Attributes:
        generation: that the plan starts from; 0 where there is none.
        source: as an absolute path.
        unerase: erased documents come back.
    """

    model_config = _Strict
    collection: str
    generation: int
    source: str
    unerase: bool = False
    documents: Mapping[str, int]
    failures: tuple[PlannedFailure, ...] = ()
    warnings: tuple[str, ...] = ()
    changes: tuple[PlannedChange, ...] = ()
    chunks: int = Field(description="passages that would be written")
    embed: int = Field(description="passages that would be embedded")
    seconds: float

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a plan that was saved.

        Raises:
            UsageError: it cannot be read, or is none.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise UsageError(f"--plan {path}: {error.strerror}") from None
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "content"
            raise UsageError(
                f"--plan {path}: is no plan of `domicile ingest plan --json`: {where}: {first['msg']}"
            ) from None

    @property
    def wanted(self) -> dict[str, str | None]:
        """The digest of every document that is to be added or changed."""
        return {change.document: change.digest for change in self.changes if change.action != "delete"}

    @property
    def deleted(self) -> list[str]:
        return [change.document for change in self.changes if change.action == "delete"]
