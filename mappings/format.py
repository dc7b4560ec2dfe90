"""A format: bytes of somebody's plan document ↔ a `SupportPlan`, by one declarative mapping and one JSON Schema.

It does no I/O: whoever loads a format folder hands over the bytes of mapping.yaml and schema.json.
"""

from dataclasses import dataclass

import msgspec

from mappings.codes import Kind
from mappings.declaration import declare
from mappings.document import MAX_FINDINGS, Schema, in_order, parse_document
from mappings.draft import Draft, Loss
from mappings.errors import Finding, FormatError, MappingError
from mappings.lens import Lens
from mappings.plan import SupportPlan

__all__ = ["Draft", "Format", "Loss", "compile_format"]

_GENERAL = frozenset({"type", "required"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A compiled format. `kinds` are the kinds of parts that it has a place for."""

    name: str
    version: str
    title: str
    kinds: frozenset[Kind]
    lens: Lens
    schema: Schema
    is_slow: bool = False

    def read(self, body: bytes) -> Draft:
        """Return the draft plan in `body`. Raises MappingError with at most 100 findings, in the order of the document."""
        document = parse_document(body)
        violations = self.schema.findings(document)
        draft, findings = self.lens.read(document)
        if draft is None or violations:
            raise MappingError(*in_order(_merged(violations, findings), document)[:MAX_FINDINGS])
        return draft

    def write(self, plan: SupportPlan) -> bytes:
        """Return a plan or a view of it as a document: the same plan gives the same bytes.

        Ids become keys, without the scope of a draft id. What a view lacks is absent, also where the schema requires it, and
        so is what this format has no place for (`unwritten`).
        """
        return msgspec.json.encode(self.lens.write(plan)[0])

    def unwritten(self, plan: SupportPlan) -> tuple[str, ...]:
        """Return the ids of the parts that this format has no place for."""
        return self.lens.write(plan)[1]


def compile_format(name: str, mapping: bytes, schema: bytes) -> Format:
    """Compile a format folder's mapping.yaml and schema.json. Raises FormatError naming the rule."""
    spec = declare(mapping)
    if spec.name != name:
        raise FormatError("mapping.yaml: `name` differs from the name of the folder")
    lens = Lens(spec)
    return Format(name=name, version=spec.version, title=spec.title, kinds=lens.kinds, lens=lens, schema=Schema(schema))


def _merged(violations: list[Finding], findings: list[Finding]) -> list[Finding]:
    """Say a thing once: the lens where it knows more than the schema, the schema for shape and presence."""
    by_schema = {finding.pointer for finding in violations}
    kept = [finding for finding in findings if finding.code not in _GENERAL or finding.pointer not in by_schema]
    by_lens = {finding.pointer for finding in kept if finding.pointer}
    return [finding for finding in violations if finding.pointer not in by_lens] + kept
