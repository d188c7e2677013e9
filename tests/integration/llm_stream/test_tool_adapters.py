"""What stands behind tools: servers by signed POST, packages by entry points, the weather."""

import asyncio
import base64
import hashlib
import hmac
import re
import sys
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Annotated, Any

import aiohttp
import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import Field

from common.docs.__main__ import REPOSITORY
from common.kernel.worker_processes import WorkerProcesses
from common.providers.addresses import AddressRules, networks
from common.providers.guarded_http import open_guarded_http
from common.secret_box import SecretBox
from llm_stream.adapters.python_tools import PythonToolsError, python_tools, tool_of
from llm_stream.adapters.tool_server import HttpToolServer
from llm_stream.adapters.weather_api import OpenMeteo
from llm_stream.ports import ToolError
from llm_stream.tools.execution import Calls
from llm_stream.tools.tool import Call, Caller
from llm_stream.tools.toolbox import Toolbox, ToolSources
from sandbox.app import build_app
from sonant_cli.loopback import free_ports
from tests.support.waiting import eventually

CALLER = Caller("org-1", "ada", "session-1", "chatcmpl-1")
BOX = SecretBox(["k" * 32])
KEY = b"0123456789abcdef"
SECRET = "whsec_" + base64.b64encode(KEY).decode()
LOCAL = AddressRules(allow=networks("127.0.0.0/8"))


class Shop:
    """A server of tools, and what it was sent."""

    def __init__(self) -> None:
        self.seen: list[tuple[dict[str, str], bytes]] = []

    async def order(self, request: web.Request) -> web.Response:
        self.seen.append(({name.lower(): value for name, value in request.headers.items()}, await request.read()))
        kind = request.query.get("kind")
        if kind == "plain":
            return web.Response(text="It is on its way.")
        if kind == "large":
            return web.Response(body=b"x" * 10_000_000)
        if kind == "broken":
            return web.Response(status=500)
        call = orjson.loads(self.seen[-1][1])["tool_call"]
        return web.json_response({"tool_call_id": call["id"], "output": f"Order {call['function']['arguments']}"})


@asynccontextmanager
async def shop() -> AsyncIterator[tuple[Shop, str]]:
    serving = Shop()
    app = web.Application()
    app.router.add_post("/", serving.order)
    async with TestServer(app) as server:
        yield serving, str(server.make_url("/"))


async def called(
    url: str, rules: AddressRules = LOCAL, arguments: Mapping[str, Any] = MappingProxyType({"id": 7}), **run: Any
) -> str:
    """What a model is told by a tool of the active set at this address."""
    definition = {
        "type": "function",
        "function": {"name": "order", "description": "Orders.", "parameters": {"type": "object"}},
        "sonant": {"url": url, **run},
    }
    async with open_guarded_http(rules) as http:
        box = Toolbox({}, HttpToolServer(http), BOX, Calls(WorkerProcesses()))
        _, offered = box.offered(ToolSources([definition], 0))
        return await offered.own["order"].run(dict(arguments), Call(0, "call_1", "order", ""), CALLER)


async def test_a_server_gets_a_tool_call_signed_and_answers_with_a_tool_response() -> None:
    async with shop() as (serving, url):
        assert await called(url, secret=BOX.seal(SECRET, "org-1")) == 'Order {"id":7}'
        [(headers, body)] = serving.seen
    assert orjson.loads(body) == {
        "tool_call": {"id": "call_1", "function": {"name": "order", "arguments": '{"id":7}'}},
        "org_id": "org-1",
        "user_id": "ada",
        "session_id": "session-1",
        "request_id": "chatcmpl-1",
    }
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{digest}"
    assert headers["webhook-id"] == "call_1"


async def test_what_is_no_tool_response_is_the_output_itself() -> None:
    async with shop() as (serving, url):
        assert await called(url + "?kind=plain") == "It is on its way."
        assert "webhook-signature" not in serving.seen[0][0]


@pytest.mark.parametrize(
    ("query", "message"), [("?kind=large", "more than 1048576 bytes"), ("?kind=broken", "status 500")]
)
async def test_a_server_that_says_too_much_or_fails_is_an_error(query: str, message: str) -> None:
    async with shop() as (_, url):
        with pytest.raises(ToolError, match=message):
            await called(url + query)


async def test_only_public_addresses_are_called() -> None:
    async with shop() as (serving, url):
        with pytest.raises(ToolError, match="cannot be called"):
            await called(url, AddressRules())
        assert serving.seen == []


