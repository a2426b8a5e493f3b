"""Counts objects by type under churn, minute by minute. What grows after all tables are full is a leak."""
