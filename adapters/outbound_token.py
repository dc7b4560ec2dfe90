"""Get a fresh access token for one attempt: OAuth 2 client credentials with a signed assertion, as SMART Backend Services has it.

Nothing is kept: a token that is a minute old may have expired, and one that is in no memory cannot leak from it.
Sources: RFC 7523; RFC 6749 5.1; https://hl7.org/fhir/smart-app-launch/backend-services.html.
"""

import json
import re
from collections.abc import Callable

import aiohttp

from adapters.interface import Answer, Authorise, TokenWanted
from adapters.outbound_http import TargetNotAllowedError, read_bounded, retry_after

TOKEN_ANSWER_LIMIT_BYTES = 100_000

Sign = Callable[[str, str], str]
"""(client id, token endpoint) → a signed assertion that is good for one use."""

_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{1,16000}=*")
"""b64token, https://www.rfc-editor.org/rfc/rfc6750#section-2.1: nothing that could end a header."""

_TRY_LATER = frozenset({408, 425, 429})


def token_fetcher(session: aiohttp.ClientSession, sign: Sign, timeout_seconds: float) -> Authorise:
    """Return what gets a token for one attempt. It never raises for what the token endpoint does."""
    bound = aiohttp.ClientTimeout(total=timeout_seconds)

    async def authorise(wanted: TokenWanted) -> str | Answer:
        form = _form(wanted, sign(wanted.client_id, wanted.url))
        headers = {"Accept": "application/json"}
        try:
            async with session.post(
                wanted.url, data=form, headers=headers, allow_redirects=False, timeout=bound
            ) as response:
                if response.status >= 300:  # noqa: PLR2004 - beyond the 2xx class
                    return _refused(response)
                return _token_in(await read_bounded(response, TOKEN_ANSWER_LIMIT_BYTES), response.status)
        except TargetNotAllowedError:
            return Answer(signal="target-not-allowed", left=False)
        except aiohttp.ClientConnectorError as error:
            guarded = isinstance(error.os_error, TargetNotAllowedError)
            return Answer(signal="target-not-allowed" if guarded else "token-unreachable", left=False)
        except (aiohttp.ClientError, OSError, TimeoutError):
            return Answer(signal="token-unreachable", left=False)

    return authorise


def _form(wanted: TokenWanted, assertion: str) -> dict[str, str]:
    scope = {"scope": wanted.scope} if wanted.scope else {}
    return {
        "grant_type": "client_credentials",
        "client_assertion_type": _ASSERTION_TYPE,
        "client_assertion": assertion,
        **scope,
    }


def _refused(response: aiohttp.ClientResponse) -> Answer:
    later = response.status >= 500 or response.status in _TRY_LATER  # noqa: PLR2004 - the 5xx class
    return Answer(
        signal="token-unreachable" if later else "token-refused",
        status=response.status,
        retry_after_seconds=retry_after(response.headers),
        left=False,
    )


def _token_in(body: bytes | None, status: int) -> str | Answer:
    """Return the token of an answer (RFC 6749 5.1), or that there is none that can be used."""
    refused = Answer(signal="token-refused", status=status, left=False)
    try:
        answered = json.loads(body or b"")
    except (ValueError, RecursionError):
        return refused
    if not isinstance(answered, dict) or str(answered.get("token_type")).lower() != "bearer":
        return refused
    token = answered.get("access_token")
    return token if isinstance(token, str) and _TOKEN.fullmatch(token) else refused
