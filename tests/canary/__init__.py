"""The canary: personal data planted in every input, then searched for wherever it must not be."""
