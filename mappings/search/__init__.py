"""FHIR search, the part that knows no database: which parameters there are, what a resource says under them, what a query asks."""
