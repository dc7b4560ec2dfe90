"""A resource after a JSON Patch (RFC 6902). Pure: what may be changed is for others to say."""

from typing import Any

import jsonpatch
import jsonpointer
import msgspec

from gateway.errors import refusal, refused
from mappings.document import parse_document
from mappings.elements import Resource
from mappings.errors import MappingError

MAX_OPERATIONS = 1_000
MAX_COPIED_BYTES = 1_000_000
"""Of a patch: copies of copies double what they copy."""

_CANNOT = (
    jsonpatch.JsonPatchException,
    jsonpointer.JsonPointerException,
    TypeError,
    KeyError,
    AttributeError,
    ValueError,
)


def patched(resource: Resource, patch: bytes) -> Resource:
    """Return a resource after a JSON Patch. Raises Refusal, and then says which operation cannot be done, never a value."""
    try:
        operations = parse_document(patch)
    except MappingError as error:
        raise refused(error) from error
    if not isinstance(operations, list) or len(operations) > MAX_OPERATIONS:
        raise refusal("document", "", f"send a JSON Patch: a list of at most {MAX_OPERATIONS} operations")
    changed: Any = msgspec.json.decode(msgspec.json.encode(resource))
    copied = 0
    for position, operation in enumerate(operations):
        try:
            changed = jsonpatch.JsonPatch([operation]).apply(changed, in_place=True)
        except jsonpatch.JsonPatchTestFailed as error:
            raise refusal("document", f"/{position}", "this test does not hold; read the resource again") from error
        except _CANNOT as error:
            raise refusal(
                "document", f"/{position}", "this operation cannot be done on the resource as it is"
            ) from error
        if operation["op"] == "copy":
            copied += len(msgspec.json.encode(changed))
            if copied > MAX_COPIED_BYTES:
                raise refusal("document", f"/{position}", "copy less: a patch may not make a resource grow by itself")
    if not isinstance(changed, dict):
        raise refusal("document", "", "a patch leaves one resource")
    return changed
