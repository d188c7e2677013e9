"""The reference of metrics: what each process shows under /metrics."""

from collections.abc import Iterator
from types import ModuleType
from typing import cast

from prometheus_client.metrics import MetricWrapperBase

from common.docs import sources
from common.docs.markdown import code, page, table

HEADER = ("metric", "type", "labels", "meaning")
INTRO = "What each process shows on its ops port under `/metrics`."


def reference() -> str:
    """The page, in Markdown."""
    return page("Metrics", INTRO, *(_section(heading, module) for heading, module in sources.load(sources.METRICS)))


def _section(heading: str, module: ModuleType) -> str:
    return f"## {heading}\n\n{table(HEADER, map(_row, declared_in(module)))}"


def declared_in(module: ModuleType) -> Iterator[MetricWrapperBase]:
    """The metrics a module defines, in the order of the file."""
    return (member for member in vars(module).values() if isinstance(member, MetricWrapperBase))


def _row(metric: MetricWrapperBase) -> tuple[str, ...]:
    [family] = metric.describe()
    # The library keeps the suffix of counters out of the family name, and offers no public way to the labels.
    name = f"{family.name}_total" if family.type == "counter" else family.name
    labels = cast("tuple[str, ...]", metric._labelnames)  # noqa: SLF001
    return code(name), family.type, ", ".join(map(code, labels)), family.documentation
