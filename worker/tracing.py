"""OpenTelemetry: a span for each task and, below it, one for each SQL statement.

Enabled by the exporter's variable OTEL_EXPORTER_OTLP_ENDPOINT; needs the extra `[otel]`.
"""

from __future__ import annotations

import os
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from worker import logs

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

log = logs.logger("dredge.tracing")

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

_provider: Any = None


def start(processor: SpanProcessor | None = None) -> bool:
    """Trace this process to `processor`, or to the configured endpoint.  Returns whether it is traced.

    Call it in each process of a pool after the fork, because exporters have threads.  Idempotent.
    """
    global _provider
    if _provider is not None:
        return True
    if processor is None and not any(os.environ.get(name) for name in ENDPOINTS):
        return False
    try:
        from opentelemetry.instrumentation.celery import CeleryInstrumentor
        from opentelemetry.instrumentation.psycopg2 import Psycopg2Instrumentor
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
    except ModuleNotFoundError as error:
        log.warning("tracing.not_installed", missing=error.name, install="pip install 'quay-dredge[otel]'")
        return False
    name = os.environ.get("OTEL_SERVICE_NAME", "dredge")
    resource = Resource.create({"service.name": name, "service.version": version("quay-dredge")})
    _provider = TracerProvider(resource=resource)
    _provider.add_span_processor(processor or _otlp())
    CeleryInstrumentor().instrument(tracer_provider=_provider)  # type: ignore[no-untyped-call]
    # Spans contain statements with placeholders, not their parameters.
    Psycopg2Instrumentor().instrument(tracer_provider=_provider)
    return True


def stop() -> None:
    """Send the remaining spans.  Idempotent."""
    if _provider is not None:
        _provider.shutdown()


def _otlp() -> SpanProcessor:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    return BatchSpanProcessor(OTLPSpanExporter())
