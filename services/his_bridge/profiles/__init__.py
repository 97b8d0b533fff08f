"""Source profiles: what is known of each hospital's records, and how gently to ask for them."""
