"""`dredge web`: the status page and the HTTP API."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import suppress
from dataclasses import replace
from typing import Any, get_args

import click
import uvicorn

from model.db import connection as database
from worker import wiring
from worker.api_token import Scope, make_token
from worker.cli import options, output
from worker.settings import Settings, SettingsError
from worker.web.app import build


@click.group(name="web", invoke_without_command=True)
@click.option("--host", help="Address to listen on instead of DREDGE_WEB_HOST.")
@click.option("--port", type=click.IntRange(1, 65_535), help="Port instead of DREDGE_WEB_PORT.")
@click.pass_context
def command(context: click.Context, host: str | None, port: int | None) -> None:
    """Serve the status page and the HTTP API, until Ctrl-C.

    Without DREDGE_WEB_TOKENS it listens only on loopback, shows everything and can change nothing.
    """
    if context.invoked_subcommand is None:
        read = output.settings()
        serve(replace(read, web_host=host or read.web_host, web_port=port or read.web_port))


@command.command(short_help="Create a token for the HTTP API.")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(get_args(Scope)),
    default=("read",),
    show_default=True,
    help="What it may do; may be given several times.",
)
@options.json_object
def token(name: str, scopes: tuple[Scope, ...], as_json: bool) -> None:
    """Create a token for NAME.  Print it once, and the line to add to DREDGE_WEB_TOKENS.

    That line contains only the token's hash, so the token cannot be read from the configuration.
    """
    try:
        secret, made = make_token(name, scopes)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if as_json:
        output.emit_json({"token": secret, "line": str(made)})
    else:
        click.echo(f"token, shown once: {secret}\nline for DREDGE_WEB_TOKENS: {made}")


def serve(settings: Settings) -> None:
    """Serve until a signal arrives.  Raises `SettingsError` if others could reach it without token."""
    output.require(settings, "database_url")
    if not settings.web_tokens and not _is_loopback(settings.web_host):
        raise SettingsError(
            [f"DREDGE_WEB_HOST: {settings.web_host} is not a loopback address: set DREDGE_WEB_TOKENS"]
        )
    listening = _listen(settings.web_host, settings.web_port)
    click.echo(f"http://{settings.web_host}:{settings.web_port}/", err=True)
    database.configure(
        settings.database_url, application_name="dredge web", pooled=not settings.prepared_statements
    )
    config = uvicorn.Config(application(settings), log_config=None, access_log=False, server_header=False)
    # uvicorn stops at a signal, and raises it again.
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    """Bind the port; ends the command if the port is in use or the address is not of this host."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except OSError as error:
        made.close()
        output.fail(f"DREDGE_WEB_PORT: {host}:{port}: {error.strerror or error}")
    return made


def application(settings: Settings) -> Any:
    """Build the application from these settings; it enqueues tasks if a broker is configured."""
    if not settings.broker_url:
        return build(wiring.in_process(settings))
    # Celery's configuration needs a broker, and is read when this module is imported.
    from worker.app import application as celery

    return build(wiring.build(settings, celery))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
