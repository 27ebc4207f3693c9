"""Make a few real images from files of this machine."""

from __future__ import annotations

import email
import json
from pathlib import Path

from worker.local.images import LayoutBuilder

VERSIONS = ("1.0", "1.1", "2.0", "latest")
LAYER_BYTES = 256 << 10


def make_layout(directory: Path) -> Path:
    """Write a layout of four tags that share a base layer; the images are multi-architecture and signed.

    `2.0` and `latest` are the same image, so deleting `1.0`, `1.1` and `2.0` frees two of three images.
    """
    builder = LayoutBuilder(directory)
    base = builder.directory_layer(Path(json.__file__).parent, limit=LAYER_BYTES)
    library = builder.directory_layer(Path(email.__file__).parent, limit=LAYER_BYTES, compression="zstd")
    index = {}
    for version in VERSIONS[:-1]:
        images = []
        for architecture in ("amd64", "arm64"):
            own = builder.layer([("etc/version", f"{version} for {architecture}\n".encode())])
            labels = {"org.opencontainers.image.version": version}
            image = builder.image([base, library, own], architecture=architecture, labels=labels)
            builder.add(builder.signature(image))
            images.append(image)
        index = builder.index(images)
        builder.add(index, version)
        builder.add(builder.signature(index))
    builder.add(index, VERSIONS[-1])
    return builder.finish()
