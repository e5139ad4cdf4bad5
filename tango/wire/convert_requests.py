"""The door for what users declare: presence, conversion, validation, errors in proto terms.

All functions raise InvalidField naming the field as the request has it, for example
"spec.tasks[0].argv" or "spec.memory_bytes".
"""

from __future__ import annotations

from tango.model.errors import InvalidField
from tango.model.job import JobSpec
from tango.model.service import ServiceSpec
from tango.v1 import central_service_pb2 as central
from tango.v1 import edge_service_pb2 as edge
from tango.wire.convert_fields import in_proto_terms
from tango.wire.convert_specs import job_spec_from_pb, service_spec_from_pb

MAX_SUBMISSION_ID = 128


def applied_service_from_pb(request: edge.ApplyServiceRequest) -> ServiceSpec:
    """The valid spec of an ApplyServiceRequest."""
    if not request.HasField("spec"):
        raise InvalidField("spec", "is missing", "give the service's name and argv")
    spec = service_spec_from_pb(request.spec, "spec")
    try:
        spec.validate()
    except InvalidField as error:
        raise in_proto_terms(error, "spec") from error
    return spec


def submitted_job_from_pb(request: central.SubmitJobRequest) -> JobSpec:
    """The valid spec of a SubmitJobRequest; its submission_id is checked too, "" is fine."""
    submission_id = request.submission_id
    if len(submission_id) > MAX_SUBMISSION_ID or not (
        submission_id.isascii() and submission_id.isprintable()
    ):
        raise InvalidField(
            "submission_id",
            f"{submission_id[:40]!r}",
            f"at most {MAX_SUBMISSION_ID} printable ASCII characters",
        )
    return job_from_pb(request)


def job_from_pb(request: central.SubmitJobRequest | central.TryJobRequest) -> JobSpec:
    """The valid spec of such a request."""
    if not request.HasField("spec"):
        raise InvalidField("spec", "is missing", "give the job's name and tasks")
    spec = job_spec_from_pb(request.spec)
    try:
        spec.validate()
    except InvalidField as error:
        raise in_proto_terms(error, "spec") from error
    return spec
