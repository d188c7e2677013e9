"""`sonant dlq`: the dead letters, counted, shown, published anew and put away."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from sonant_cli.bus import with_log
from sonant_cli.errors import CliError
from sonant_cli.settled_letters import read_open, settle
from sonant_cli.whole_table import show as show_table

if TYPE_CHECKING:
    from common.bus.port import Log
    from common.events.record import Received, Record
    from common.events.spec import Topic

PREVIEW = 200

dlq = typer.Typer(no_args_is_help=True, help="List, show, replay and purge dead letters.")

TopicName = Annotated[str, typer.Argument(help="The dead-letter topic, with or without its suffix -dlq.")]


@dataclass(frozen=True)
class Depth:
    """One dead-letter topic: its open records and the time of the oldest (unix seconds), if there is one.

    `reasons` has the same for each event type and error.
    """

    topic: str
    records: int
    oldest: float | None
    reasons: Mapping[tuple[str, str], tuple[int, float]]


@dlq.command("list")
def list_topics(
    reasons: Annotated[bool, typer.Option("--reasons", help="A line for each event type and error.")] = False,
) -> None:
    """Show how many open dead letters each topic keeps, and since when."""
    depths = with_log(_depths)
    table = Table("topic", "event", "error", "records", "oldest", box=None) if reasons else _plain_table()
    for depth in depths:
        if not reasons:
            table.add_row(depth.topic, str(depth.records), _since(depth.oldest))
        for (event, error), (records, oldest) in depth.reasons.items() if reasons else ():
            table.add_row(depth.topic, _harmless(event), _harmless(error), str(records), _since(oldest))
    show_table(table)


def _plain_table() -> Table:
    return Table("topic", "records", "oldest", box=None)


def _since(oldest: float | None) -> str:
    return "-" if oldest is None else _moment(oldest)


async def _depths(log: "Log") -> Sequence[Depth]:
    return [depth_of(topic.name, await read_open(log, topic)) for topic in _dead_letter_topics()]


def depth_of(topic: str, letters: "Sequence[Received]") -> Depth:
    """How many there are, in all and by event type and error; the most frequent reason first."""
    reasons: dict[tuple[str, str], tuple[int, float]] = {}
    for record in letters:
        reason = record.headers.get("event-type") or "-", record.headers.get("dlq-error") or "-"
        count, oldest = reasons.get(reason, (0, record.timestamp))
        reasons[reason] = count + 1, min(oldest, record.timestamp)
    frequent = sorted(reasons.items(), key=lambda item: -item[1][0])
    return Depth(topic, len(letters), min((record.timestamp for record in letters), default=None), dict(frequent))


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


@dataclass(frozen=True)
class Choice:
    """Which letters are meant; what is not given does not matter. Times are unix seconds."""

    ids: Sequence[str] = ()
    type: str | None = None
    error: str | None = None
    organization: str | None = None
    since: float | None = None
    until: float | None = None

    def matches(self, letter: "Received") -> bool:
        headers = letter.headers
        return (
            (not self.ids or headers.get("event-id") in self.ids)
            and (self.type is None or headers.get("event-type", "").partition("/")[0] == self.type.partition("/")[0])
            and (self.error is None or headers.get("dlq-error") == self.error)
            and (self.organization is None or organization_of(letter.key) == self.organization)
            and (self.since is None or letter.timestamp >= self.since)
            and (self.until is None or letter.timestamp < self.until)
        )

    def __bool__(self) -> bool:
        return self != Choice()


def organization_of(key: str) -> str:
    """The beginning of a key, up to its first `/` or `:`, as events declare it."""
    return key.replace(":", "/").partition("/")[0]


EventId = Annotated[list[str] | None, typer.Option("--id", help="An event id; may be repeated.")]
Everything = Annotated[bool, typer.Option("--all", help="Every open record of the topic.")]
OfType = Annotated[str | None, typer.Option("--type", help="An event type, such as chat.reply.completed.")]
OfError = Annotated[str | None, typer.Option("--error", help="The class of the error, such as ValidationError.")]
OfOrganization = Annotated[str | None, typer.Option("--org", help="Of this organisation alone.")]
Since = Annotated[datetime | None, typer.Option("--since", help="Parked at or after this time (UTC).")]
Until = Annotated[datetime | None, typer.Option("--until", help="Parked before this time (UTC).")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]


@dlq.command()
def show(
    topic: TopicName,
    *,
    limit: Annotated[int, typer.Option(min=1, help="At most this many, the oldest first.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, with the whole value.")] = False,
    type: OfType = None,
    error: OfError = None,
    org: OfOrganization = None,
    since: Since = None,
    until: Until = None,
) -> None:
    """Show open dead letters with what went wrong."""
    wanted = find_topic(topic)
    choice = Choice((), type, error, org, _unix(since), _unix(until))

    async def read(log: "Log") -> "Sequence[Received]":
        return [letter for letter in await read_open(log, wanted) if choice.matches(letter)]

    found = with_log(read)
    for record in found[:limit]:
        letter = read_letter(record)
        typer.echo(json.dumps(asdict(letter)) if as_json else describe(letter))
    if len(found) > limit:
        typer.echo(f"... and {len(found) - limit} more", err=True)


@dlq.command()
def replay(
    topic: TopicName,
    *,
    event_id: EventId = None,
    everything: Everything = False,
    type: OfType = None,
    error: OfError = None,
    org: OfOrganization = None,
    since: Since = None,
    until: Until = None,
    dry_run: DryRun = False,
) -> None:
    """Publish dead letters anew on the topic they came from, and settle them. A handler takes effect once per event."""
    wanted = find_topic(topic)
    choice = Choice(tuple(event_id or ()), type, error, org, _unix(since), _unix(until))
    _check_choice(choice, everything)

    async def publish(log: "Log") -> tuple[int, int]:
        chosen = choose(await read_open(log, wanted), choice)
        letters = [letter for letter in chosen if is_whole(letter)]
        for letter in () if dry_run else track(newest(letters), "replaying", console=Console(stderr=True)):
            await log.publish(as_first_published(letter))
        if letters and not dry_run:
            await settle(log, wanted, letters, "replayed")
        return len(newest(letters)), len(chosen) - len(letters)

    replayed, left = with_log(publish)
    typer.echo(f"{'would replay' if dry_run else 'replayed'} {replayed} records of {wanted.name}")
    if left:
        typer.echo(f"{left} cannot be read or were cut: `sonant dlq purge` settles them", err=True)


@dlq.command()
def purge(
    topic: TopicName,
    *,
    event_id: EventId = None,
    everything: Everything = False,
    type: OfType = None,
    error: OfError = None,
    org: OfOrganization = None,
    since: Since = None,
    until: Until = None,
    dry_run: DryRun = False,
) -> None:
    """Settle dead letters without replaying them: they are listed no more, and go when their time is over."""
    wanted = find_topic(topic)
    choice = Choice(tuple(event_id or ()), type, error, org, _unix(since), _unix(until))
    _check_choice(choice, everything)

    async def put_away(log: "Log") -> int:
        letters = choose(await read_open(log, wanted), choice)
        if letters and not dry_run:
            await settle(log, wanted, letters, "purged")
        return len(letters)

    typer.echo(f"{'would purge' if dry_run else 'purged'} {with_log(put_away)} records of {wanted.name}")


def _check_choice(choice: Choice, everything: bool) -> None:
    if everything == bool(choice):
        raise CliError("say which: --id (may be repeated), --type, --error, --org, --since, --until, or --all")


def _unix(moment: datetime | None) -> float | None:
    return None if moment is None else moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()


def choose(letters: "Sequence[Received]", choice: Choice) -> "Sequence[Received]":
    """Those that are meant, the oldest first.

    Raises:
        CliError: an id is not among the open dead letters.
    """
    known = {letter.headers.get("event-id") for letter in letters}
    if missing := [event_id for event_id in choice.ids if event_id not in known]:
        raise CliError(f"not among the open dead letters: {', '.join(missing)}")
    return [letter for letter in letters if choice.matches(letter)]


def newest(letters: "Sequence[Received]") -> "Sequence[Received]":
    """The last record of each event: one that failed again was parked again."""
    return list({letter.headers.get("event-id", letter.offset): letter for letter in letters}.values())


def is_whole(letter: "Received") -> bool:
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
