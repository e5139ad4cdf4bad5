"""Converts pb2 <-> model: checkpoints, their pieces on the way, and what asks for them."""

from __future__ import annotations

from tango.model.job import Checkpoint, CheckpointPart
from tango.model.messages import ForgetCheckpoints, OpenCheckpoint
from tango.v1 import types_pb2 as pb


def checkpoint_to_pb(checkpoint: Checkpoint | None) -> pb.Checkpoint | None:
    """Field by field; unset where there is none."""
    if checkpoint is None:
        return None
    return pb.Checkpoint(
        attempt_id=checkpoint.attempt_id,
        digest=checkpoint.digest,
        size_bytes=checkpoint.size_bytes,
        edge=checkpoint.edge,
        node=checkpoint.node,
    )


def checkpoint_from_pb(message: pb.Checkpoint) -> Checkpoint:
    """Field by field."""
    return Checkpoint(
        message.attempt_id, message.digest, message.size_bytes, message.edge, message.node
    )


def checkpoint_part_to_pb(part: CheckpointPart) -> pb.CheckpointPart:
    """Field by field."""
    return pb.CheckpointPart(manifest=part.manifest, data=part.data, last=part.last)


def checkpoint_part_from_pb(message: pb.CheckpointPart) -> CheckpointPart:
    """Field by field."""
    return CheckpointPart(message.manifest, message.data, message.last)


def open_checkpoint_to_pb(wish: OpenCheckpoint) -> pb.OpenCheckpoint:
    """Field by field."""
    return pb.OpenCheckpoint(
        transfer_id=wish.transfer_id, checkpoint=checkpoint_to_pb(wish.checkpoint)
    )


def open_checkpoint_from_pb(message: pb.OpenCheckpoint) -> OpenCheckpoint:
    """Field by field."""
    return OpenCheckpoint(message.transfer_id, checkpoint_from_pb(message.checkpoint))


def forget_checkpoints_to_pb(forget: ForgetCheckpoints) -> pb.ForgetCheckpoints:
    """Field by field."""
    return pb.ForgetCheckpoints(node=forget.node, attempt_ids=forget.attempt_ids)


def forget_checkpoints_from_pb(message: pb.ForgetCheckpoints) -> ForgetCheckpoints:
    """Field by field."""
    return ForgetCheckpoints(message.node, tuple(message.attempt_ids))
