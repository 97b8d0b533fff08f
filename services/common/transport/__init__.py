"""Mutual TLS: who a process is, whom it trusts, and who speaks to it. Decides no permission."""
