"""A light as the kernel shows one: the chosen trigger in brackets, and attributes that only some triggers have."""

from pathlib import Path

from relay.box.light import Shown, StatusLight

TRIGGERS = ("none", "timer", "heartbeat", "pattern")


class KernelLight(StatusLight):
    """A status light whose writes change the files as the kernel does."""

    def __init__(self, folder: Path) -> None:
        self.place = folder / "ACT"
        if not self.place.exists():
            self.place.mkdir()
            self.choose("heartbeat")
            for name in ("brightness", "delay_on", "delay_off", "pattern"):
                (self.place / name).write_text("0\n")
        super().__init__(["ACT"], folder)

    def choose(self, trigger: str) -> None:
        (self.place / "trigger").write_text(
            " ".join(f"[{name}]" if name == trigger else name for name in TRIGGERS) + "\n"
        )

    def look(self) -> dict[str, str]:
        """Return what can be seen of it."""
        return self._facts()

    def look_of(self, what: Shown) -> dict[str, str]:
        """Return what can be seen of a light that shows `what`."""
        before = {path: path.read_text() for path in self.place.iterdir()}
        self._shown = None
        self.show(what)
        look = self.look()
        for path, text in before.items():
            path.write_text(text)
        self._shown = None
        return look

    def _write(self, name: str, text: str) -> None:
        if name == "trigger":
            assert text in TRIGGERS, text
            self.choose(text)
        else:
            (self.place / name).write_text(f"{text}\n")
