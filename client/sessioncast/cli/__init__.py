"""Commands of the client. Only these load typer and rich."""
