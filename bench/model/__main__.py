"""`python -m bench.model STORY --schedule 0,0,1,… | --seed N [--bug RULE] [--postgres]`: replay."""

from __future__ import annotations

import random
from dataclasses import replace

import click

from bench.model.crosscheck import compare, random_story
from bench.model.explorer import by_chance, go_on
from bench.model.postgres import Server
from bench.model.run import Broken
from bench.model.stories import NAMED, STORIES
from bench.model.story import Story
from bench.model.verdict import verify
from worker.local.embedded import EmbeddedServers


@click.command()
@click.argument("name", required=False)
@click.option("--schedule", default="", help="Numbers of the actors, as a failure printed them.")
@click.option("--seed", default=0, help="Seed, as a divergence printed it.")
@click.option("--bug", "rule", help="Remove this rule of `bench.model.rules.Rules`.")
@click.option(
    "--postgres", is_flag=True, help="Run the schedule on a real server, too, and compare each step."
)
def main(name: str | None, schedule: str, seed: int, rule: str | None, postgres: bool) -> None:
    """Replay one schedule of a story.  Without a name, list the stories."""
    if name is None:
        click.echo("\n".join(story.name for story in STORIES))
        return
    if name not in NAMED and not name.startswith("random programs "):
        raise click.UsageError(f"no such story: {name}")
    story = NAMED[name] if name in NAMED else random_story(int(name.rpartition(" ")[2]))
    if rule:
        story = replace(story, rules=replace(story.rules, **{rule: False}))
    show(story, schedule, seed)
    if postgres:
        with EmbeddedServers(valkey=False, storage=False) as servers:
            server = Server(servers.database_url)
            choices = tuple(map(int, schedule.split(","))) if schedule else ()
            divergence = compare(story, server, seed, choices)
            server.close()
        click.echo(divergence.what if divergence else "PostgreSQL does the same.")


def show(story: Story, schedule: str, seed: int) -> None:
    """Print every step with its result, and the verdict."""
    run, database = story.run(story.rules)
    run.log = []
    choices = tuple(map(int, schedule.split(","))) if schedule else ()
    try:
        run.play(choices, go_on if schedule else by_chance(random.Random(seed)))
        verify(run, database, story.rules)
        verdict = "nothing is wrong"
    except Broken as error:
        verdict = str(error)
    for name, what, result in run.log:
        click.echo(f"{name:<12} {what}  ->  {result}")
    click.echo(verdict)


if __name__ == "__main__":
    main()
