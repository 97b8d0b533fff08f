"""The only sockets to hospitals: cursors, limits, back-off. Understands no bill."""
