"""A generated hospital-year: people, policies, bills, readings, and the truth about each."""
