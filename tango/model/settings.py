"""What the configuration file of each daemon says, validated and frozen."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from tango.model.affinity import Labels, Taints
from tango.model.placement_profile import DEFAULT as DEFAULT_PROFILE
from tango.model.placement_profile import Profile
from tango.model.reassurance import ReassuranceRule
from tango.model.rebalance import RebalanceRule

DEFAULT_MAX_BODY_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """[tls]: PEM files of mutual TLS; both sides of every connection have all three.

    ca_file: certificates of the authorities whose word is taken about the other side.
    cert_file: this side's own, with any intermediate ones after it. key_file: its key, mode 0600.
    """

    ca_file: str
    cert_file: str
    key_file: str


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Where a daemon listens; beyond loopback only with mutual TLS.

    metrics: "host:port" of the Prometheus endpoint, "" for none.
    rest: "host:port" of the REST face, "" for none; only the central master has one.
    token_file: a 0600 file; every call without TLS, and every scrape, must carry its content.
    tls: for all that the daemon serves and dials; None leaves it on loopback, with the token.
    """

    listen: str
    token_file: str
    state_dir: str
    metrics: str = ""
    log_level: str = "info"
    tls: TlsSettings | None = None
    rest: str = ""


class LoggedRequests(enum.Enum):
    """Which records of requests a decision log gets; what is no record of a request, always.

    REJECTED: of those rejected, sent back, late or failed, and not their routes.
    """

    ALL = "all"
    REJECTED = "rejected"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class DecisionSettings:
    """[decisions]: how many records of decisions are kept in memory, and where they are written.

    ring: of requests, and again of all else; 0 keeps none. log: a JSON lines file, "" for none;
    log_max_bytes: of one file, of which log_files are kept. log_requests: which go there.
    """

    ring: int = 4096
    log: str = ""
    log_max_bytes: int = 16 * 2**20
    log_files: int = 4
    log_requests: LoggedRequests = LoggedRequests.ALL


@dataclass(frozen=True, slots=True)
class RecordSettings:
    """[record]: all that happens to the controller, for `tango simulate --replay`.

    dir: one file for each start goes there; "" records nothing. max_bytes: of one file, which ends
    there; files: so many are kept of this daemon.
    """

    dir: str = ""
    max_bytes: int = 256 * 2**20
    files: int = 4


class DelaySource(enum.Enum):
    """Who measures the delays that tasks may have bounds on."""

    OWN = "own"
    FILE = "file"
    GOLDPINGER = "goldpinger"


@dataclass(frozen=True, slots=True)
class DelaySettings:
    """[delays]: where the central master has round trips from, for tasks with `near`.

    source: the edges' own pings, a file, or Goldpinger. path: of the file; names: of the nodes of a
    bare matrix. url, ca_file: of Goldpinger. every_s: how often these two are read.
    updates: a delay counts as changed when so many in a row say so. max_age_s: what is older is
    unknown. nodes: ours ("edge/node") by the names that the file or Goldpinger has for them.
    """

    source: DelaySource = DelaySource.OWN
    path: str = ""
    names: str = ""
    url: str = ""
    ca_file: str = ""
    every_s: float = 10.0
    updates: int = 3
    max_age_s: float = 180.0
    nodes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class RegistryHost:
    """[[registry.hosts]]: one registry that is asked.

    name: as in references ("docker.io", "host:5000"). credentials_file: a 0600 file of one line,
    USER:PASSWORD; "" for none. ca_file: PEM, trusted for it in place of the system's certificates.
    plain_http: without TLS.
    """

    name: str
    credentials_file: str = ""
    ca_file: str = ""
    plain_http: bool = False


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """[registry]: whom the central master asks what images consist of; nobody by default.

    others: also ask registries that are not listed, over TLS and without credentials.
    platform: os/architecture[/variant] of the nodes. refresh_s: how old the digest of a tag may get
    before it is looked up again. wait_s: the longest that a submitted job waits for the first
    answer on an image of its own.
    """

    hosts: tuple[RegistryHost, ...] = ()
    others: bool = False
    platform: str = "linux/amd64"
    refresh_s: float = 300.0
    wait_s: float = 1.0


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """[images] of a worker: the container engine whose images it reports; none by default.

    socket: of its API. every_s: how often it is asked. bandwidth_bytes_per_s: at which the node
    downloads images, None where nobody knows.
    """

    socket: str = ""
    every_s: float = 30.0
    bandwidth_bytes_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class CentralSettings:
    """[central]: the master of BE jobs.

    node_lost_after_s: from the word of an edge that a node is dead until its tasks run elsewhere: a
    worker that is back by then finds them.
    be_floor: share of the CPU that BE tasks of a node ask for; where they get less for be_floor_s,
    one of them is moved, if another node has room. 0 for never.
    placement: [placement], for the batch policy `profile`, and its filters for tasks with bounds.
    max_overtaken: how many later jobs are placed before the first that waits; then it holds up all
    others until it is placed. 0 for any number.
    keep_jobs, keep_jobs_s: how many ended jobs are kept, and for how long; the oldest go first.
    """

    server: ServerSettings
    batch_policy: str = "most-free"
    max_jobs_waiting: int = 100_000
    keep_jobs: int = 10_000
    keep_jobs_s: float = 7 * 86_400.0
    node_lost_after_s: float = 5.0
    decisions: DecisionSettings = DecisionSettings()
    record: RecordSettings = RecordSettings()
    be_floor: float = 0.1
    be_floor_s: float = 30.0
    placement: Profile = DEFAULT_PROFILE
    max_overtaken: int = 64
    delays: DelaySettings = DelaySettings()
    registry: RegistrySettings = RegistrySettings()


