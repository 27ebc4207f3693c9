"""Use cases as plain functions: what a task, a command or a test calls.  No Celery here."""
