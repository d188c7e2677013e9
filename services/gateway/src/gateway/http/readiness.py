"""The health routes of the public port: what is wrong by name, and the details only on the ops port."""

from aiohttp import web

from common.kernel.health import Health, ops_routes

# What complains may name hosts, sockets and files.
COMPLAINT = "does not work right now"


def public_health_routes(health: Health, *, metrics: bool = False) -> list[web.RouteDef]:
    """`ops_routes` with a `/readyz` that strangers may read, and with `metrics` those too: they tell a lot."""

    async def readyz(_: web.Request) -> web.Response:
        complaints = dict.fromkeys(health.complaints(), COMPLAINT)
        body = {"status": "unready" if complaints else "ready", "complaints": complaints, **_by_service(health)}
        return web.json_response(body, status=503 if complaints else 200)

    kept = {"/healthz", "/metrics"} if metrics else {"/healthz"}
    return [*(route for route in ops_routes(health) if route.path in kept), web.get("/readyz", readyz)]


def _by_service(health: Health) -> dict[str, dict[str, str]]:
    """What is wrong with other services, by their names alone: instances are often named after hosts."""
    return {
        part: dict.fromkeys(sorted({instance.partition("/")[0] for instance in found}), COMPLAINT)
        for part, found in health.details().items()
    }
