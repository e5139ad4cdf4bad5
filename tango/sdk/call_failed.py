"""The error of a call that no replica answered."""

from __future__ import annotations

from tango.model.errors import TangoError
from tango.model.request import CallReply


class CallFailed(TangoError):
    """A call that no replica answered; `reply` says why and whether it may have run."""

    def __init__(self, reply: CallReply) -> None:
        self.reply = reply
        super().__init__(f"{reply.code.value}: {reply.error}")
