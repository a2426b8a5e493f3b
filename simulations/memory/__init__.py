"""What memory does under churn: objects by type, minute by minute. What grows once all tables are full is a leak."""
