"""A caller that believes nothing: whatever a gateway answers under /v1 must be what its OpenAPI document says of it."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import aiohttp
import jsonschema_rs
import msgspec

from gateway.api.openapi import described
from gateway.api.routes import ROUTES
from gateway.client import Answered, GatewayClient
from gateway.wiring import Gateway

UNDESCRIBED = {404, 405}
"""How an address that is no route, and a method that is not offered, are answered."""


class DescribedClient(GatewayClient):
    """Asks like any caller, and holds each answer to the document."""

    def __init__(self, session: aiohttp.ClientSession, gateway: Gateway, token: str) -> None:
        super().__init__(session, gateway.public_url, token)
        self._gateway = gateway

    async def ask(self, method: str, path: str, **asked: Any) -> Answered:
        """Ask, and look whether the answer is a described one."""
        answered = await super().ask(method, path, **asked)
        if path.startswith("/v1"):
            assert_described(self._gateway, method, path.partition("?")[0], answered)
        return answered


def assert_described(gateway: Gateway, method: str, path: str, answered: Answered) -> None:
    """Fail when status, type of body, body or headers of an answer are others than the document says."""
    document = described(ROUTES, gateway)
    told = operation_at(document, method, path)
    if told is None:
        assert answered.status in UNDESCRIBED, f"{method} {path} is not described"
        return
    response = told["responses"].get(str(answered.status))
    assert response is not None, f"{told['operationId']} answers {answered.status}, which is not described"
    for name, header in response.get("headers", {}).items():
        assert not header["required"] or name in answered.headers, f"{told['operationId']}: no {name}"
        if name in answered.headers:
            assert_fits(document, header["schema"], answered.headers[name])
    media = answered.headers.get("Content-Type", "").partition(";")[0]
    content = response.get("content", {})
    if not content:
        assert not answered.body
        return
    assert media in content, f"{told['operationId']}: {media} is not described for {answered.status}"
    if "json" in media:
        assert_fits(document, content[media]["schema"], answered.body)


def operation_at(document: Mapping[str, Any], method: str, path: str) -> Mapping[str, Any] | None:
    """Return what a document tells of a method at a path; an exact path goes before one with parameters."""
    for template, item in sorted(document["paths"].items(), key=lambda row: row[0].count("{")):
        if re.fullmatch(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template)), path):
            return item.get(method.lower())
    return None


def assert_fits(document: Mapping[str, Any], schema: Mapping[str, Any], value: Any) -> None:
    """Fail, with the place and the rule, when a value is not as a schema says."""
    whole = {**schema, "components": document["components"]}
    errors = [
        f"{error.instance_path}: {error.message}" for error in validator(msgspec.json.encode(whole)).iter_errors(value)
    ]
    assert not errors, errors


@lru_cache(maxsize=200)
def validator(schema: bytes) -> Any:
    """Compile a schema, once."""
    return jsonschema_rs.validator_for(msgspec.json.decode(schema), validate_formats=True)
