"""`python -m gateway`."""

import sys

from pydantic import ValidationError

from gateway.app import build
from gateway.settings import GatewaySettings, refusals

if __name__ == "__main__":
    try:
        settings = GatewaySettings()
    except ValidationError as error:
        sys.exit("\n".join(refusals(error)))
    build(settings).run()
