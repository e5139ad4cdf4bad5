"""The SDK and the command read all pages of a listing of images, and no endless ones."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from central_probe import central
from click.testing import CliRunner

from tango.cli.main import tango
from tango.model.errors import Unavailable
from tango.model.layers import HeldImage, NodeImages
from tango.model.views import ImagesView, ImageView, SiteImages
from tango.sdk.client import Client

NODES = tuple(
    NodeImages(f"n{number}", tuple(HeldImage((f"app:{n}",), "", n) for n in range(3)), None, "")
    for number in range(3)
)
KNOWN = ImagesView(
    (SiteImages("site-a", NODES), SiteImages("site-b", ())),
    tuple(ImageView(f"app:{n}", None, 1.0, "") for n in range(3)),
)


async def test_all_pages_are_read(tmp_path: Path) -> None:
    async with asyncio.timeout(20), central(tmp_path, "a-token-that-is-long-enough") as probe:
        probe.known, probe.page_size = KNOWN, 2
        async with Client(tmp_path) as client:
            assert await client.images() == KNOWN
        assert len(probe.tokens) == 7
        words = ("get", "images", "--state", str(tmp_path), "-o", "json")
        listed = await asyncio.to_thread(CliRunner().invoke, tango, words)
        assert listed.exit_code == 0, listed.output
        assert len(probe.tokens) == 14
        assert all(f'"n{number}"' in listed.output for number in range(3))


async def test_pages_that_come_to_no_end_are_an_error(tmp_path: Path) -> None:
    async with asyncio.timeout(20), central(tmp_path, "a-token-that-is-long-enough") as probe:
        probe.known, probe.page_size, probe.loops = KNOWN, 2, True
        async with Client(tmp_path) as client:
            with pytest.raises(Unavailable, match="the same page of images again"):
                await client.images()
        assert len(probe.tokens) == 2
