"""Compiles protos/ into tango/v1/ when the package is built or installed, editable installs too.

With TANGO_COMPILE=1 in the environment a wheel also gets the hot modules as machine code.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PREAMBLE = '"""Generated from protos/ by hatch_build.py; not in git, never edited."""\n'
# Nobody calls grpc.experimental, and its functions are 0.4 MiB in every process.
EXPERIMENTAL = re.compile(
    r"\n\n # This class is part of an EXPERIMENTAL API\.\nclass .*\Z", re.DOTALL
)


class TangoBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Runs protoc from grpcio-tools, and mypyc if asked to; their output is never in git."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """What a build of this kind needs beside what every build does."""
        return ["mypy[mypyc]>=2.1"] if self._compiles() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Generate, and for a wheel that is to be compiled, compile."""
        if self.target_name != "wheel":
            return
        root = Path(self.root)
        generate(root)
        if version == "editable" or not self._compiles():
            return
        compiling = _compile_modules(root)
        into = root / "build" / "compiled"
        shutil.rmtree(into, ignore_errors=True)
        # A wheel is for nodes, where a worker and its supervisor have 64 MiB.
        for path in compiling.compile_into(root, into, records=False):
            build_data["force_include"][str(into / path)] = str(path)
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def _compiles(self) -> bool:
        return self.target_name == "wheel" and os.environ.get("TANGO_COMPILE") == "1"


def _compile_modules(root: Path) -> ModuleType:
    path = root / "tools" / "compile_modules.py"
    spec = importlib.util.spec_from_file_location("compile_modules", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def generate(root: Path) -> None:
    """Compile every protos/tango/v1/*.proto; RuntimeError where protoc or a plugin is missing."""
    import grpc_tools
    from google.api import annotations_pb2
    from grpc_tools import protoc

    protos = root / "protos"
    files = sorted(str(path) for path in (protos / "tango" / "v1").glob("*.proto"))
    out = root / "tango" / "v1"
    out.mkdir(parents=True, exist_ok=True)
    for stale in (*out.glob("*_pb2*"), *out.glob("*.binpb")):
        stale.unlink()
    # An isolated build has the plugins on its PATH; run by hand, they lie beside the interpreter.
    places = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    plugins = []
    for name in ("mypy", "mypy_grpc"):
        plugin = shutil.which(f"protoc-gen-{name}", path=places)
        if plugin is None:
            raise RuntimeError(f"protoc-gen-{name} not found; it comes with mypy-protobuf")
        plugins.append(f"--plugin=protoc-gen-{name}={plugin}")
        plugins.append(f"--{name}_out=quiet:{root}")
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    annotations = Path(annotations_pb2.__file__).parents[2]
    status = protoc.main(
        [
            "protoc",
            f"-I{protos}",
            f"-I{well_known}",
            f"-I{annotations}",
            f"--python_out={root}",
            f"--grpc_python_out={root}",
            *plugins,
            # With the comments, which the modules lack: the REST face's document quotes them.
            f"--descriptor_set_out={out / 'described.binpb'}",
            "--include_source_info",
            *files,
        ]
    )
    if status != 0:
        raise RuntimeError(f"protoc exited with status {status}")
    for path in out.glob("*_pb2_grpc.py"):
        path.write_text(EXPERIMENTAL.sub("\n", path.read_text()))
    (out / "__init__.py").write_text(PREAMBLE)


if __name__ == "__main__":
    generate(Path(__file__).parent)
