"""`python -m gateway`."""

from gateway.app import build
from gateway.settings import GatewaySettings

if __name__ == "__main__":
    build(GatewaySettings()).run()
