"""Faults of the API."""

from __future__ import annotations

from tests.faults.fault import Fault, Scene, nothing
from tests.faults.stack import Form

BURST = ("short",) * 8


def kill(scene: Scene) -> None:
    scene.stack.api.kill()


def stop(scene: Scene) -> None:
    scene.stack.api.stop()


def terminate(scene: Scene) -> None:
    scene.stack.api.terminate()


API_FAULTS: dict[str, Fault] = {
    "none": Fault("nothing happens, for comparison", nothing, nothing),
    "api-killed": Fault(
        "SIGKILL of the API while jobs are submitted",
        kill,
        within_s=0.4,
        jobs=BURST,
        is_burst=True,
        controls=0.6,
        is_quick=True,
    ),
    "api-killed-embedded": Fault(
        "SIGKILL of the API while it writes to SQLite",
        kill,
        form=Form.embedded,
        within_s=0.4,
        jobs=BURST,
        is_burst=True,
        controls=0.6,
    ),
    "api-stopped": Fault("the API stands still for seconds (SIGSTOP)", stop, holds_s=(1.0, 5.0)),
    "api-terminated": Fault("SIGTERM of the API while clients wait and a stream is open", terminate),
}
