"""The one error of this package."""

from mappings.errors import Finding


class ConsentError(Exception):
    """A choice or a grounds file cannot be kept; `findings` says where and what to do."""

    def __init__(self, *findings: Finding) -> None:
        super().__init__(", ".join(sorted({finding.code for finding in findings})))
        self.findings = findings
