"""What scripts/peers is made of.

| file | what |
|---|---|
| `command_line.py` | names and options |
| `workplace.py` | folders, Python environments, our binaries, the data |
| `in_turn.py` | runs of both sides, one after the other |
| `conversation.py` | programs that keep what they have built and answer line by line |
| `results.py` | lines of the table |
| `parity.py`, `recall.py` | what comparisons of quality share |
| `compare/NAME.py` | one comparison: a docstring whose first line is its help, `run(workplace, options)`, perhaps `add_options(parser)` |
"""
