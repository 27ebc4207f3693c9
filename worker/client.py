"""Send tasks to the workers from any Python program.  Needs only kombu and celery, no database.

from worker.client import Client

client = Client("redis://broker/0")
client.delete_tag("library", "nginx", "old").get(timeout=10)
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

from celery import Celery
from celery.result import AsyncResult

from worker.broker import routes, urls


class Client:
    """Sends tasks.  Each method returns an `AsyncResult` at once, without waiting for the task.

    `result.get(timeout=…)` returns the task's result, or raises its error, such as a
    `model.errors.RegistryError` about wrong arguments.
    """

    def __init__(self, broker_url: str, *, redis_url: str = "", key_prefix: str = "dredge:") -> None:
        """`redis_url` and `key_prefix` are the workers' DREDGE_REDIS_URL and DREDGE_KEY_PREFIX.

        Opens no connection before the first call.  Raises `BadInput` if a URL cannot be a broker's.
        """
        broker, results = urls.for_kombu(broker_url), urls.for_kombu(redis_url or broker_url)
        self._app = Celery("dredge-client", set_as_current=False)
        self._app.conf.update(
            broker_url=broker.url,
            broker_use_ssl=broker.ssl,
            broker_transport_options=routes.transport_options(broker_url, key_prefix),
            result_backend=results.url,
            result_backend_transport_options=results.transport_options,
            redis_backend_use_ssl=results.ssl,
            task_publish_retry_policy=routes.PUBLISH_RETRY,
            redis_socket_timeout=10,
            redis_socket_connect_timeout=5,
            task_create_missing_queues=False,
            task_queues=routes.task_queues(broker_url),
            task_default_queue=routes.MAINTENANCE_QUEUE,
            accept_content=["json"],
            result_accept_content=["json"],
        )

    def collect(self, repository: int | str) -> AsyncResult:
        """Collect the garbage of a repository, given by its ID or as `namespace/name`, now."""
        return self._send(routes.COLLECT, repository)

    def find(self) -> AsyncResult:
        """Find repositories with garbage now, and enqueue their collections.  The task stores no result."""
        return self._send(routes.FIND, ignore_result=True)

    def delete_tag(self, namespace: str, repository: str, tag: str) -> AsyncResult:
        """Delete a tag; it can be restored until its namespace's recovery window closes."""
        return self._send(routes.DELETE_TAG, namespace, repository, tag)

    def delete_tag_permanently(
        self,
        namespace: str,
        repository: str,
        tag: str,
        digest: str,
        *,
        is_alive: bool = False,
        include_submanifests: bool = False,
    ) -> AsyncResult:
        """End the recovery window of a deleted tag; with `is_alive`, delete a live tag permanently."""
        return self._send(
            routes.DELETE_TAG_PERMANENTLY,
            namespace,
            repository,
            tag,
            digest,
            is_alive,
            include_submanifests,
        )

    def restore_tag(self, namespace: str, repository: str, tag: str, digest: str) -> AsyncResult:
        """Point a tag at a manifest again to which it pointed before."""
        return self._send(routes.RESTORE_TAG, namespace, repository, tag, digest)

    def delete_repository(self, repository: str) -> AsyncResult:
        """Delete a repository, given as `namespace/name`; it can be restored within its grace."""
        return self._send(routes.DELETE_REPOSITORY, repository)

    def restore_repository(self, repository: str, *, name: str | None = None) -> AsyncResult:
        """Undo the latest deletion of a repository; `name` gives it another name in its namespace."""
        return self._send(routes.RESTORE_REPOSITORY, repository, name)

    def delete_namespace(self, namespace: str) -> AsyncResult:
        """Delete a namespace, with everything in it; it can be restored within its grace."""
        return self._send(routes.DELETE_NAMESPACE, namespace)

    def restore_namespace(self, namespace: str, *, new_name: str | None = None) -> AsyncResult:
        """Undo the latest deletion of a namespace; `new_name` gives it another name."""
        return self._send(routes.RESTORE_NAMESPACE, namespace, new_name)

    def retain(self, repository: int | str) -> AsyncResult:
        """Run the retention rules of a repository, given by its ID or as `namespace/name`, now."""
        return self._send(routes.RETAIN, repository)

    def purge_repository(self, repository_id: int) -> AsyncResult:
        """Purge a deleted repository, given by its ID.  Does nothing before its grace is over."""
        return self._send(routes.PURGE_REPOSITORY, repository_id)

    def purge_namespace(self, namespace_id: int) -> AsyncResult:
        """Purge a deleted namespace, given by its ID.  Does nothing before its grace is over."""
        return self._send(routes.PURGE_NAMESPACE, namespace_id)

    def close(self) -> None:
        """Close the connections."""
        self._app.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, task: str, *args: Any, ignore_result: bool = False) -> AsyncResult:
        return self._app.send_task(task, args, queue=routes.QUEUE_OF[task], ignore_result=ignore_result)
