"""Models on the experience of a book, and what comes of them: the file fit/fit.json."""
