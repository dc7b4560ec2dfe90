"""What a support plan is, in Dutch formats and in FHIR. Pure: no I/O, no clock, no log."""
