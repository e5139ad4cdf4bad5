"""The supervisor's wire protocol, version 1: the contract that the worker's adapter is written to.

Transport
    Unix stream socket, mode 0600, DIR/supervisor.sock unless --socket says otherwise. A peer whose
    uid is neither the supervisor's nor root's is disconnected. One JSON object a line, UTF-8, ended
    by "\\n"; a request line holds at most 1 MiB. Requests of one connection are taken in order;
    `start` answers when the program has begun, and later requests may be answered before it. At
    most 16 connections: one more is answered {"id": null, "ok": false, "code": "LIMIT"} and closed.
    A client that does not read is not read from either once 256 KiB wait for it, and disconnected
    once events make that more than 1 MiB: then connect again, subscribe, list.

Messages
    request   {"id": int, "op": str, ...}                   an unknown field is refused (INVALID)
    reply     {"id": int, "ok": true, ...}
    refusal   {"id": int|null, "ok": false, "code": CODE, "error": text for people, ...}
    event     {"event": "started"|"exited", ...record}      on connections that subscribed

    CODE: INVALID (+ "field")  malformed; nothing was done
          TOO_LONG             request line above 1 MiB; the connection is closed
          NOT_FOUND            no record of that key
          GONE                 the key was acknowledged before; it is never started again
          RUNNING              `ack` of what has not ended
          ENDED                `checkpoint` of what does not run, or ended meanwhile
          CHECKPOINT_FAILED    the attempt goes on; the text has the end of CRIU's log
          UNAVAILABLE          CRIU does not work here
          CGROUP_BUSY          a cgroup_dir holds processes, or belongs to another attempt
          LIMIT                too many records, attempts or connections
          SPAWN_FAILED (+ "step", "field", "errno")  it could not begin; nothing is left behind
          STOPPING             the supervisor is shutting down
          INTERNAL             the state directory could not be written, or a fault of ours (stderr
                               has it); a start answered so did not run
    id is null where the request's could not be read. "field" is absent where no field is to blame.
    step: fork, rlimit, oom_score_adj, cgroup, autogroup, nice, user, cwd, sched_idle, exec, spawn,
    restore, stopped. errno: a number, 0 if there is none.

Record (every field always present; null where not known, or not ended yet)
    key             attempt id, [A-Za-z0-9._-]{1,128}
    state           "running" | "stopping" | "ended"
    pid, start_time, boot_id    start_time: field 22 of /proc/PID/stat, clock ticks since boot
    started_at      unix seconds
    argv, cwd, cgroup_dirs, stop_signal
    meta            the start's, {} where there was none
    log             absolute path; rotated ones beside it: LOG.1 (newest) .. LOG.(files-1)
    log_max_bytes, log_files    the log's size on disk is at most log_max_bytes * log_files
    log_lost_bytes  output dropped since the disk refused it
    adopted         true when this supervisor found it running at its own start
    exit_code       0..255 | null
    signal          number | null
    marker          key of the attempt that its processes were first started as, null for its own
    restoring       true until a start from a checkpoint is complete
    source          {"root", "key"} of the checkpoint that it started from
    checkpoint      {"root", "pid", "start_time"} of one under way; "digest", "bytes" once sealed
    reason          "exited" | "signalled" | "checkpointed" (its images were sealed, then it was
                    killed) | "stopped" (a stop came first; exit_code and
                    signal say how it went) | "shutdown" (the same, of the supervisor; it would
                    have gone on) | "lost" (nobody saw how it ended: no supervisor was
                    there, or it was adopted on a kernel before 6.15)
    cpu_s           user + system seconds of the process and of the children that it waited for
    max_rss_bytes   of the largest of them (never below the supervisor's own size at the fork);
                    cpu_s and max_rss_bytes are null when lost or adopted
    ended_at        unix seconds
    leftover        processes of its tree that SIGKILL did not end in 5 s (stuck in the kernel)

Operations
    hello -> {"version": 1, "pid", "boot_id", "incarnation", "started_at", "state_dir"}
        incarnation grows with every start of the supervisor in this state directory.
    start {"key", "argv": [str, ...], "env": {str: str}, ...} -> {"record", "duplicate": bool}
        Optional, null for the default:
        "cwd": absolute path ("/");
        "procs_files": [absolute .../cgroup.procs, ...] ([]), entered in order before exec;
        "cgroup_dirs": the parents of procs_files that belong to this attempt alone (all of them):
            whatever lives there, or below, dies with it. Give [] for groups that are shared;
        "uid", "gid": both or neither; supplementary groups are dropped;
        "nice": -20..19; "sched_idle": bool (false); "autogroup_nice": -20..19;
        "oom_score_adj": -1000..1000 (the supervisor's own, but never below 0);
        "log": {"max_bytes": 4096..2^40 (16 MiB), "files": 1..100 (4)};
        "stop_signal": 1..64 (15); "rlimits": {"nofile": int, "core": int} (the supervisor's own);
        "meta": {str: str} ({}), 16 KiB at most: kept with the record for who asks later.
        env is the whole environment: nothing is inherited but TANGO_ATTEMPT=key, which is added. It
        is neither written to disk nor shown. argv[0] is looked up in env's PATH, else in
        /usr/local/bin:/usr/bin:/bin; stdin is /dev/null; stdout and stderr go to the log; session,
        signal dispositions and umask (022) are fresh. A key runs once: a repeated start answers
        "duplicate": true with the record as it is now, GONE after its acknowledgement (the last
        4096 keys are remembered), and while the first one is still under way both get the answer.
        After a refusal the same key may be started again.
        "restore": {"root": absolute directory, "key", "digest", "limit_s": 0..3600 (120)}: begin
            from the checkpoint ROOT/KEY of that digest instead of from argv, by CRIU, in these
            groups and with this log; env, priorities and limits are those of the checkpoint. uid
            and gid must be those that it ran with, and its process id free. Once it runs the
            checkpoint is removed.
    criu -> {"version"}
        Whether CRIU works here: else UNAVAILABLE, and "error" says why.
    checkpoint {"key", "root": absolute directory, "max_bytes": int (2 GiB),
                "limit_s": 0..3600 (120)} -> {"checkpoint": {"digest", "bytes"}}
        Writes the images of a running attempt to ROOT/KEY and ends it with the reason
        "checkpointed"; `exited` follows. CHECKPOINT_FAILED: it goes on running, and nothing is left
        in ROOT. A repeat, also at the next supervisor, gets the answer of the one under way, or of
        the one that was sealed.
    stop {"key", "grace_s": 0..3600 (10), "signal": 1..64 (the start's stop_signal)} -> {"record"}
        Answers at once; `exited` follows. The signal goes to the whole tree, then SIGCONT, and
        SIGKILL to what is left after grace_s. A repeat sends again and can only shorten the grace.
        Ended: the record. Not begun yet: it is killed, "record" is null, and `start` answers
        SPAWN_FAILED (step "stopped"), or the attempt just began and ends as "stopped". A stop is
        not remembered by a supervisor that is started again: send it again.
    list {"after": key|null, "limit": 1..1000 (1000)} -> {"records": [...], "next": key|null}
        Running, stopping, and ended but not acknowledged, by key, in pages of about 256 KiB: ask
        again with "after": next until next is null. What has not begun is not listed.
    ack {"key", "keep_log": bool (true)} -> {"duplicate": bool}
        Forgets an ended record. Kept logs of acknowledged attempts are deleted, oldest first,
        beyond 256 attempts or 512 MiB. Acknowledged before: "duplicate": true.
    subscribe -> {}
        From now on events come on this connection. Subscribe first, then list: no end is missed.
    shutdown {"grace_s": 0..3600 (10)} -> {"runs": int}
        No more starts; every tree gets its stop signal, after grace_s SIGKILL; then the supervisor
        removes its socket and exits 0, or 1 when processes survived SIGKILL. Ends stay on disk.

`started` follows the reply to the start. `exited` is sent when the whole tree is gone, not only its
first process: then the group can be removed and its capacity given away. What a process leaves
behind when it ends by itself is killed at once. The end is on disk before it is told; where the
disk refuses (full), it is told all the same and written again every second.

Process: SIGTERM and SIGINT are a shutdown with --grace; a second one makes it grace 0. SIGHUP is
ignored. After kill -9 the next supervisor adopts what still runs (same pid, start time and boot)
and reads on from its output. Exit status 1 with one line on stderr: another instance holds
DIR/lock, or DIR or the socket cannot be used; 2: wrong arguments. stderr: one JSON line an event.
"""

