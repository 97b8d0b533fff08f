"""Where hospitals push: what comes is stored, then acknowledged, then read."""
