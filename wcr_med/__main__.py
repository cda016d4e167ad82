"""`python -m wcr_med` is the `wcr-med` command."""

from wcr_med.cli import main

if __name__ == "__main__":
    main()
