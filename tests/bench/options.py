"""What the benches' command lines share."""

import argparse
import sys

EXIT_USAGE = 64


class Parser(argparse.ArgumentParser):
    def error(self, message: str):
        self.print_usage(sys.stderr)
        self.exit(EXIT_USAGE, f"{self.prog}: {message}\n")


def number(least: int, most: int):
    """An argparse type: a whole number within bounds."""
    def parse(text: str) -> int:
        if not text.isdigit() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} to {most}")
        return int(text)
    return parse


def numbers(least: int, most: int):
    """An argparse type: whole numbers within bounds, comma-separated."""
    one = number(least, most)
    return lambda text: [one(part) for part in text.split(",")]


def some_of(names):
    """An argparse type: names of a list, comma-separated, or none."""
    def parse(text: str) -> list[str]:
        chosen = [] if text == "none" else text.split(",")
        for name in chosen:
            if name not in names:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(names)}")
        return chosen
    return parse
