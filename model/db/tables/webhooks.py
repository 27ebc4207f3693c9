"""Dredge's own tables of webhooks."""

from __future__ import annotations

from peewee import BigAutoField, BigIntegerField, CharField, IntegerField, TextField

from model.db.tables.base import BaseModel


class Webhook(BaseModel):
    """An endpoint that events are sent to; `types` are words with a space between, or `*` for all."""

    name = CharField(64, primary_key=True)
    url = TextField()
    types = TextField()
    created_ms = BigIntegerField()

    class Meta:
        table_name = "dredge_webhook"


class Delivery(BaseModel):
    """An event that is owed to a webhook; with `dead_ms` it was given up, and waits for an operator."""

    id = BigAutoField()
    webhook = CharField(64)
    event_id = CharField(36)
    type = CharField(64)
    subject = TextField()
    data = TextField()
    created_ms = BigIntegerField()
    due_ms = BigIntegerField()
    tries = IntegerField(default=0)
    dead_ms = BigIntegerField(null=True)
    last_error = TextField(null=True)

    class Meta:
        table_name = "dredge_delivery"
