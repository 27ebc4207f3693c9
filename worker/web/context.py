"""Dependencies of all endpoints: the job context, the caller, and one database connection per request."""

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
