"""Tools for policy authors: lint, test, diff, format, schema."""
