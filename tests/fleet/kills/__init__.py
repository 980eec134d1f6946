"""Kill tests of a fleet: sidecars and PostgreSQL are killed under load (`make fleet-kills`)."""
