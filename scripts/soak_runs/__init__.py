"""What scripts/soak is made of.

| file | what |
|---|---|
| `command_line.py` | parts and options |
| `program.py` | `recs` as a user runs it |
| `kills.py` | the parts kills, checkpoints, rivals |
| `size.py` | the parts size, large |
| `fuzzing.py` | the part fuzz |
| `served.py`, `connections.py` | the part connections: a server with those who ask it, and what is done to it |
"""
