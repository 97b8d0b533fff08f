"""What a bill is, when it is whole, and what of it may leave the hospital. Pure."""