from __future__ import annotations

import json

TYPE_CHECKING = False  # typing itself would cost 0.8 MiB
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]

VERSION = 1
MAX_LINE = 1 << 20
MAX_CLIENTS = 16
OUTPUT_PAUSE = 256 << 10
OUTPUT_LIMIT = 1 << 20
PAGE_BYTES = 256 << 10
MAX_ARGV_BYTES = 128 << 10  # as JSON; keeps a record, and with it a page and an event, bounded
MAX_META_BYTES = 16 << 10
MAX_RUNS = 1024
MAX_RECORDS = 4096
REMEMBERED_ACKS = 4096
KEPT_LOGS = 256
KEPT_LOG_BYTES = 512 << 20


class Refused(Exception):
    """A request that is answered with ok: false; `extra` goes into the reply too."""

    def __init__(self, code: str, error: str, **extra: object) -> None:
        super().__init__(error)
        self.code = code
        self.error = error
        self.extra = extra

    def reply(self, request_id: int | None) -> Json:
        """The refusal as it goes over the wire."""
        return {
            "id": request_id,
            "ok": False,
            "code": self.code,
            "error": self.error,
            **self.extra,
        }


def invalid(field: str, problem: str) -> Refused:
    """An INVALID refusal that names the field."""
    return Refused("INVALID", f"{field}: {problem}", field=field)


def encode(message: Json) -> bytes:
    """One line, ASCII, newline included."""
    return json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n"


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def decode(line: bytes) -> Json:
    """A request line as an object; Refused INVALID when it is anything else."""
    try:
        message = json.loads(line.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as problem:  # UnicodeDecodeError is a ValueError
        raise Refused("INVALID", f"not a JSON line: {problem}"[:300]) from None
    if not isinstance(message, dict):
        raise Refused("INVALID", f"a request is a JSON object, not {type(message).__name__}")
    return message
