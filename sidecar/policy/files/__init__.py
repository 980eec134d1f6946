"""The files of a policy directory, and what is wrong with them."""
