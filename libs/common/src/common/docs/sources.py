"""Where settings and metrics are declared: the one list to extend when a service is added.

Paths, not imports: this package knows no service, and resolves them only when it writes.
"""

import importlib
from types import ModuleType

# (heading, module); a heading names the process that reads the settings or shows the metrics.
SETTINGS = (
    ("every service", "common.kernel.settings"),
    ("gateway", "gateway.settings"),
    ("llm-stream", "llm_stream.settings"),
    ("media", "media.settings"),
    ("resources", "resources.settings"),
    ("telemetry", "telemetry.settings"),
)
METRICS = (
    ("every service", "common.kernel.metrics"),
    ("every service, of the bus", "common.bus.metrics"),
    ("services that write to the database", "common.storage.database_watch"),
    ("services with an outbox", "common.bus.outbox"),
    ("services that call providers", "common.providers.metrics"),
    ("services with jobs", "common.jobs.job_metrics"),
    ("services that read resources", "common.clients.resources.metrics"),
    ("gateway", "gateway.metrics"),
    ("llm-stream", "llm_stream.metrics"),
    ("media", "media.metrics"),
    ("resources", "resources.metrics"),
    ("telemetry", "telemetry.metrics"),
)
MODELS_FILE = (("llm-stream", "llm_stream.aliases"),)
ROUTES = (("gateway", "gateway.routes"),)
COMMAND_LINE = (("sonant", "sonant_cli.main"),)
# The folders, from the root of the repository, whose code tells callers what went wrong.
REFUSING = ("libs/common/src", "services")


def load(paths: tuple[tuple[str, str], ...]) -> list[tuple[str, ModuleType]]:
    """The modules with their headings, in order; raises ModuleNotFoundError."""
    return [(heading, importlib.import_module(path)) for heading, path in paths]
