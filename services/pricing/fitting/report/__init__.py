"""The validation report of a fit: what was expected beside what happened, looked at every way."""
