"""`sonant topics`: the topics of the log, how long they are and how far each group is behind."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from sonant_cli.bus import with_log
from sonant_cli.whole_table import show as show_table

if TYPE_CHECKING:
    from common.bus.port import Log, TopicStatus


def topics() -> None:
    """Show every topic: partitions, records kept, and the lag of each consumer group.

    One that has had no record yet is on the log only once it has; it is shown with `-`.
    """
    show_table(_table(with_log(_statuses)))


async def _statuses(log: "Log") -> "Sequence[TopicStatus]":
    from common.bus.port import TopicStatus
    from common.events import registry

    declared = registry.topics()
    found = {status.name: status for status in await log.status(declared)}
    return [found.get(each.name) or TopicStatus(each.name, partitions=0, length=0, lag={}) for each in declared]


def _table(statuses: "Sequence[TopicStatus]") -> Table:
    table = Table("topic", "partitions", "length", "groups (records behind)", box=None)
    for topic in statuses:
        table.add_row(topic.name, str(topic.partitions or "-"), str(topic.length), describe_lag(topic.lag))
    return table


def describe_lag(lag: Mapping[str, int]) -> str:
    """The groups by name, each with the records it has not finished."""
    return ", ".join(f"{group} ({behind})" for group, behind in sorted(lag.items())) or "-"
