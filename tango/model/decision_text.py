"""Decision records as sentences for people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tango.model import decision as form
from tango.model.decision import Decision, facts
from tango.model.units import format_cpu, format_memory

Facts = dict[str, Any]
# Rejected candidates that a sentence names; JSON has all that were recorded.
MAX_NAMED = 5


def sentence(record: Decision) -> str:
    """What was decided and why, as one sentence."""
    return said(record[2].kind, facts(record))


def said(kind: str, found: Facts) -> str:
    """As `sentence`, of facts that were read from a log. A kind of a later version is named."""
    tell = _SENTENCES.get(kind)
    return tell(found) if tell is not None else f"{kind}: {found}"


def millis(value: int | None) -> str:
    """Millicores for people; -1 is no quota."""
    if value is None:
        return "what it had"
    return "no quota" if value < 0 else format_cpu(value) + " CPU"


def ms(seconds: float | None) -> str:
    """Milliseconds for people."""
    return "any time" if seconds is None else f"{seconds * 1000:.1f} ms"


# ---- requests


def _choice(d: Facts) -> str:
    """Score, runner-up, what the node had, and who was rejected."""
    route, offer = d["route"], d["offer"]
    parts = [f"{d['policy']} scored it {route['score']:.4g} (lower is better)"]
    name, score = route["runner_up"]
    parts.append(f"before {name} with {score:.4g}" if name else "no other node could take it")
    parts += _rejected(route["rejected"])
    if offer is not None:
        slots = dict(map(tuple, offer["slots"])).get(route["service"], 0)
        parts.append(
            f"it had {slots} free slot{'s' * (slots != 1)} and {format_cpu(offer['cpu_millis'])} "
            f"CPU for LC, load {offer['load']:.0%}, {ms(offer['rtt_s'])} away"
        )
    return "; ".join(parts)


def _rejected(rejected: Sequence[Sequence[str]]) -> list[str]:
    """Candidates by why they were rejected."""
    by_why: dict[str, list[str]] = {}
    for name, why in rejected:
        by_why.setdefault(why, []).append(name)
    return [f"{_names(names)}: {why}" for why, names in by_why.items()]


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MAX_NAMED])
    return shown + (f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else "")


def _routed(d: Facts, to: str) -> str:
    return (
        f"request {d['request']} of {d['service']} was {to} after "
        f"{ms(d['queued_s'])} in the queue: {_choice(d)}"
    )


def _reject(d: Facts) -> str:
    text = f"request {d['request']} of {d['service']} was rejected on arrival: {d['error']}"
    grounds = d["grounds"]
    if grounds is not None:
        text += (
            f" ({grounds['queued']} queued, {grounds['busy']} being served, "
            f"{grounds['room']} free slots; {_predicted(grounds)})"
        )
    if d["retry_after_ms"]:
        text += f"; worth another try in {d['retry_after_ms']:.0f} ms"
    return text


def _predicted(grounds: Facts) -> str:
    deadline = f"deadline {ms(grounds['deadline_s'])}"
    if not grounds["service_s"]:
        return f"no request of it has been measured yet, {deadline}"
    return (
        f"predicted wait {ms(grounds['wait_s'])} + service {ms(grounds['service_s'])} + usual "
        f"error {ms(grounds['margin_s'])} against {deadline}"
    )


def _end(d: Facts) -> str:
    where = f" on {d['node']}" if d["node"] else ""
    text = f"request {d['request']} of {d['service']} ended{where} as {d['outcome']}"
    text += f" after {ms(d['total_s'])}, deadline {ms(d['deadline_s'])}"
    return text + (f": {d['error']}" if d["error"] else "")


# ---- replicas, attempts and nodes, at an edge


def _replica_place(d: Facts) -> str:
    text = f"replica {d['replica']} of {d['service']} was placed on {d['node']}"
    nodes = d["nodes"]
    chosen = next((node for node in nodes if node["node"] == d["node"]), None)
    if chosen is not None:
        text += f", which had {_of_service(chosen)} and {_free(chosen)} free for LC"
    choice = d.get("choice")
    if choice is not None:
        return "; ".join([text, *_marks(d["rule"], choice)])
    fitting = [node for node in nodes if node is not chosen and _fits(node, d)]
    if fitting:
        best = min(fitting, key=lambda n: (n["replicas"], -n["idle_bytes"], n["node"]))
        text += f"; next would have been {best['node']} with {_of_service(best)} and "
        text += f"{_free(best)}"
    full = [node["node"] for node in nodes if node is not chosen and not _fits(node, d)]
    if full:
        text += f"; {_names(full)}: less than {format_memory(d['memory_bytes'])} free"
    return text


def _marks(rule: str, choice: Facts) -> list[str]:
    """Score, runner-up, what each plugin said of both, and who was out of the question."""
    parts = [f"{rule} gave it {choice['score']:.1f} of 100"]
    name, score = choice["runner_up"]
    parts.append(f"before {name} with {score:.1f}" if name else "no other node would do")
    parts += _by_plugin(choice["scores"], against=bool(name))
    for why, count, nodes in choice["removed"]:
        more = f" and {count - len(nodes)} more" if count > len(nodes) else ""
        parts.append(f"{', '.join(nodes)}{more}: {why}")
    return parts


def _by_plugin(scores: Sequence[Sequence[Any]], *, against: bool) -> list[str]:
    """What each plugin gave the node, and the runner-up, if there is one."""
    said = [
        f"{plugin} {mine:.0f}" + (f" against {other:.0f}" if against else "") + f" (x{weight:g})"
        for plugin, weight, mine, other in scores
    ]
    return [", ".join(said)] if said else []


def _fits(node: Facts, d: Facts) -> bool:
    return bool(node["memory_bytes"] >= d["memory_bytes"])


def _of_service(node: Facts) -> str:
    count = node["replicas"]
    return f"{count or 'no'} replica{'s' * (count != 1)} of it"


def _free(node: Facts) -> str:
    return format_memory(max(0, node["memory_bytes"]))


def _asked(d: Facts) -> str:
    return (
        f"{format_cpu(d['cpu_millis'])} CPU and {format_memory(d['memory_bytes'])} asked, "
        f"{format_cpu(max(0, d['free_cpu_millis']))} CPU and "
        f"{format_memory(max(0, d['free_memory_bytes']))} free for BE"
    )


def _because(d: Facts) -> str:
    return f": {d['why']}" if d["why"] else ""


# ---- jobs


def _task(d: Facts) -> str:
    return f"attempt {d['attempt']} of job {d['job']}"


def _job_place(d: Facts) -> str:
    placement, offer = d["placement"], d["offer"]
    text = f"{_task(d)} was placed on {d['node']} of {d['site']}: {d['policy']} scored it "
    text += f"{placement['score']:.4g} (lower is better)"
    if d.get("cores"):
        text += f", with core {d['cores']} for itself"
    name, score = placement["runner_up"]
    parts = [f"before {name} with {score:.4g}" if name else "no other node could take it"]
    parts += _by_plugin(placement.get("scores", ()), against=bool(name))
    parts += _rejected(placement["rejected"])
    if offer is not None:
        unused = offer.get("reclaimable_millis", 0)
        parts.append(
            f"it asks for {format_cpu(d['cpu_millis'])} CPU and {format_memory(d['memory_bytes'])}"
            f" of {format_cpu(offer['cpu_millis'])} and {format_memory(offer['memory_bytes'])} free"
            + (f", and {format_cpu(unused)} that BE holds and does not use" if unused else "")
        )
    return "; ".join([text, *parts])


def _job_bound(d: Facts) -> str:
    text = f"task {d['task']} of job {d['job']}: {d['why']}"
    look = d.get("look")
    if d["backup"]:
        text += f", backup on {d['backup']}{_by_step(look) if look is not None else ''}"
    if look is None:
        return text
    parts = [f"{look['node']} had {format_memory(look['free_bytes'])} free"]
    if look["runner_up"]:
        parts[0] += f", {look['runner_up']} {format_memory(look['runner_up_bytes'])}"
    if look["bound_s"] is not None:
        near = ", ".join(f"{node} {ms(rtt_s)}" for node, rtt_s in look["inside"])
        more = look["n_inside"] - len(look["inside"])
        parts.append(
            f"within {look['bound_s'] * 1000:g} ms of {look['reference']}: {near or 'none'}"
            + (f" and {more} more" if more > 0 else "")
        )
    for why, count, nodes in look["removed"]:
        more = f" and {count - len(nodes)} more" if count > len(nodes) else ""
        parts.append(f"{', '.join(nodes)}{more}: {why}")
    return "; ".join([text, *parts])


def _by_step(look: Facts) -> str:
    """Where its room comes from, by the step of the algorithm (docs/delay.md)."""
    found = {
        3: " (room that was reserved already, step 3",
        4: " (room that was reserved already, for tasks of this node too, step 4",
        5: f" ({'more room than was reserved' if look['grew'] else 'newly reserved room'}, step 5",
    }.get(look["step"])
    if found is None:
        return ""
    others = look["shared"]
    return f"{found}, shared with {others or 'no'} other task{'s' * (others != 1)})"


def _job_end(d: Facts) -> str:
    why = f" ({d['why']})" if d["why"] else ""
    text = f"{_task(d)} ended on {d['node']} of {d['site']}{why}: the task is {d['task_state']}"
    if d["retry_s"]:
        text += f", to be tried again in {d['retry_s']:.1f} s"
    return text + f", the job {d['job_state']}"


# ---- on a node


def _resize(d: Facts) -> str:
    who = f"replica {d['replica']} of {d['service']}" if d["replica"] else f"service {d['service']}"
    before, after = d["before_millis"], millis(d["after_millis"])
    went = f"was set to {after}" if before is None else f"went from {millis(before)} to {after}"
    text = f"the CPU quota of {who} {went}"
    if d["after_millis"] < 0:
        return text
    text += f" in periods of {d['period_us'] / 1000:g} ms"
    if d["replica"]:
        text += f", made for {d['held']} requests with {d['in_flight']} in flight"
    else:
        text += f", the sum of its replicas', with {d['in_flight']} in flight"
    return text


def _attempt_end(d: Facts) -> str:
    if d["signal"]:
        how = f"by signal {d['signal']}"
    elif d["exit_code"] is None:
        how = "without an exit code"
    else:
        how = f"with exit code {d['exit_code']}"
    text = f"attempt {d['attempt']} ended {how} after {d['cpu_s']:.2f} s of CPU time"
    return text + (f": {d['failure']}" if d["failure"] else "")


def _suppress(d: Facts) -> str:
    before, after = d["before_millis"], d["after_millis"]
    less = before is None or after < before
    went = f"set to {millis(after)}" if before is None else f"from {millis(before)} to "
    went += "" if before is None else millis(after)
    return (
        f"BE's CPU was {'suppressed' if less else 'given back'}, {went}, with LC at "
        f"{millis(d['lc_millis'])} and at {millis(d['lc_peak_millis'])} at its peak{_because(d)}"
    )


def _evict(d: Facts) -> str:
    text = (
        f"attempt {d['attempt']} was evicted from {d['node']}{_because(d)}; it gives "
        f"{format_memory(d['memory_bytes'])} of the {format_memory(d['needed_bytes'])} needed"
    )
    text += "" if d["sufficient"] else f", all of BE gives {format_memory(d['freed_bytes'])}"
    text += f"; priority {d['priority']}, {d['lost_cpu_s']:.1f} s of CPU time lost"
    return "; ".join([text, *_rejected(d["spared"])])


def _assure(d: Facts) -> str:
    found = d["assessment"]
    before, after = (found["need_millis"] + found[key] for key in ("before_millis", "after_millis"))
    moved = f"went from {millis(before)} to {millis(after)}"
    text = f"CPU per request of {d['service']} on {d['node']} "
    text += f"stays {millis(after)}" if before == after else moved
    text += f" (declared {millis(found['need_millis'])}): {found['why']}"
    if found["slack"] is not None:
        text += f"; slack {found['slack']:.2f} over {found['samples']} requests"
        text += f", {found['node_slack']:.2f} without the queue"
    return text + ("; saturated" if found["saturated"] else "")


_SENTENCES: dict[str, Callable[[Facts], str]] = {
    form.ROUTE.kind: lambda d: _routed(d, f"routed to {d['node']}"),
    form.REJECT.kind: _reject,
    form.RETURN.kind: lambda d: (
        f"request {d['request']} of {d['service']} came back from {d['node']}, and is queued "
        f"again{_because(d)}"
    ),
    form.END.kind: _end,
    form.FORWARD.kind: lambda d: _routed(d, f"forwarded to {d['peer_node']} of site {d['site']}"),
    form.FORWARD_REFUSED.kind: lambda d: (
        f"site {d['site']} refused request {d['request']} of {d['service']}{_because(d)}"
    ),
    form.REPLICA_PLACE.kind: _replica_place,
    form.REPLICA_MOVE.kind: lambda d: (
        f"replica {d['replica']} of {d['service']} moves from {d['node']} to {d['to']}, as "
        f"{d['successor']}: {d['score_there']:.1f} of 100 there, {d['score']:.1f} where it is"
        f"{_because(d)}"
    ),
    form.REPLICA_MOVE_END.kind: lambda d: (
        f"replica {d['replica']} of {d['service']} stays on {d['node']} after all{_because(d)}"
    ),
    form.REPLICA_LEAVE.kind: lambda d: (
        f"replica {d['replica']} of {d['service']} left {d['node']}{_because(d)}"
    ),
    form.REPLICA_WAIT.kind: lambda d: (
        f"service {d['service']} is short of replicas{_because(d)}"
        if d["why"]
        else f"service {d['service']} is not short of replicas any more"
    ),
    form.ATTEMPT_ADMIT.kind: lambda d: (
        f"attempt {d['attempt']} was admitted to {d['node']}: {_asked(d)}"
    ),
    form.ATTEMPT_REFUSE.kind: lambda d: (
        f"attempt {d['attempt']} was refused{_because(d)} ({_asked(d)})"
    ),
    form.NODE_STATE.kind: lambda d: f"node {d['node']} is {d['state']}{_because(d)}",
    form.JOB_PLACE.kind: _job_place,
    form.JOB_WAIT.kind: lambda d: (
        f"job {d['job']} is {d['why']}"
        if d["why"].startswith("waiting")
        else f"job {d['job']} waits{_because(d)}"
    ),
    form.JOB_REFUSED.kind: lambda d: (
        f"{_task(d)} was refused{_because(d)}; it is placed again in {d['retry_s']:.1f} s at best"
    ),
    form.JOB_EVICT.kind: lambda d: (
        f"{_task(d)} is stopped on {d['node']} of {d['site']}, to run elsewhere{_because(d)}"
    ),
    form.JOB_MIGRATE.kind: lambda d: (
        f"{_task(d)} on {d['node']} of {d['site']} is to go on with its state on {d['to_node']} of "
        f"{d['to_site']}{_because(d)}"
    ),
    form.JOB_STAY.kind: lambda d: (
        f"{_task(d)} on {d['node']} of {d['site']} cannot take its state to {d['to_node']} of "
        f"{d['to_site']}{_because(d)}"
    ),
    form.JOB_GIVE_UP.kind: lambda d: (
        f"{_task(d)} was given up on {d['node']} of {d['site']}{_because(d)}"
    ),
    form.JOB_END.kind: _job_end,
    form.JOB_BOUND.kind: _job_bound,
    form.JOB_CANCEL.kind: lambda d: f"job {d['job']} was cancelled by a user",
    form.RESIZE.kind: _resize,
    form.REQUEST_DECLINE.kind: lambda d: (
        f"request {d['request']} of {d['service']} was sent back to the edge{_because(d)}"
    ),
    form.ATTEMPT_START.kind: lambda d: (
        f"attempt {d['attempt']} is started with {format_cpu(d['cpu_millis'])} CPU and "
        f"{format_memory(d['memory_bytes'])}"
    ),
    form.ATTEMPT_DECLINE.kind: lambda d: f"attempt {d['attempt']} is not started{_because(d)}",
    form.ATTEMPT_STOP.kind: lambda d: (
        f"attempt {d['attempt']} is stopped{_because(d)}, with {d['grace_s']:g} s to end"
    ),
    form.ATTEMPT_END.kind: _attempt_end,
    form.REPLICA_BACKOFF.kind: lambda d: (
        f"replica {d['replica']} of {d['service']} is started again in {d['delay_s']:.1f} s, after "
        f"{d['restarts']} restarts{_because(d)}"
    ),
    form.REPLICA_STOP.kind: lambda d: (
        f"replica {d['replica']} of {d['service']} is stopped{_because(d)}"
    ),
    form.SUPPRESS.kind: _suppress,
    form.EVICT.kind: _evict,
    form.ASSURE.kind: _assure,
}
