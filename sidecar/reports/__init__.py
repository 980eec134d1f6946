"""Pages for people, drawn from reports of the domain."""
