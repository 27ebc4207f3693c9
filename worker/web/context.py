"""What endpoints share: the job context, who calls, and one database connection for each request."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from fastapi import Depends, Request

from worker.jobs.context import JobContext
from worker.web.access import Caller, needs


def _context(request: Request) -> JobContext:
    found: JobContext = request.app.state.context
    return found


Context: TypeAlias = Annotated[JobContext, Depends(_context)]
Reader: TypeAlias = Annotated[Caller, needs("read")]
Operator: TypeAlias = Annotated[Caller, needs("operate")]
Deleter: TypeAlias = Annotated[Caller, needs("delete")]
