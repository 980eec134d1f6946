"""The files of a policy directory: reading, parsing, and their problems."""
