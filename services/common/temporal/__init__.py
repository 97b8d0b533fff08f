"""Everything that speaks to Temporal: connection, converter, codec and names."""
