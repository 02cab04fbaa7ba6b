"""The sessioncast server."""
