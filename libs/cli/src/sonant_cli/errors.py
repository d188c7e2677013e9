"""What the commands say when they cannot do their work, and the exit code of each kind."""

import os
from typing import ClassVar


class CliError(Exception):
    """Ends the command; the message, shown as it is, says what to do."""

    exit_code: ClassVar[int] = 1


class SettingsError(CliError):
    """A setting, or what it names, cannot be used; another start would end the same way."""

    exit_code = os.EX_CONFIG


class EnginesError(CliError):
    """An engine that is given by its URL cannot be used."""

    exit_code = os.EX_UNAVAILABLE
