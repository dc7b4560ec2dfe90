"""The one error of this package: what was expected, where, and what to do; never a value out of a plan."""

from msgspec import Struct


class Finding(Struct, frozen=True, kw_only=True):
    """One thing wrong with a document. `pointer` is RFC 6901 into the document as sent."""

    pointer: str
    code: str
    remedy: str


class MappingError(Exception):
    """The document cannot become a plan; `findings` says where and what to do, in the order of the document."""

    def __init__(self, *findings: Finding) -> None:
        super().__init__(", ".join(sorted({finding.code for finding in findings})))
        self.findings = findings


class FormatError(Exception):
    """A format folder is not a mapping; the message names the rule and what it lacks."""
