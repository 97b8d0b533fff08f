"""The renewal of a whole book: priced in shards, balanced by one factor, with a manifest."""
