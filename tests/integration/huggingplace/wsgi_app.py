"""A web application that logs each request, with a client that was made when the module was imported."""

import json
import os
from collections.abc import Callable, Iterable
from typing import Any

from huggingplace import HuggingPlace

client = HuggingPlace()
client.log(user_prompt="the application is loaded")


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    logged = client.log(user_prompt=environ["PATH_INFO"], response="hello")
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"id": logged, "pid": os.getpid()}).encode()]
