"""Health as components that complain: ready is when nobody does."""

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

Complaint = Callable[[], str | None]


class Health:
    """Collects complaints of the parts of one process."""

    def __init__(self) -> None:
        self._components: dict[str, Complaint] = {}
        self._details: dict[str, Callable[[], dict[str, str]]] = {}
        self._state = "starting"

    def watch(self, component: str, complaint: Complaint) -> None:
        """Ask `complaint` on every readiness check; it returns what is wrong, or None."""
        self._components[component] = complaint

    def tell(self, part: str, details: Callable[[], dict[str, str]]) -> None:
        """Show what is wrong elsewhere beside the complaints; it makes this process no less ready."""
        self._details[part] = details

    def details(self) -> dict[str, dict[str, str]]:
        return {part: found for part, details in self._details.items() if (found := details())}

    def state(self, state: str) -> None:
        """`starting`, `ready` or `stopping`: the process as a whole."""
        self._state = state

    @property
    def starting(self) -> bool:
        return self._state == "starting"

    def complaints(self) -> dict[str, str]:
        found = {name: text for name, complain in self._components.items() if (text := complain())}
        return found if self._state == "ready" else {"process": self._state, **found}


def ops_routes(health: Health) -> list[web.RouteDef]:
    """`/healthz` (the process answers), `/readyz` (it can do its work), `/metrics` (Prometheus text)."""

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(_: web.Request) -> web.Response:
        complaints = health.complaints()
        body = {"status": "unready" if complaints else "ready", "complaints": complaints, **health.details()}
        return web.json_response(body, status=503 if complaints else 200)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return [web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)]
