"""What a profile says about each kind of source: where it is, and how to reach it."""
