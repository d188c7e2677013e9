"""`sonant status`: what runs, whether it is ready, what it costs, and how the providers are doing."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psutil
import typer
from rich.table import Table

from sonant_cli.errors import CliError
from sonant_cli.gateway import locate
from sonant_cli.probes import http_ready
from sonant_cli.state import DataDir
from sonant_cli.whole_table import show as show_table

# Long enough for the share of a core to mean something, short enough to wait for.
CPU_SAMPLE = 0.3


@dataclass(frozen=True)
class Cost:
    """Resident memory in bytes and processor share in percent of one core, with all descendants."""

    memory: int
    cpu: float


def status() -> None:
    """Show every process: ready or not, restarts, memory, processor share; and every provider as last seen."""
    data = DataDir.from_environment()
    run = data.read_run()
    if not run or not data.is_running():
        raise CliError(f"sonant does not run with the data directory {data.root}: start it with `sonant up`")
    processes = run["processes"]
    states = asyncio.run(_states(processes))
    costs = measure({name: entry["pid"] for name, entry in processes.items()})
    typer.echo(f"{run['url']} (supervisor pid {run['pid']})")
    show_table(_table(processes, states, costs))
    _show_providers(data)


def _show_providers(data: DataDir) -> None:
    """What the services know of their providers; a line where they cannot be asked."""
    try:
        found = locate(None, None, data).call("GET", "/v1/providers")
    except CliError as error:
        typer.echo(f"providers: {error}")
        return
    table = Table("provider", "service", "state", "latency", "last error", box=None)
    for each in found["data"]:
        latency, failure = each["latency_p50_seconds"], each["last_error"]
        table.add_row(
            each["name"],
            each["service"],
            provider_state(each),
            "-" if latency is None else f"{latency * 1000:.0f} ms",
            "-" if failure is None else failure["text"],
        )
    show_table(table)
    for service in found["unreachable"]:
        typer.echo(f"{service} did not say how its providers are doing")


def provider_state(provider: Mapping[str, Any]) -> str:
    """One word or two for how it is."""
    if not provider["configured"]:
        state = "not configured"
    elif provider["breaker"] != "closed":
        state = f"resting, {provider['retry_in_seconds']:.0f} s"
    else:
        state = {None: "not called yet", True: "healthy", False: "failing"}[provider["healthy"]]
    if not provider["sunset"]:
        return state
    over = datetime.now(UTC).date().isoformat() > provider["sunset"]
    return f"{state}, {'ended' if over else 'ends'} {provider['sunset']}"


async def _states(processes: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    answers = await asyncio.gather(*(_state(entry) for entry in processes.values()))
    return dict(zip(processes, answers, strict=True))


async def _state(entry: Mapping[str, Any]) -> str:
    if not entry["pid"]:
        return "restarting"
    if not entry["ready_url"]:
        return "running"
    return "not ready" if await http_ready(entry["ready_url"]) else "ready"


def measure(pids: Mapping[str, int | None]) -> dict[str, Cost]:
    """What each process costs now; those that are gone are left out."""
    groups = {name: _family(pid) for name, pid in pids.items() if pid}
    for member in (member for group in groups.values() for member in group):
        _cpu(member)
    psutil.cpu_percent(CPU_SAMPLE)
    return {name: _cost(group) for name, group in groups.items() if group}


def _family(pid: int) -> Sequence[psutil.Process]:
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


def _cost(group: Sequence[psutil.Process]) -> Cost:
    return Cost(sum(_memory(member) for member in group), sum(_cpu(member) for member in group))


def _cpu(process: psutil.Process) -> float:
    with suppress(psutil.Error):
        return process.cpu_percent()
    return 0.0


def _memory(process: psutil.Process) -> int:
    """Resident bytes not shared with files or other processes, so that a family can be added up."""
    with suppress(psutil.Error):
        memory = process.memory_info()
        return int(memory.rss - getattr(memory, "shared", 0))
    return 0


def _table(processes: Mapping[str, Mapping[str, Any]], states: Mapping[str, str], costs: Mapping[str, Cost]) -> Table:
    table = Table("process", "state", "pid", "restarts", "memory", "cpu", "ops", box=None)
    for name, entry in processes.items():
        cost = costs.get(name, Cost(0, 0.0))
        table.add_row(
            name,
            states[name],
            str(entry["pid"] or "-"),
            str(entry["restarts"]),
            f"{cost.memory / 1e6:.0f} MB",
            f"{cost.cpu:.0f} %",
            entry["ops_url"] or "-",
        )
    return table
