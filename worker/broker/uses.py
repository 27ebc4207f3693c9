"""What a worker, a beat and a client do with each server, for `dredge check` and the start of a process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from model import redis_url
from model.errors import BadInput
from worker.broker import trials, urls
from worker.broker.connection import OUTAGE
from worker.broker.refusals import BrokerRefuses, advice, find_refusal, short
from worker.broker.trials import Trial
from worker.settings import Settings


@dataclass(frozen=True)
class Server:
    """A server of the settings; `part` is also the name of its variable, `trials` are by name of the use."""

    part: str
    url: str
    trials: Mapping[str, Trial]

    @property
    def variable(self) -> str:
        """Return the variable that names the server."""
        return f"DREDGE_{self.part.upper()}_URL"

    def problem(self, use: str, error: BaseException) -> str:
        """Return in one line what cannot be used, why, and what to do."""
        why = short(find_refusal(error) or error)
        return f"{urls.place(self.url)}: {use} cannot be used ({why}): {advice(error, self.variable)}"


def of_tasks(settings: Settings) -> tuple[Server, ...]:
    """Return the broker and the Redis of results, marks and the schedule, which may be one server."""
    queues: dict[str, Trial] = {"queues": trials.try_queues}
    redis_uses: dict[str, Trial] = {
        "results": trials.try_results,
        "marks": trials.try_marks,
        "schedule": trials.try_schedule,
    }
    if settings.own_redis == settings.broker_url:
        return (_asking("broker", settings.broker_url, queues | redis_uses),)
    return (
        _asking("broker", settings.broker_url, queues),
        _asking("redis", settings.own_redis, redis_uses),
    )


def _asking(part: str, url: str, uses: Mapping[str, Trial]) -> Server:
    """Return the server; the Sentinels that name it are tried before it."""
    if not urls.is_amqp(url) and redis_url.parse(url).is_sentinel:
        return Server(part, url, {"sentinels": trials.sentinels_trial(url), **uses})
    return Server(part, url, uses)


def require(settings: Settings) -> None:
    """Raise `BrokerRefuses` if a server answers and refuses a command of a worker or beat.

    Ignores a server that does not answer: a process may start before its servers.  Takes seconds.
    """
    for server in of_tasks(settings):
        for use, trial in server.trials.items():
            try:
                trial(settings)
            except (*OUTAGE, BadInput) as error:
                if isinstance(error, BadInput) or find_refusal(error):
                    raise BrokerRefuses(server.problem(use, error)) from error
                break
