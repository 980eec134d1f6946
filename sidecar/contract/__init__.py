"""The contract's messages: requests validated, responses written."""
