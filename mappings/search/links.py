"""The query part of the self link (https://hl7.org/fhir/R4/search.html#conformance): what the server understood, no more."""

from urllib.parse import quote, urlencode

from mappings.search.query import Query


def query_string(query: Query) -> str:
    """Return what was understood, in the order given, URL-encoded, without a leading `?`; empty when nothing was.

    A BSN that was searched by POST stands as `*`, so that following the link is refused and nobody's number gets into a URL.
    """
    return urlencode(query.said, quote_via=quote, safe=":,/*")
