"""`python -m gateway`."""

from common.kernel.settings import read_settings
from gateway.app import build, wrong_surroundings
from gateway.settings import GatewaySettings

if __name__ == "__main__":
    build(read_settings(GatewaySettings, wrong_surroundings)).run()