async def test_a_secret_of_another_organisation_calls_nobody() -> None:
    async with shop() as (serving, url):
        with pytest.raises(ToolError, match="secret cannot be read"):
            await called(url, secret=BOX.seal(SECRET, "org-2"))
        assert serving.seen == []


# -- Python tools ------------------------------------------------------------------------------------------------------


def price(item: str, count: Annotated[int, Field(ge=1)] = 1) -> dict[str, Any]:
    """The price of an item."""
    if item == "nothing":
        raise KeyError(item)
    return {"item": item, "price": 2.5 * count}


async def stock(item: str) -> str:
    """How many there are."""
    return f"3 of {item}"


async def test_a_function_is_a_tool_described_by_its_annotations() -> None:
    threads = ThreadPoolExecutor(1)
    tool = tool_of("price", price, threads)
    assert tool.description == "The price of an item."
    assert tool.parameters["properties"]["count"]["minimum"] == 1
    assert tool.parameters["required"] == ["item"]
    call = Call(0, "call_1", "price", "{}")
    assert await tool.run({"item": "tea", "count": 2}, call, CALLER) == '{"item":"tea","price":5.0}'
    assert await tool_of("stock", stock, threads).run({"item": "tea"}, call, CALLER) == "3 of tea"
    with pytest.raises(ToolError, match="failed inside"):
        await tool.run({"item": "nothing"}, call, CALLER)
    threads.shutdown()


def test_a_package_that_is_not_there_is_named() -> None:
    with pytest.raises(PythonToolsError, match="0 installed packages have a tool 'price'"):
        with python_tools(["price"]):
            pass


def nameless(*items: str) -> str:
    return ""


def test_a_function_that_cannot_be_called_by_names_is_refused() -> None:
    with ThreadPoolExecutor(1) as threads, pytest.raises(PythonToolsError, match="nameless"):
        tool_of("nameless", nameless, threads)


# -- the guide ---------------------------------------------------------------------------------------------------------


def examples() -> list[str]:
    """The Python programs of the guide."""
    guide = (REPOSITORY / "docs" / "tools.md").read_text()
    return re.findall(r"^```python\n(.*?)^```$", guide, flags=re.DOTALL | re.MULTILINE)


async def test_the_receiver_of_the_guide_takes_genuine_calls_alone() -> None:
    [port] = free_ports(1)
    command = [sys.executable, "-W", "ignore", "-c", examples()[1], str(port)]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)

    async def told(secret: str) -> str | None:
        try:
            return await called(f"http://127.0.0.1:{port}/", secret=BOX.seal(secret, "org-1"), arguments={"order": 7})
        except ToolError as error:
            return None if "ClientConnectorError" in str(error) else str(error)

    try:
        assert await eventually(lambda: told("whsec_c29tZXRoaW5nIHNlY3JldA==")) == "Order 7 is on its way."
        assert await told("whsec_AAAA") == "its server answered with status 401"
    finally:
        process.kill()
        await process.wait()


async def test_the_function_of_the_guide_is_a_tool() -> None:
    defined: dict[str, Any] = {}
    exec(examples()[2], defined)  # noqa: S102 - our own documentation
    with ThreadPoolExecutor(1) as threads:
        tool = tool_of("tea_price", defined["tea_price"], threads)
        call = Call(0, "call_1", "tea_price", "")
        assert await tool.run({"kind": "assam", "grams": 50}, call, CALLER) == '{"euros":4.0}'
    assert tool.parameters["properties"]["grams"] | {"title": ""} == {
        "default": 100,
        "maximum": 5000,
        "minimum": 1,
        "title": "",
        "type": "integer",
    }


# -- the weather -------------------------------------------------------------------------------------------------------


async def test_the_weather_is_told_for_a_place() -> None:
    async with TestServer(build_app()) as server, aiohttp.ClientSession() as session:
        weather = OpenMeteo(session, str(server.make_url("")), str(server.make_url("/")))
        report = await weather.report("Lisbon")
        assert report["place"] == "Lisbon, Sandbox"
        assert -40 < report["temperature_c"] < 40
        assert report["weather"] != "unknown"
        assert report == await weather.report("Lisbon")
        with pytest.raises(ToolError, match="no place called 'Nowhere'"):
            await weather.report("Nowhere")
        with pytest.raises(ToolError, match="does not answer"):
            await weather.report("Outage")
