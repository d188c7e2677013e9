"""Sending webhooks as the provider signs them, and as nobody should."""

import asyncio
import hashlib
import hmac
import ipaddress
import time
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson
from aiohttp import web

from sandbox.hume.errors import invalid, json_response

SIGNATURE = "X-Hume-AI-Webhook-Signature"
TIMESTAMP = "X-Hume-AI-Webhook-Timestamp"
DELIVERY_SECONDS = 10.0
# Far outside any window a receiver may allow.
_STALE_SECONDS = 3600
MODES = ("signed", "bad-signature", "tampered", "stale", "future", "unsigned")


def sign(body: bytes, timestamp: str, key: str) -> str:
    """HMAC-SHA256 over body, a dot and the timestamp (unix seconds, as text): lower-case hex."""
    return hmac.new(key.encode(), body + b"." + timestamp.encode(), hashlib.sha256).hexdigest()


async def send(request: web.Request) -> web.Response:
    """POST an event to a loopback address: body {url, key, event, mode?, times?}; answers what came back."""
    order = orjson.loads(await request.read())
    url, mode = str(order.get("url", "")), order.get("mode", "signed")
    if not await _loopback(url) or mode not in MODES or not isinstance(order.get("event"), dict):
        raise invalid(f"needs a loopback url, an event object, and a mode of {', '.join(MODES)}")
    body, headers = _message(order["event"], str(order.get("key", "")), mode)
    timeout = aiohttp.ClientTimeout(total=DELIVERY_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        deliveries = [await _deliver(session, url, body, headers) for _ in range(int(order.get("times", 1)))]
    return json_response({"deliveries": deliveries, "headers": headers, "body": body.decode()})


def _message(event: dict[str, Any], key: str, mode: str) -> tuple[bytes, dict[str, str]]:
    body = orjson.dumps(event)
    headers = {"Content-Type": "application/json"}
    if mode == "unsigned":
        return body, headers
    shift = {"stale": -_STALE_SECONDS, "future": _STALE_SECONDS}.get(mode, 0)
    timestamp = str(int(time.time()) + shift)
    signature = sign(body, timestamp, key)
    if mode == "bad-signature":
        signature = sign(body, timestamp, key + "?")
    if mode == "tampered":
        body = body[:-1] + b',"added":true}'
    return body, {**headers, SIGNATURE: signature, TIMESTAMP: timestamp}


async def _deliver(session: aiohttp.ClientSession, url: str, body: bytes, headers: dict[str, str]) -> dict[str, Any]:
    try:
        async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
            return {"status": response.status, "body": await response.text()}
    except (aiohttp.ClientError, TimeoutError) as error:
        return {"status": None, "error": type(error).__name__}


async def _loopback(url: str) -> bool:
    """Whether the address is this machine: the stand-in must not be a way out."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        return False
    try:
        found = await asyncio.get_running_loop().getaddrinfo(parts.hostname, parts.port or 80)
    except OSError:
        return False
    return all(ipaddress.ip_address(address[4][0]).is_loopback for address in found)
