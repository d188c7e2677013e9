"""`python -m resources` runs the service until it is told to stop."""

from common.kernel.settings import read_settings
from resources.app import build, wrong_accounts
from resources.settings import ResourcesSettings

if __name__ == "__main__":
    build(read_settings(ResourcesSettings, wrong_accounts)).run()
