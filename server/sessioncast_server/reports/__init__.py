"""What clients report of themselves, into the log: first loads that failed, pages that went stale."""
