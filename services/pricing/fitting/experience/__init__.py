"""The experience study: exposure, developed and trended claims and outcomes, segment by segment."""
