"""`tango apply`, `delete` and `call`: services and their requests."""

from __future__ import annotations

import contextlib
import sys

import click

from tango.adapters.manifests import Manifest, load_manifests
from tango.cli.notes import note
from tango.cli.options import output_option, print_json, with_client
from tango.model.errors import InvalidField
from tango.model.job import JobSpec
from tango.model.request import CallReply, Code
from tango.model.service import QuotaMode, ServiceSpec
from tango.sdk.client import Client


def read_manifests(path: str) -> tuple[Manifest, ...]:
    """A file, or standard input for "-"."""
    return load_manifests(path, stdin=sys.stdin.buffer.read() if path == "-" else None)


@click.command()
@click.option("-f", "--file", required=True, help='Manifest (YAML), "-" for standard input.')
@click.option("--site", "sites", multiple=True, help="Only at this site; may be given again.")
@click.option(
    "--wait", "wait_s", default=60.0, show_default=True,
    help="Seconds to wait until all replicas are ready; 0 does not wait.",
)  # fmt: skip
@output_option
@with_client
async def apply(
    client: Client, file: str, sites: tuple[str, ...], wait_s: float, output: str
) -> None:
    """Declare services, or change them; all of the file or nothing of it.

    What keeps replicas from being ready is told on stderr, after a second and when it changes.
    """
    manifests = read_manifests(file)
    for manifest in manifests:
        if isinstance(manifest.spec, JobSpec):
            raise InvalidField(
                "kind", "Job", "`tango submit -f` takes jobs, `apply` services", manifest.where
            )
        warn_of_stretch(manifest.spec)
    views = await client.apply(manifests, sites=sites, wait_s=wait_s, say=note)
    if output == "json":
        print_json(views)
        return
    for view in views:
        state = f"{view.ready}/{view.spec.replicas} ready" if wait_s else "applied"
        click.echo(f"service {view.spec.name} at {view.edge}: {state}")


def warn_of_stretch(spec: ServiceSpec) -> None:
    """A quota below one core stretches every request of one thread; say by how much."""
    millis = spec.cpu_per_request_millis
    if spec.quota is QuotaMode.FOLLOW and millis < 1000:
        click.echo(
            f"warning: {spec.name}: quota: follow with cpu_per_request {millis}m caps one request "
            f"at {millis / 1000:g} core: it takes up to {1000 / millis:.1f} times as long",
            err=True,
        )


def _one_service(ctx: click.Context, param: click.Parameter, words: tuple[str, ...]) -> str:
    """The name alone. Raises UsageError where its kind is said, as `kubectl` has it, or more."""
    first, *rest = words
    if not rest:
        return first
    if len(rest) == 1 and first in ("service", "services", "svc"):
        raise click.UsageError(f"only services are deleted: say `tango delete {rest[0]}`", ctx)
    raise click.UsageError(f"one service at a time: {first} or {' or '.join(rest)}", ctx)


@click.command()
@click.argument("service", nargs=-1, required=True, metavar="SERVICE", callback=_one_service)
@click.option("--site", "sites", multiple=True, help="Only at this site; may be given again.")
@with_client
async def delete(client: Client, service: str, sites: tuple[str, ...]) -> None:
    """Remove a service from the sites where it is."""
    for site in await client.delete(service, sites=sites):
        click.echo(f"service {service} deleted at {site}")


@click.command()
@click.argument("service")
@click.option("--path", default="/", show_default=True, help="Path and query.")
@click.option("--method", default="", help="HTTP method.  [default: GET, or POST with --data]")
@click.option("--data", default="", help='Body; "@FILE" takes a file, "@-" standard input.')
@click.option("--header", "headers", multiple=True, help="NAME: VALUE; may be given again.")
@click.option("--site", default="", help="Site to send it to.  [default: the first]")
@click.option("--deadline-ms", default=0.0, help="Target in ms.  [default: the service's]")
@click.option("--timeout-ms", default=0.0, help="Hard end in ms.  [default: the service's]")
@click.option("--stream", is_flag=True, help="Print the reply as it comes.")
@click.option("-v", "--verbose", is_flag=True, help="Say where it ran and how long it took.")
@output_option
@with_client
async def call(
    client: Client, service: str, path: str, method: str, data: str, headers: tuple[str, ...],
    site: str, deadline_ms: float, timeout_ms: float, stream: bool, verbose: bool, output: str,
) -> int:  # fmt: skip
    """Send one request to a service and print the reply's body."""
    request = client.request(
        service,
        path=path,
        method=method,
        body=_body(data),
        headers=tuple(_header(text) for text in headers),
        deadline_ms=deadline_ms,
        timeout_ms=timeout_ms,
    )
    if stream:
        reply: CallReply | None = None
        async with contextlib.aclosing(client.edge(site).call_streamed(request)) as items:
            async for item in items:
                if isinstance(item, CallReply):
                    reply = item
                else:
                    sys.stdout.buffer.write(item.data)
                    sys.stdout.buffer.flush()
        assert reply is not None
    else:
        reply = await client.edge(site).call(request)
        if output == "json":
            print_json(reply)
        else:
            sys.stdout.buffer.write(reply.body)
            if reply.body and not reply.body.endswith(b"\n"):
                click.echo()
    if verbose and reply.replica:
        answer = f"HTTP {reply.http_status}" if reply.http_status else "no HTTP answer"
        where = f"{reply.node} of {reply.site}" if reply.site else reply.node
        click.echo(
            f"{reply.outcome.value}: {answer} from {reply.replica} on {where}; "
            f"queue {reply.queue_ms:.2f} ms + network {reply.network_ms:.2f} ms + "
            f"service {reply.service_ms:.2f} ms = {reply.total_ms:.2f} ms",
            err=True,
        )
    if verbose:
        click.echo(f"why: tango explain {reply.request_id}", err=True)
    if reply.code is not Code.OK:
        ran = "; it may have run" if reply.may_have_run else ""
        click.echo(f"tango: {reply.code.value}: {reply.error}{ran}", err=True)
        return 1
    return 0 if reply.http_status < 400 else 1


def _body(data: str) -> bytes:
    if not data.startswith("@"):
        return data.encode()
    try:
        with click.open_file(data[1:], "rb") as file:
            content: bytes = file.read()
            return content
    except OSError as error:
        raise InvalidField("--data", f"{data[1:]} cannot be read: {error.strerror}") from error


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise InvalidField("--header", f"{text!r} is not NAME: VALUE", 'for example "Accept: */*"')
    return name.strip(), value.strip()
