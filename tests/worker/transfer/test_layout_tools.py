"""Layouts of umoci, buildah and skopeo go in, and they read what comes out; where they are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from model.db.connection import fetch
from tests.support.layouts import bring, take
from tests.support.world import World
from worker.storage.base import Stores

pytestmark = pytest.mark.slow

FILES = {"etc/one": b"one\n", "usr/blob": bytes(range(256)) * 2000}


def needs(*tools: str) -> pytest.MarkDecorator:
    missing = [tool for tool in tools if not shutil.which(tool)]
    return pytest.mark.skipif(bool(missing), reason=f"not installed here: {', '.join(missing)}")


def run(*command: object) -> bytes:
    done = subprocess.run([str(part) for part in command], capture_output=True, check=False)
    assert done.returncode == 0, (command, done.stderr.decode(errors="replace"))
    return done.stdout


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory of files, to become a layer."""
    for name, content in FILES.items():
        path = tmp_path / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "files"


def through(world: World, stores: Stores, layout: Path, tag: str) -> Path:
    """Import a layout and export one of its tags again; the new layout."""
    other = world.tag("bystander").id
    out = layout.with_name(f"{layout.name}-out")
    bring(stores, layout)
    take(stores, tag, out)
    assert fetch("SELECT FROM tag WHERE id = %s AND lifetime_end_ms IS NULL", (other,))
    raw = ["skopeo", "inspect", "--raw"]
    assert run(*raw, f"oci:{layout}:{tag}") == run(*raw, f"oci:{out}:{tag}")
    return out


@needs("umoci", "skopeo")
def test_an_image_of_umoci_is_unpacked_by_umoci_again(
    world: World, stores: Stores, files: Path, tmp_path: Path
) -> None:
    layout = tmp_path / "layout"
    run("umoci", "init", "--layout", layout)
    run("umoci", "new", "--image", f"{layout}:v1")
    run("umoci", "insert", "--rootless", "--image", f"{layout}:v1", files, "/data")
    out = through(world, stores, layout, "v1")
    run("umoci", "unpack", "--rootless", "--image", f"{out}:v1", tmp_path / "bundle")
    data = tmp_path / "bundle/rootfs/data"
    assert {name: (data / name).read_bytes() for name in FILES} == FILES


@pytest.mark.skipif(
    os.geteuid() != 0, reason="buildah wants a user namespace of its own, which may be forbidden"
)
@needs("buildah", "skopeo")
def test_a_multi_architecture_image_of_buildah_is_copied_whole_by_skopeo(
    world: World, stores: Stores, files: Path, tmp_path: Path
) -> None:
    buildah = [
        "buildah",
        "--storage-driver=vfs",
        f"--root={tmp_path / 'store'}",
        f"--runroot={tmp_path / 'run'}",
    ]
    run(*buildah, "manifest", "create", "multi")
    for architecture in ("amd64", "arm64"):
        name = run(*buildah, "from", "--arch", architecture, "scratch").decode().strip()
        run(*buildah, "copy", name, files, "/opt")
        run(*buildah, "config", "--os=linux", f"--arch={architecture}", name)
        run(*buildah, "commit", "--format=oci", name, architecture)
        run(*buildah, "manifest", "add", "multi", architecture)
    layout = tmp_path / "layout"
    run(*buildah, "manifest", "push", "--all", "multi", f"oci:{layout}:multi")
    out = through(world, stores, layout, "multi")
    copy = tmp_path / "copy"
    run("skopeo", "copy", "--multi-arch=all", f"oci:{out}:multi", f"oci:{copy}:multi")
    names = [{path.name for path in (root / "blobs/sha256").iterdir()} for root in (layout, out, copy)]
    assert names[0] == names[1] == names[2]


@needs("umoci", "skopeo")
def test_layers_that_skopeo_compressed_with_zstd_go_through(
    world: World, stores: Stores, files: Path, tmp_path: Path
) -> None:
    plain, layout = tmp_path / "plain", tmp_path / "layout"
    run("umoci", "init", "--layout", plain)
    run("umoci", "new", "--image", f"{plain}:v1")
    run("umoci", "insert", "--rootless", "--image", f"{plain}:v1", files, "/data")
    unpacked = tmp_path / "unpacked"
    run("skopeo", "copy", "--dest-decompress", f"oci:{plain}:v1", f"dir:{unpacked}")
    run("skopeo", "copy", "--dest-compress-format=zstd", f"dir:{unpacked}", f"oci:{layout}:v1")
    assert b"tar+zstd" in run("skopeo", "inspect", "--raw", f"oci:{layout}:v1")
    through(world, stores, layout, "v1")
