"""What a profile says about each dialect beyond what all have in common."""
