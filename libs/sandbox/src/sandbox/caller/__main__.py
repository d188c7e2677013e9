"""Plays a call to a running Sonant: `python -m sandbox.caller --url http://127.0.0.1:8080 --platform hume`."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

import aiohttp

from sandbox.caller.scripted_call import PlayedTurn, ScriptedCall
from sandbox.caller.voice_platforms import PLATFORMS

KEY_VARIABLE = "SONANT_API_KEY"
TURN_SECONDS = 120.0


def main() -> None:
    """Read the command line, play, and end with 1 where a turn went wrong."""
    options = _parser().parse_args()
    if not (key := os.environ.get(KEY_VARIABLE, "").strip()):
        sys.exit(f"{KEY_VARIABLE} is to hold an API key with the scope chat")
    names = list(PLATFORMS) if options.platform == "all" else [options.platform]
    failed = [name for name in names if not asyncio.run(_call(name, key, options))]
    sys.exit(1 if failed else 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sandbox.caller", description="A call of twenty turns, as platforms make it")
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="where Sonant listens")
    parser.add_argument("--platform", default="all", choices=["all", *PLATFORMS])
    parser.add_argument("--model", default="default", help="the alias that answers")
    parser.add_argument("--slow-model", help="an alias that speaks for seconds, to be spoken over; else the same")
    parser.add_argument("--any-words", action="store_true", help="do not look at what the model says")
    return parser


async def _call(platform: str, key: str, options: argparse.Namespace) -> bool:
    """Play one call and tell of it; whether all of it went well."""
    timeout = aiohttp.ClientTimeout(total=TURN_SECONDS)
    headers = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(options.url, headers=headers, timeout=timeout) as http:
        caller = PLATFORMS[platform](http)
        script = ScriptedCall(caller, options.model, options.slow_model or options.model, exact=not options.any_words)
        played = await script.play()
    sys.stdout.write("\n".join([f"{platform}, session {caller.session}", *_lines(played), ""]))
    return all(turn.problem is None for turn in played)


def _lines(played: Sequence[PlayedTurn]) -> list[str]:
    return [f"  {turn.number:>2} {turn.what}: {turn.problem or 'ok'}" for turn in played]


if __name__ == "__main__":
    main()
