"""`python -m resources` runs the service until it is told to stop."""

from resources.app import build
from resources.settings import ResourcesSettings

build(ResourcesSettings()).run()
