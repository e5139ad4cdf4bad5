"""Where the public data sets for tests lie: ../shared/data, beside the checkout."""

from __future__ import annotations

from pathlib import Path

import pytest


def _beside() -> Path:
    """Beside this checkout or, where it is a worktree of a clone elsewhere, beside that clone."""
    root = Path(__file__).parents[2]
    here = root.parent / "shared/data"
    pointer = root / ".git"
    if here.exists() or not pointer.is_file():
        return here
    # "gitdir: CLONE/.git/worktrees/NAME" (gitrepository-layout(5))
    git_dir = Path(pointer.read_text().removeprefix("gitdir:").strip())
    return git_dir.parents[2].parent / "shared/data"


DATA = _beside()
AZURE = DATA / "azure-llm-2023/AzureLLMInferenceTrace_conv.csv"
BORG = DATA / "google-2011-sample"
OPENB_NODES = DATA / "alibaba-openb-2023/openb_node_list_all_node.csv"
OPENB_PODS = DATA / "alibaba-openb-2023/openb_pod_list_default.csv"
EUA_SITES = DATA / "eua-melbourne/site-optus-melbCBD.csv"
EUA_USERS = DATA / "eua-melbourne/users-melbcbd-generated.csv"


def needs(*paths: Path) -> pytest.MarkDecorator:
    """Skip the test, and say so, where a file is absent."""
    absent = [str(path.relative_to(DATA)) for path in paths if not path.exists()]
    return pytest.mark.skipif(bool(absent), reason=f"not in ../shared/data: {', '.join(absent)}")
