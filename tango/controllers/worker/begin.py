"""A worker's controller from its start: the same for the daemon and for a replay."""

from __future__ import annotations

from tango.controllers.worker.controller import WorkerController
from tango.model.starts import WorkerStart


def begin(start: WorkerStart) -> WorkerController:
    """Ready for its first event."""
    return WorkerController(
        start.settings,
        incarnation=start.incarnation,
        key=start.key,
        capacity=start.capacity,
        enforcement=start.enforcement,
        features=start.features,
        checkpoints=start.checkpoints,
        checkpoint_note=start.checkpoint_note,
        seed=start.seed,
        cores=start.cores,
        cores_note=start.cores_note,
        loopback=start.loopback,
    )
