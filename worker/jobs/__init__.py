"""Use cases as plain functions.  Tasks, commands and tests call them; nothing here imports Celery."""
