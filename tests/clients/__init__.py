"""Sample programs in several languages, each by the contract alone, and what they have in common."""
