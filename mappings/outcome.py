"""OperationOutcome: what FHIR says about what it was sent (https://hl7.org/fhir/R4/operationoutcome.html)."""

import re
from collections.abc import Iterable
from typing import Literal

from mappings.elements import Resource

Severity = Literal["error", "warning", "information"]

_STEP = re.compile(r"/([^/]*)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def issue(severity: Severity, code: str, text: str, expression: str | None = None) -> Resource:
    """Return one issue; `code` is of http://hl7.org/fhir/ValueSet/issue-type."""
    found: Resource = {"severity": severity, "code": code, "details": {"text": text}}
    if expression:
        found["expression"] = [expression]
    return found


def outcome(issues: Iterable[Resource]) -> Resource:
    """Return an OperationOutcome."""
    return {"resourceType": "OperationOutcome", "issue": list(issues)}


def expression_of(pointer: str, root: str) -> str:
    """Return an RFC 6901 pointer into a resource as the FHIRPath that R4 wants: `Bundle.entry[3].resource.status`.

    A step that is no name in FHIRPath ends it: what is around it is still right.
    """
    path = root
    for step in _STEP.findall(pointer):
        if step.isdecimal():
            path += f"[{step}]"
        elif _NAME.fullmatch(step):
            path += f".{step}"
        else:
            break
    return path
