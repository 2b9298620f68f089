"""``python -m recs``: the same as the console script."""

from recs._cli import main

if __name__ == "__main__":
    main()
