"""What the commands say when they cannot do their work."""


class CliError(Exception):
    """Ends the command with exit code 1; the message, shown as it is, says what to do."""
