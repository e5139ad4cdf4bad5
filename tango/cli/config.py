"""`tango config check FILE...`: configurations, manifests, scenarios, before anyone uses them."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click

from tango.adapters.cgroup_values import parse_cpus
from tango.adapters.documents import read_document
from tango.adapters.manifests import load_manifests
from tango.adapters.master_settings import load_central, load_edge
from tango.adapters.placement_profiles import load_profile
from tango.adapters.policies import batch_policy, placement_plugins, traffic_policy
from tango.adapters.toml_documents import load_toml
from tango.adapters.worker_settings import load_worker
from tango.adapters.yaml_documents import parse_yaml
from tango.model.errors import InvalidField
from tango.model.placement_profile import DEFAULT, SPREAD, Profile
from tango.model.service import ServiceSpec
from tango.model.settings import (
    CentralSettings,
    EdgeSettings,
    RegistrySettings,
    WorkerSettings,
)
from tango.model.units import format_count
from tango.sim.scenario_file import ScenarioFile
from tango.wire.channels import read_token

Settings = CentralSettings | EdgeSettings | WorkerSettings
LOADERS: dict[str, Callable[[Path], Settings]] = {
    "central": load_central,
    "edge": load_edge,
    "worker": load_worker,
}
SUFFIXES = (".toml", ".yaml", ".yml")


@click.group()
def config() -> None:
    """Configuration files and manifests."""


@config.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def check(files: tuple[Path, ...]) -> int:
    """Check daemon configurations, placement profiles and scenarios (TOML), manifests and
    cluster snapshots (YAML); of a folder all that are in it. Nothing is started or sent.

    Each problem is one line, FILE:LINE: FIELD: PROBLEM; FIX. Exit status 1 if there is any.
    What depends on the machine or the site (is the token's file there, are there so many cores)
    is a warning: the file may be for another one.
    """
    n_bad = 0
    for file in _inside(files):
        try:
            what, warnings = check_file(file)
        except InvalidField as error:
            n_bad += 1
            # An error of the file itself has no line.
            place = "" if error.where else f"{file}: "
            click.echo(f"{place}{error}", err=True)
        else:
            click.echo(f"{file}: {what}")
            for warning in warnings:
                click.echo(f"warning: {warning}", err=True)
    return 1 if n_bad else 0


def _inside(files: Iterable[Path]) -> Iterator[Path]:
    """The files, and those directly in folders among them."""
    for file in files:
        if file.is_dir():
            yield from sorted(each for each in file.iterdir() if each.suffix in SUFFIXES)
        else:
            yield file


def check_file(file: Path) -> tuple[str, list[InvalidField]]:
    """What a file holds, for people, and what may be wrong with it. Raises InvalidField."""
    if file.suffix == ".toml" and load_toml(file).has("topology"):
        scenario = ScenarioFile(file)
        words = f", a sweep of {len(scenario.points)} points" if scenario.points != ((),) else ""
        found = [
            each for point in scenario.points for each in scenario.warnings(scenario.build(point))
        ]
        warnings = list({str(each): each for each in found}.values())
        return f"the scenario {scenario.name} for `tango simulate`{words}", warnings
    if file.suffix == ".toml" and load_toml(file).has("placement") and not _has_daemon(file):
        profile = load_profile(file)
        _check_profile(profile)
        return (
            f"the placement profile {profile.name}, {format_count(len(profile.plugins), 'plugin')}",
            [],
        )
    if file.suffix == ".toml":
        kind = daemon_kind(file)
        settings = LOADERS[kind](file)
        _check_policy(file, settings)
        if isinstance(settings, EdgeSettings | CentralSettings):
            _check_profile(settings.placement)
        return f"a configuration for `tango {kind}`", _of_this_machine(file, settings)
    if file.suffix in (".yaml", ".yml") and _is_snapshot(file):
        return _snapshot(file)
    if file.suffix in (".yaml", ".yml"):
        manifests = load_manifests(file)
        names = ", ".join(f"{type(one.spec).__name__[:-4]} {one.spec.name}" for one in manifests)
        short = [
            InvalidField(
                "replicas",
                f"{one.spec.replicas} on the fixed port {one.spec.port} take as many nodes at each "
                "site, for a node has one such port",
                "leave `port` out, and each replica gets one of its own",
                one.where,
            )
            for one in manifests
            if isinstance(one.spec, ServiceSpec) and one.spec.port and one.spec.replicas > 1
        ]
        return names or "no manifests", short
    problem = f"is named {file.name!r}: neither a configuration nor a manifest"
    raise InvalidField("document", problem, "name it .toml or .yaml", str(file))


def _check_policy(file: Path, settings: Settings) -> None:
    """Raises InvalidField for a policy that is not installed here."""
    try:
        if isinstance(settings, EdgeSettings):
            traffic_policy(settings.traffic_policy)
        elif isinstance(settings, CentralSettings):
            batch_policy(settings.batch_policy, settings.placement)
    except InvalidField as error:
        raise error if error.where else error.at(_place(file, error.field)) from None


def _check_profile(profile: Profile) -> None:
    """Raises InvalidField for what a plugin does not take, as at the start of who uses it."""
    if profile in (DEFAULT, SPREAD):  # and numpy, which all plugins need, may not be installed here
        return
    plugins = placement_plugins(use.plugin for use in profile.plugins)
    from tango.algorithms.placement.cluster import Cluster
    from tango.algorithms.placement.plugin import made
    from tango.algorithms.placement.room import Room

    made(profile, Room(Cluster(())), plugins)


def _of_this_machine(file: Path, settings: Settings) -> list[InvalidField]:
    found: list[InvalidField] = []
    if settings.server.token_file:
        try:
            read_token(settings.server.token_file, "server.token_file")
        except InvalidField as error:
            found.append(error)
    if settings.server.rest and importlib.util.find_spec("aiohttp") is None:
        fix = "fine if the file is for another machine; else install the extra `rest`"
        found.append(InvalidField("server.rest", "needs aiohttp, which is not here", fix))
    if isinstance(settings, CentralSettings):
        found += _of_registries(settings)
    if isinstance(settings, WorkerSettings):
        cores = os.cpu_count() or 1
        fix = "fine if the file is for another machine"
        if settings.engine.socket and not Path(settings.engine.socket).is_socket():
            problem = f"{settings.engine.socket} is no socket here"
            found.append(InvalidField("images.socket", problem, fix))
        if settings.cpu_millis > cores * 1000:
            problem = f"is above the {cores} cores of this machine"
            found.append(InvalidField("worker.cpu", problem, fix))
        named = parse_cpus(settings.cpuset) or frozenset()
        if max(named, default=0) >= cores:
            problem = f"core {max(named)} is not among the {cores} of this machine"
            found.append(InvalidField("worker.cpuset", problem, fix))
    return [one.at(_place(file, one.field)) for one in found]


def _of_registries(settings: CentralSettings) -> list[InvalidField]:
    registry, found = settings.registry, []
    if registry == RegistrySettings():
        return []
    if importlib.util.find_spec("aiohttp") is None:
        fix = "fine if the file is for another machine; else install the extra `registry`"
        found.append(InvalidField("registry", "needs aiohttp, which is not here", fix))
    if settings.batch_policy != "profile":
        problem = f"is asked in vain: policy {settings.batch_policy!r} does not look at images"
        found.append(InvalidField("registry", problem, 'set central.batch_policy = "profile"'))
    for at, host in enumerate(registry.hosts):
        for key, path in (("credentials_file", host.credentials_file), ("ca_file", host.ca_file)):
            if path and not Path(path).is_file():
                field, fix = f"registry.hosts[{at}].{key}", "fine if it is for another machine"
                found.append(InvalidField(field, f"{path} is not here", fix))
    return found


def _is_snapshot(file: Path) -> bool:
    first = parse_yaml(read_document(file), str(file))[0]
    return first.has("kind") and first.string("kind") == "ClusterSnapshot"


def _snapshot(file: Path) -> tuple[str, list[InvalidField]]:
    what = "a snapshot of a cluster for `tango place`"
    try:
        from tango.adapters.cluster_snapshots import load_snapshot
    except ModuleNotFoundError as error:
        problem = f"was not read: that needs {error.name}, which is not installed here"
        fix = "install the extra `solver`"
        return what, [InvalidField("document", problem, fix, str(file))]
    return f"{what}, {format_count(len(load_snapshot(file).nodes), 'node')}", []


def _has_daemon(file: Path) -> bool:
    document = load_toml(file)
    return any(document.has(kind) for kind in LOADERS)


def _place(file: Path, field: str) -> str:
    return load_toml(file).where(field)


def daemon_kind(file: Path) -> str:
    """Which daemon a TOML file is for, by its section."""
    document = load_toml(file)
    found = [kind for kind in LOADERS if document.has(kind)]
    if len(found) != 1:
        problem = f"has sections of {' and '.join(found)}" if found else "has no daemon's section"
        fix = "a file is for one daemon: [central], [edge] or [worker] beside [server]"
        raise InvalidField("document", problem, fix, str(file))
    return found[0]
