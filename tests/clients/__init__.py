"""Sample programs in several languages, written from the contract alone."""
