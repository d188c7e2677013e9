"""`python -m tests.bench.pauses`: the longest pause of each event loop for each dear input, against 100 ms."""

import httpx

from tests.support.clients import new_key
from tests.support.dear_inputs import INPUTS, LOOK_OFTEN, SERVICES, models_text, pauses, upstream
from tests.support.sonant import sonant_system

AIM_SECONDS = 0.1


def main() -> None:
    """Print one line an input: the bucket of the longest pause in ms, and in brackets what of it was work."""
    with upstream() as url, sonant_system(models_text=models_text(url), env=LOOK_OFTEN) as system:
        key = new_key(system, scopes=["chat", "resources"])
        print(f"{'longest pause in ms, at most (at work)':46} | " + " | ".join(f"{name:>13}" for name in SERVICES))
        with httpx.Client(base_url=system.url, headers={**key.headers, "x-user-id": "u"}, timeout=120) as client:
            for name, send in INPUTS.items():
                _, longest = pauses(system, client, send)
                shown = (f"{each.seconds * 1000:6.0f} ({each.worked * 1000:4.0f})" for each in longest.values())
                worst = max(each.worked for each in longest.values())
                print(f"{name:46} | " + " | ".join(shown) + ("" if worst <= AIM_SECONDS else "  above the aim"))


if __name__ == "__main__":
    main()