@dataclass(frozen=True, slots=True)
class PeerSettings:
    """[[edge.peers]]: another site whose nodes this one may use. address: "host:port"."""

    name: str
    address: str


@dataclass(frozen=True, slots=True)
class EdgeSettings:
    """[edge]: the master of one site. central: "host:port", "" for a site that stays alone.

    tick_ms: longest wait of a queued request for the next traffic solve.
    direct_calls: replicas on this machine are called without their worker in between.
    node_dead_after_s: silence after which a node, or a peer, counts as dead.
    neighbours: how many of the peers routing uses, the nearest by measured delay.
    peer_interval_ms: how often each of those is asked what it offers.
    peer_max_age_ms: an offer older than this is not used.
    eviction_grace_s: what a BE task that makes room for LC has to end by itself.
    placement: [placement], by which plugins replicas find their nodes.
    """

    server: ServerSettings
    name: str
    central: str = ""
    traffic_policy: str = "least-loaded"
    tick_ms: float = 5.0
    direct_calls: bool = True
    node_dead_after_s: float = 3.0
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES
    max_queue: int = 10_000
    peers: tuple[PeerSettings, ...] = ()
    neighbours: int = 4
    peer_interval_ms: float = 100.0
    peer_max_age_ms: float = 1000.0
    decisions: DecisionSettings = DecisionSettings()
    record: RecordSettings = RecordSettings()
    eviction_grace_s: float = 1.0
    reassurance: ReassuranceRule = ReassuranceRule()
    placement: Profile = DEFAULT_PROFILE
    rebalance: RebalanceRule = RebalanceRule()


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """[worker]: the agent of one node.

    edge_name: of the site, which the edge's certificate must state; needed with tls.
    cpu_millis, memory_bytes: what the node gives to payload; 0 takes all that the machine has.
    cgroup_root: path below each hierarchy's mount (v1) or below /sys/fs/cgroup (v2); "" for none.
    be_root: path, as cgroup_root, of the BE of all nodes that share these cores by weight: there it
        yields to the LC of all of them; "" where BE is below cgroup_root, beside this LC alone.
    enforce: False only observes: groups are made and read, but no target is written, and BE keeps
        the priority of all others; what would be written is reported as mismatches.
    cpu_weight: of the whole node's tree against its siblings (cgroup v2 scale).
    task_cores: those that tasks may have for themselves, "" for all of the node's, "none" for none.
    labels, taints: by which what runs chooses nodes; sorted.
    run_as: user for replicas and tasks; "" keeps the worker's own, root only with allow_root.
    quota_period_ms: CFS period of quotas that follow requests.
    cap_be: limit BE's CPU to what LC leaves of the node; weight alone leaves BE idle CPU too.
    memory_reserve_bytes: what the machine shall have available at least: BE is evicted below that;
        0 looks at nothing.
    supervisor_socket: of a supervisor that someone else runs (tango-payload.service); "" for one of
        the worker's own, started where none answers.
    checkpoint_dir: where checkpoints of tasks are written and restored from, the same directory on
        all nodes that tasks migrate between by it. Whoever writes there is trusted as root is.
    checkpoint_transfer: send and take checkpoints over the sessions; without a checkpoint_dir they
        are below the state directory. The nodes that send are trusted as root is. Without either
        there is no migration.
    checkpoint_max_bytes: of memory and of images, for one task.
    checkpoint_limit_s: for one run of CRIU.
    checkpoint_transfer_limit_s: for bringing one checkpoint over.
    """

    server: ServerSettings
    node: str
    edge: str
    edge_name: str = ""
    cpu_millis: int = 0
    memory_bytes: int = 0
    cgroup_root: str = "tango"
    be_root: str = ""
    enforce: bool = True
    cpu_weight: int = 100
    cpuset: str = ""
    task_cores: str = ""
    labels: Labels = ()
    taints: Taints = ()
    run_as: str = ""
    allow_root: bool = False
    control_interval_ms: float = 100.0
    listing_interval_ms: float = 1000.0
    quota_period_ms: float = 10.0
    cap_be: bool = False
    memory_reserve_bytes: int = 64 * 2**20
    supervisor_socket: str = ""
    checkpoint_dir: str = ""
    checkpoint_transfer: bool = False
    checkpoint_max_bytes: int = 2 * 2**30
    checkpoint_limit_s: float = 120.0
    checkpoint_transfer_limit_s: float = 600.0
    log_max_bytes: int = 8 * 2**20
    log_files: int = 3
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES
    decisions: DecisionSettings = DecisionSettings()
    record: RecordSettings = RecordSettings()
    engine: EngineSettings = EngineSettings()
