"""A hook of MkDocs: links to files outside the documentation become plain text on the site."""

from __future__ import annotations

import re
from typing import Any

_OUTSIDE = re.compile(
    r"\[([^\]]+)\]\((?:\.\./)+(?:tests|model|worker|bench|deploy|README|CONTRIBUTING|SECURITY|CHANGELOG)[^)]*\)"
)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return the page without links that lead out of `docs/`."""
    return _OUTSIDE.sub(r"\1", markdown)
