"""What types cannot say of an answer: that a text is one of these codes."""

from msgspec import Meta


def codes(*known: str) -> Meta:
    """Return what tells the schema, and only the schema, that a text is one of these codes: answers are not checked again."""
    return Meta(extra_json_schema={"enum": list(known)})
