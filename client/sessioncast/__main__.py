"""The command line: `sessioncast`, or `python -m sessioncast`."""

from sessioncast.cli.app import build


def main() -> None:
    """Run the command that the arguments name, and leave with its exit code."""
    build()(prog_name="sessioncast")


if __name__ == "__main__":
    main()
