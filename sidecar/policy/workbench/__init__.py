"""Looking at rules: part by part, by coverage, in one layout."""
