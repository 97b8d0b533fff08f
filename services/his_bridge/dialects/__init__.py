"""Bytes in, records out: one package per dialect. No socket, no clock, no database."""
