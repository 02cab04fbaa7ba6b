"""The present state of what a subscription covers, kept up by its items."""
