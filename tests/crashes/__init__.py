"""Kill -9 under load, again and again on one ledger: `make crashes KILLS=300`."""
