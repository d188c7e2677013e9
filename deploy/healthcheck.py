"""Container health check: ends with 0 when the service of this container says it is ready."""

import http.client
import os
import sys

TIMEOUT_SECONDS = 3.0
SANDBOX_PORT = "8090"


def target() -> tuple[str, str]:
    """Port and path to ask; the sandbox plays a provider and has no ops port."""
    if os.environ.get("SERVICE") == "sandbox":
        return os.environ.get("SONANT_SANDBOX_PORT", SANDBOX_PORT), "/healthz"
    return os.environ["SONANT_OPS_PORT"], "/readyz"


def main() -> int:
    """0 when ready, else 1 with the reason on standard output (`docker inspect` shows it)."""
    port, path = target()
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        sys.stdout.write(answer.read().decode(errors="replace"))
    except OSError as error:
        sys.stdout.write(str(error))
        return 1
    finally:
        connection.close()
    return 0 if answer.status == http.client.OK else 1


if __name__ == "__main__":
    sys.exit(main())
