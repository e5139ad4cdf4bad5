"""The page at /: every call with its fields and a command to try it; no script, nothing fetched."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from html import escape
from typing import Any

from tango.wire.rest.bindings import Binding
from tango.wire.rest.examples import curl_of
from tango.wire.rest.openapi import ERROR, Document, Json

STYLE = """
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
code,pre{font:14px/1.4 ui-monospace,monospace}
pre{overflow-x:auto;padding:.6rem .8rem;border:1px solid #8886;border-radius:4px}
h2{margin-top:2.5rem;border-bottom:1px solid #8886}
h3{margin-bottom:.3rem}
table{border-collapse:collapse;width:100%}
td,th{text-align:left;vertical-align:top;padding:.25rem .8rem .25rem 0}
td,th{border-bottom:1px solid #8883}
.verb{display:inline-block;min-width:3.2rem;font-weight:600}
"""
_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
# Nothing but this style: whatever text should ever get into the page stays text.
POLICY = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


def page_of(document: Document) -> bytes:
    """HTML, whole."""
    return "\n".join(_lines(document)).encode() + b"\n"


def _lines(document: Document) -> Iterator[str]:
    info = document.root["info"]
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{escape(info['title'])}</title><style>{STYLE}</style></head><body>"
    yield f"<h1>{escape(info['title'])}</h1><p>{escape(info['description'])}"
    yield f"Version {escape(info['version'])}; <a href='/openapi.json'>OpenAPI document</a>.</p>"
    yield from _proof(document)
    yield "<h2 id='calls'>Calls</h2><table>"
    for binding in document.bindings:
        name = binding.rpc.name
        yield (
            f"<tr><td><a href='#{name}'><code><span class='verb'>{binding.verb}</span>"
            f"{escape(binding.path)}</code></a></td>"
            f"<td>{escape(_call(document, binding)['summary'])}</td></tr>"
        )
    yield "</table>"
    for binding in document.bindings:
        yield from _section(document, binding)
    yield "<h2 id='types'>Types</h2>"
    for name, schema in document.root["components"]["schemas"].items():
        yield f"<h3 id='type-{name}'>{name}</h3>"
        if text := schema.get("description"):
            yield f"<p>{escape(text)}</p>"
        if "enum" in schema:
            yield f"<p>{', '.join(f'<code>{value}</code>' for value in schema['enum'])}</p>"
        elif name != ERROR:
            yield from _fields(schema.get("properties", {}))
        else:
            yield from _fields(schema["properties"]["error"]["properties"])
    yield "</body></html>"


def _proof(document: Document) -> Iterator[str]:
    if document.secure:
        yield "<p>The certificate of a user says who calls; <code>tango certs</code> makes it.</p>"
        yield "<pre>TANGO=https://central.tango.internal:PORT   # curl --resolve names its address"
        yield "</pre>"
        return
    yield "<p>Every call carries the token of the cluster, which only its owner can read.</p>"
    yield "<pre>TANGO=http://127.0.0.1:PORT"
    yield "TOKEN=$(cat ~/.local/state/tango/token)</pre>"


def _call(document: Document, binding: Binding) -> Json:
    found: Json = document.root["paths"][binding.path][binding.verb.lower()]
    return found


def _section(document: Document, binding: Binding) -> Iterator[str]:
    call = _call(document, binding)
    yield f"<h2 id='{binding.rpc.name}'><code>{binding.verb} {escape(binding.path)}</code></h2>"
    yield f"<p>{escape(call['summary'])}</p>"
    yield f"<pre>{escape(curl_of(binding, secure=document.secure))}</pre>"
    if call["parameters"]:
        yield "<table><tr><th>parameter</th><th>in</th><th>type</th><th></th></tr>"
        for one in call["parameters"]:
            yield (
                f"<tr><td><code>{escape(one['name'])}</code></td><td>{one['in']}</td>"
                f"<td>{_type(one['schema'])}</td><td>{escape(one.get('description', ''))}</td></tr>"
            )
        yield "</table>"
    if body := call.get("requestBody"):
        schema = body["content"]["application/json"]["schema"]
        if "$ref" in schema or schema["properties"]:
            yield f"<p>Body: {_type(schema)}</p>"
    answer = call["responses"]["200"]
    kinds = "; ".join(
        f"<code>{escape(kind)}</code>" + (f" of {_type(of['schema'])}" if "schema" in of else "")
        for kind, of in answer["content"].items()
    )
    yield f"<p>Answer: {kinds}. {escape(answer['description'])}</p>"


def _fields(properties: Json) -> Iterator[str]:
    if not properties:
        return
    yield "<table><tr><th>field</th><th>type</th><th></th></tr>"
    for name, schema in properties.items():
        yield (
            f"<tr><td><code>{escape(name)}</code></td><td>{_type(schema)}</td>"
            f"<td>{escape(schema.get('description', ''))}</td></tr>"
        )
    yield "</table>"


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"<a href='#type-{name}'>{name}</a>"
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"map of {_type(schema['additionalProperties'])}"
    detail = schema.get("format") or schema.get("contentEncoding")
    return escape(f"{schema['type']} ({detail})" if detail else str(schema["type"]))
