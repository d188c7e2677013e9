"""The reference of the `sonant` command, from its parser."""

import re
from typing import cast

import typer
from typer.cli import get_docs_for_click

from common.docs import sources
from common.docs.markdown import GENERATED

EXIT_CODES = """## Exit codes

| code | means |
|---|---|
| 0 | done |
| 1 | it could not be done; one line on standard error says why |
| 2 | the command was typed wrongly |
| 69 | an engine does not answer, or does not let us in |
| 78 | a setting, or a file that it names, is wrong |
"""


def reference() -> str:
    """The page, in Markdown."""
    [(_, module)] = sources.load(sources.COMMAND_LINE)
    command = typer.main.get_command(module.app)
    context = cast("typer.Context", command.make_context("sonant", ["--help"], resilient_parsing=True))
    text = get_docs_for_click(obj=command, ctx=context, name="sonant")
    return f"{GENERATED}\n\n{_tidied(text)}\n{EXIT_CODES}"


def _tidied(text: str) -> str:
    """Lists of commands cut their texts off, which stand in full below: they keep the names alone."""
    text = re.sub(r"^\* `(\w[\w-]*)`: .*$", r"* `\1`", text, flags=re.MULTILINE)
    return "\n".join(line.rstrip() for line in text.splitlines()).strip() + "\n"
