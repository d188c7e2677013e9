"""`python -m media` runs the service until it is told to stop."""

from common.kernel.settings import read_settings
from media.app import build, wrong_folder
from media.settings import MediaSettings

if __name__ == "__main__":
    build(read_settings(MediaSettings, wrong_folder)).run()
