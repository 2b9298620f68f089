"""A PostgreSQL with pgvector, from the PyPI package pgserver, for tests.

    python scripts/checks/pgvector_server.py FOLDER

Prints how to connect; ends with its standard input.
"""

import sys

import pgserver


def main():
    server = pgserver.get_server(sys.argv[1])
    print(server.get_uri(), flush=True)
    sys.stdin.read()
    server.cleanup()


if __name__ == "__main__":
    main()
