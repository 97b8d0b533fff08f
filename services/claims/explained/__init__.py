"""An explained decision in the languages of others: FHIR R4, a page for browsers, a PDF."""
