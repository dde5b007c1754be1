"""The native engines, imported late and without their telemetry.

The released onnxruntime (since 1.29) and onnxruntime-genai report model loads, generations and a device id to their
vendor unless ``ORT_DISABLE_TELEMETRY`` is set before the library is loaded: measured, a name look-up within seconds and
a store of events under the user's cache. Nothing leaves this process that no label allowed, so every import of them
goes through here, and every child process gets ``MUTE``. OpenVINO's Python package does the same in its first import, to
an analytics service, with an id below the user's home, through a package of its own (``openvino_telemetry``).
"""

from __future__ import annotations

import os
import sys
from typing import Any

from domicile.errors import MissingExtra

MUTE = {"ORT_DISABLE_TELEMETRY": "1"}


def import_onnxruntime() -> Any:
    """The module ``onnxruntime``."""
    os.environ.update(MUTE)
    import onnxruntime

    # Where somebody else imported it before us, this stops at least what comes from now on.
    onnxruntime.disable_telemetry_events()
    return onnxruntime


def import_onnxruntime_genai() -> Any:
    """The module ``onnxruntime_genai``, which loads onnxruntime's library, too."""
    os.environ.update(MUTE)
    import onnxruntime_genai

    onnxruntime_genai.disable_telemetry_events()
    return onnxruntime_genai


def import_openvino() -> Any:
    """The module ``openvino``.

    Raises:
        MissingExtra: it is not installed.
    """
    # As if its reporter were not installed, a case that it knows: no environment variable stops it.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ModuleNotFoundError as error:
        if error.name != "openvino":
            raise
        raise MissingExtra("openvino", "openvino") from None
    return openvino
