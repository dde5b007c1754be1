"""One healthy system for all plants: to ingest and to ask it costs most of the time."""

from __future__ import annotations

from pathlib import Path

import pytest
from gate.healthy import Healthy, make_healthy


@pytest.fixture(scope="session")
def healthy(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Healthy:
    return make_healthy(tmp_path_factory.mktemp("gate"), models_dir)
