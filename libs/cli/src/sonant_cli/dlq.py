"""`sonant dlq`: the dead letters, counted, shown and published anew."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from sonant_cli.bus import with_log
from sonant_cli.errors import CliError

if TYPE_CHECKING:
    from common.bus.port import Log
    from common.events.record import Received, Record
    from common.events.spec import Topic

PREVIEW = 200
# Records per read: a few megabytes at most in one answer of the log.
PAGE = 500

dlq = typer.Typer(no_args_is_help=True, help="List, show and replay dead letters.")

TopicName = Annotated[str, typer.Argument(help="The dead-letter topic, with or without its suffix -dlq.")]


@dataclass(frozen=True)
class Depth:
    """One dead-letter topic: records kept and the time of the oldest (unix seconds), if there is one."""

    topic: str
    records: int
    oldest: float | None


@dlq.command("list")
def list_topics() -> None:
    """Show how many dead letters each topic keeps, and since when."""
    table = Table("topic", "records", "oldest", box=None)
    for depth in with_log(_depths):
        table.add_row(depth.topic, str(depth.records), _moment(depth.oldest) if depth.oldest else "-")
    Console().print(table)


async def _depths(log: "Log") -> Sequence[Depth]:
    lengths = {status.name: status.length for status in await log.status(_dead_letter_topics())}
    return [await _depth(log, topic, lengths.get(topic.name, 0)) for topic in _dead_letter_topics()]


async def _depth(log: "Log", topic: "Topic", records: int) -> Depth:
    first = await log.read(topic, limit=1) if records else []
    return Depth(topic.name, records, first[0].timestamp if first else None)


def _dead_letter_topics() -> "Sequence[Topic]":
    from common.events import registry

    return [topic for topic in registry.topics() if topic.is_dead_letters]


def find_topic(name: str) -> "Topic":
    """The dead-letter topic called `name`, or that of the topic called so.

    Raises:
        CliError: there is no such topic.
    """
    known = {topic.name: topic for topic in _dead_letter_topics()}
    found = known.get(name) or known.get(f"{name}-dlq")
    if found is None:
        raise CliError(f"no dead-letter topic {name}: there are {', '.join(known)}")
    return found


@dlq.command()
def show(
    topic: TopicName,
    limit: Annotated[int, typer.Option(min=1, help="At most this many, the oldest first.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, with the whole value.")] = False,
) -> None:
    """Show dead letters with what went wrong."""
    wanted = find_topic(topic)

    async def read(log: "Log") -> "Sequence[Received]":
        return await log.read(wanted, limit=limit)

    for record in with_log(read):
        letter = read_letter(record)
        typer.echo(json.dumps(asdict(letter)) if as_json else describe(letter))


@dlq.command()
def replay(
    topic: TopicName,
    event_id: Annotated[list[str] | None, typer.Option("--id", help="An event id; may be repeated.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every record of the topic.")] = False,
) -> None:
    """Publish dead letters anew on the topic they came from; handlers take effect once per event id."""
    if everything == bool(event_id):
        raise CliError("say which: --id (may be repeated) or --all")
    wanted = find_topic(topic)

    async def publish(log: "Log") -> int:
        letters = choose(await _read_all(log, wanted), event_id)
        for letter in track(letters, "replaying", console=Console(stderr=True)):
            await log.publish(as_first_published(letter))
        return len(letters)

    typer.echo(f"replayed {with_log(publish)} records of {wanted.name}")


async def _read_all(log: "Log", topic: "Topic") -> "Sequence[Received]":
    """Everything the topic holds now. Nothing is published meanwhile, so what fails again is not met twice."""
    found: list[Received] = []
    after: dict[int, str] = {}
    while page := await log.read(topic, limit=PAGE, after=after):
        found += page
        after |= {record.partition.number: record.offset for record in page}
    return found


def choose(letters: "Sequence[Received]", event_ids: Sequence[str] | None) -> "Sequence[Received]":
    """The last record of each wanted event (one that failed again was parked again), or of every event.

    What could not be read is left out.

    Raises:
        CliError: an id is not among the dead letters.
    """
    latest = {letter.headers.get("event-id", letter.offset): letter for letter in letters if _is_whole(letter)}
    if missing := [event_id for event_id in event_ids or () if event_id not in latest]:
        raise CliError(f"not among the dead letters: {', '.join(missing)}")
    return [latest[event_id] for event_id in event_ids or latest]


def _is_whole(letter: "Received") -> bool:
    """Whether replaying can help: bytes that could not be read stay so, and a record that was cut is another one."""
    return letter.headers.get("dlq-error") != "UnreadableError" and "dlq-cut-from-bytes" not in letter.headers


def as_first_published(letter: "Received") -> "Record":
    """The record as it was before it was parked: on its own topic, without the headers of a dead letter."""
    from common.events.record import Record

    headers = {name: value for name, value in letter.headers.items() if not name.startswith("dlq-")}
    topic = letter.headers.get("dlq-topic") or letter.topic.removesuffix("-dlq")
    return Record(topic, letter.key, letter.value, headers)


@dataclass(frozen=True)
class Letter:
    """A dead letter: the record, and why it was parked; times are unix seconds."""

    id: str
    type: str
    key: str
    from_topic: str
    from_offset: str
    handler: str
    error: str
    message: str
    attempts: int
    first_failure: float
    last_failure: float
    value: str


def read_letter(record: "Received") -> Letter:
    """A parked record in an operator's terms; what its passport lacks is left empty."""
    passport = record.headers
    return Letter(
        id=passport.get("event-id", ""),
        type=passport.get("event-type", ""),
        key=record.key,
        from_topic=passport.get("dlq-topic", ""),
        from_offset=f"{passport.get('dlq-partition', '')}/{passport.get('dlq-offset', '')}",
        handler=passport.get("dlq-handler", ""),
        error=passport.get("dlq-error", ""),
        message=passport.get("dlq-message", ""),
        attempts=int(_number(passport.get("dlq-attempts"), 0)),
        first_failure=_number(passport.get("dlq-first-failure"), record.timestamp),
        last_failure=_number(passport.get("dlq-last-failure"), record.timestamp),
        value=record.value.decode(errors="replace"),
    )


def describe(letter: Letter) -> str:
    """A few lines a dead letter, its value cut short."""
    span = f"{letter.attempts} tries from {_moment(letter.first_failure)} to {_moment(letter.last_failure)}"
    value = letter.value if len(letter.value) <= PREVIEW else f"{letter.value[:PREVIEW]} ..."
    lines = [
        f"{letter.id}  {letter.type}  key {letter.key}",
        f"  {letter.error}: {letter.message}",
        f"  {letter.handler}, {span}, from {letter.from_topic} {letter.from_offset}",
        f"  {value}",
    ]
    return "\n".join(_harmless(line) for line in lines)


def _harmless(line: str) -> str:
    """The line without control characters: what a caller sent must not steer the operator's terminal."""
    return "".join(character if character.isprintable() else " " for character in line)


def _number(given: str | None, otherwise: float) -> float:
    """A header as a number; `otherwise` where it is none, since anybody may write to a topic."""
    try:
        number = otherwise if given is None else float(given)
    except ValueError:
        return otherwise
    return number if math.isfinite(number) else otherwise


def _moment(value: float) -> str:
    try:
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{value:.0f} s"
