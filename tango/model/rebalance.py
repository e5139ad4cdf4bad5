"""When replicas move for balance's sake after a node has joined or returned, and how many."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RebalanceRule:
    """[edge.rebalance].

    settle_s: from the latest node that joined, returned or was taken into service again.
    max_moves: replicas of the site on the move at a time.
    min_gain: points, of 100, that the other node must score above the present one; a node with two
    replicas of the service less need not.
    patience_s: a successor that is not ready by then goes again, and the replica stays.
    """

    enabled: bool = True
    settle_s: float = 10.0
    max_moves: int = 1
    min_gain: float = 10.0
    patience_s: float = 60.0
