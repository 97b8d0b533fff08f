"""Proof of who read what: an RFC 6962 log in each service's database, checkpoints, witnesses."""
