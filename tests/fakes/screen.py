"""What a person sees: an endless page that knows printable text, CR, LF, BS and BEL, and nothing else."""


class Screen:
    """Overwrites, never inserts; fails on any other control character and on a line longer than it is wide."""

    def __init__(self, width: int = 80) -> None:
        self.width = width
        self.lines: list[str] = [""]
        self.column = 0
        self.bells = 0

    def write(self, data: bytes) -> None:
        for character in data.decode():
            match character:
                case "\r":
                    self.column = 0
                case "\n":
                    self.lines.append("")
                case "\b":
                    assert self.column > 0
                    self.column -= 1
                case "\a":
                    self.bells += 1
                case _:
                    assert character.isprintable()
                    line = self.lines[-1].ljust(self.column)
                    self.lines[-1] = line[: self.column] + character + line[self.column + 1 :]
                    self.column += 1

    @property
    def last(self) -> str:
        return self.lines[-1].rstrip()
