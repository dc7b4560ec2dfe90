"""Push a transaction Bundle to a FHIR R4 server: delivered only when every entry of the answer is a 2xx.

https://hl7.org/fhir/R4/http.html#transaction
"""

import json

import aiohttp

from adapters.interface import Answer, Authorise, Parcel, Send, Written
from adapters.outbound_http import Reply, post


def fhir_sender(session: aiohttp.ClientSession, authorise: Authorise) -> Send:
    """Return the way out to FHIR servers."""

    async def send(parcel: Parcel, written: Written) -> Answer:
        headers = {"Accept": "application/fhir+json", "Prefer": "return=minimal"}
        reply = await post(session, parcel, written, headers, authorise)
        return _judged(reply, parcel) if isinstance(reply, Reply) else reply

    return send


def _judged(reply: Reply, parcel: Parcel) -> Answer:
    try:
        answered = [entry["response"]["status"] for entry in json.loads(reply.body)["entry"]]
    except (ValueError, LookupError, TypeError, RecursionError):
        return Answer(signal="no-receipt", status=reply.status)
    sent = len(json.loads(parcel.body)["entry"])
    complete = len(answered) == sent and all(str(status).startswith("2") for status in answered)
    return Answer(signal="receipt" if complete else "wrong-receipt", status=reply.status)
