"""One ceiling for many pods: their ledgers share budgets by books on PostgreSQL."""
