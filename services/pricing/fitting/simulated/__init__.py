"""A book of insured people whose truth is known, made up to test what is fitted on it."""
