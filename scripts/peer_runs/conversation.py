"""Programs that keep what they have built and answer one line by another."""

import json
import subprocess
import sys


class Conversation:
    """A running program; each line asked is answered by a JSON object on a line."""

    def __init__(self, *command):
        command = [str(part) for part in command]
        self.name = command[0]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, *words):
        line = " ".join(map(str, words))
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"FAILED: {self.name} ended with {self.process.wait()} at: {line}")
        return json.loads(answer)

    def end(self):
        self.process.stdin.close()
        self.process.wait()
