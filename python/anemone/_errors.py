"""What anemone raises. The text is one line, `where: where: what`, as the program prints it; `hint` says what to do."""

import errno


class Error(Exception):
    """Anything that anemone refuses or cannot do. `str(error)` is one line; `error.hint` may be empty. Errors of files have
    `filename`, and `errno` where it is certain."""

    _errno = None

    def __init__(self, message="", hint=""):
        super().__init__(message)
        self.message = message
        self.hint = hint
        if self._errno is not None:
            self.errno = self._errno
        if hint and hasattr(self, "add_note"):  # Python 3.11: shown below the message in a traceback
            self.add_note(f"hint: {hint}")

    def __str__(self):
        return self.message

    def __reduce__(self):
        return type(self), (self.message, self.hint), {"filename": getattr(self, "filename", None)}

    def __setstate__(self, state):
        if state["filename"] is not None:
            self.filename = state["filename"]


class NotFoundError(Error, FileNotFoundError):
    """The path, tensor or config key named does not exist."""

    _errno = errno.ENOENT


class AlreadyExistsError(Error, FileExistsError):
    """The output is there and may not be replaced."""

    _errno = errno.EEXIST


class CannotCreateError(Error, OSError):
    """The output's folder is missing or not writable."""


class InvalidArgumentError(Error, ValueError):
    """What was asked for has no meaning."""


class CorruptError(Error, ValueError):
    """The input breaks a rule of its format."""


class UnsupportedError(Error, NotImplementedError):
    """Valid input that this build does not carry."""


class LimitExceededError(Error, ValueError):
    """Valid perhaps, but beyond a stated limit."""


class IoError(Error, OSError):
    """Reading or writing failed: disk full, device error."""


class UnavailableError(Error, ConnectionError):
    """A remote service did not serve."""


class InterruptedError(Error, InterruptedError):  # noqa: A001
    """A progress callback answered False. (Ctrl-C raises KeyboardInterrupt.)"""


class OutOfMemoryError(Error, MemoryError):
    """The system gave no memory."""


class InternalError(Error, RuntimeError):
    """A bug in anemone."""


for _class in [_class for _class in globals().values() if isinstance(_class, type)]:
    _class.__module__ = "anemone"  # where people find it
