"""Every finding that `dredge fsck` can print is on its page."""

from __future__ import annotations

from tests.support.findings import FINDINGS, findings_page


def test_the_page_of_findings_is_what_the_checks_say() -> None:
    assert FINDINGS.read_text() == findings_page(), "run `make docs`"
