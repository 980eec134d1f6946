"""Tools for people who write policies: lint, test, diff, format, schema."""
