"""The C API (anemone/c.h) by ctypes: its functions, its errors as exceptions, and long calls that Ctrl-C stops."""

import _thread
import ctypes
import os

from . import _errors

_LIBRARY = "libanemone.so"

# A function's arguments: s text or bytes, p a pointer (handle, memory, where an output goes), n a size, q 64 bits, i an int, u 32 bits.
_TYPES = {"s": ctypes.c_char_p, "p": ctypes.c_void_p, "n": ctypes.c_size_t, "q": ctypes.c_uint64, "i": ctypes.c_int, "u": ctypes.c_uint32}
_CHECKED = {"open": "sspp", "restore": "ssp", "create": "sp", "info": "pp", "translate": "psp", "part": "pnppp", "split": "piip", "tensor_list": "pp",
            "training": "pp", "training_tensor": "pnp",
            "tensor_at": "pnp", "tensor_read": "ppq", "tensor_narrow": "pnqqp", "tensor_view": "pp", "tensor_dlpack": "pip",
            "config_get": "psp", "config_set": "pss", "artifact_read": "pspp", "add_tensor": "pssnppq", "add_metadata": "pss",
            "save": "psspp", "convert": "ssspp", "verify": "spp", "diff": "ssspp", "scan": "spp", "clip_load": "psp",
            "clip_logit_scale": "pp", "clip_pixels_of_file": "psp", "clip_pixels_of_rgb": "puusp", "clip_encode_images": "ppnppp",
            "clip_encode_texts": "ppnppp", "clip_probabilities": "ppnpnnpp", "dtypes": "p", "command": "ipppp", "find_images": "sp", "model_classes": "p",
            "nemo_scripts": "p"}
_PLAIN = {"version": ("", "s"), "free": ("p", ""), "status_kind": ("p", "i"), "status_message": ("p", "s"), "status_details": ("p", "s"),
          "status_free": ("p", ""), "progress_new": ("pp", "p"), "progress_cancel": ("p", ""), "progress_read": ("pppp", "i"),
          "progress_free": ("p", ""), "checkpoint_free": ("p", ""), "part_count": ("p", "n"), "tensor_free": ("p", ""),
          "view_data": ("p", "p"), "view_size": ("p", "q"), "view_free": ("p", ""), "dlpack_free": ("p", ""), "clip_image_size": ("p", "q"),
          "clip_free": ("p", ""), "main": ("ip", "i")}


def _load():
    own = os.path.join(os.path.dirname(os.path.abspath(__file__)), _LIBRARY)
    library = ctypes.CDLL(own if os.path.exists(own) else _LIBRARY + ".0")
    functions = {}
    for name, arguments, answer in [*((name, arguments, "p") for name, arguments in _CHECKED.items()),
                                    *((name, *types) for name, types in _PLAIN.items())]:
        function = functions[name] = getattr(library, "anemone_" + name)
        function.argtypes = [_TYPES[letter] for letter in arguments]
        function.restype = _TYPES[answer] if answer else None
    return functions


_functions = _load()
_status_kind, _status_message, _status_details, _status_free, free = (
    _functions[name] for name in ("status_kind", "status_message", "status_details", "status_free", "free"))
# In the order of anemone_kind, from 1.
_EXCEPTIONS = [_errors.NotFoundError, _errors.AlreadyExistsError, _errors.CannotCreateError, _errors.InvalidArgumentError,
               _errors.CorruptError, _errors.UnsupportedError, _errors.LimitExceededError, _errors.IoError, _errors.UnavailableError,
               _errors.InterruptedError, _errors.OutOfMemoryError, _errors.InternalError]


def plain(name, *arguments):
    """What a function that cannot fail answers."""
    return _functions[name](*arguments)


def check(status):
    """Raises what a status says, unless it is success."""
    if not status:
        return
    from json import loads
    kind, message, details = _status_kind(status), _text(_status_message(status)), loads(_text(_status_details(status)))
    _status_free(status)
    error = _EXCEPTIONS[kind - 1](message, _advice(details))
    if isinstance(error, OSError) and details["where"]:
        error.filename = details["where"][0]
    raise error


_WORDS = {"true": "True", "false": "False"}


def _written(option, value):
    """An option as Python writes it: force=True, artifacts={'KEY': 'FILE'}, lora=['FOLDER']."""
    if option in ("set", "artifacts"):
        key, _, text = value.partition("=")
        return f"{option}={{{key!r}: {text!r}}}"
    if option in ("unset", "lora"):
        return f"{option}=[{value!r}]"
    return f"{option}={_WORDS.get(value, value)}"


def _advice(details):
    """The hint, and the options that go on as Python writes them: "use force=True to replace it"."""
    ways = [f"{_written(way['option'], way['value'])} to {way['effect']}" for way in details["remedies"]]
    return "; ".join(part for part in (details["hint"], "use " + ", or ".join(ways) if ways else "") if part)


def call(name, *arguments):
    """A function that may fail and answers nothing."""
    check(_functions[name](*arguments))


def pointer(name, *arguments):
    """The pointer that a function puts into its last argument."""
    out = ctypes.c_void_p()
    check(_functions[name](*arguments, ctypes.byref(out)))
    return out.value


def json(name, *arguments):
    """The JSON that a function puts into its last argument."""
    from json import loads
    address = pointer(name, *arguments)
    try:
        return loads(_text(ctypes.string_at(address)))
    finally:
        free(address)


def _text(data):
    return data.decode("utf-8", "surrogateescape")


def path_bytes(path, what="path"):
    """A path as the file system has it."""
    data = os.fsencode(path)
    if b"\0" in data:
        raise ValueError(f"{what}: embedded null byte")
    return data


def text_bytes(text, what="text"):
    """A str as C's text."""
    data = text.encode("utf-8", "surrogatepass")
    if b"\0" in data:
        raise ValueError(f"{what}: embedded null character")
    return data


def import_numpy():
    """numpy, or an ImportError that says how to get it."""
    try:
        import numpy
    except ImportError as error:
        raise ImportError("this needs numpy: pip install 'anemone-nemo[numpy]'") from error
    return numpy


class Handle(ctypes.c_void_p):
    """Something of the library's, freed with this object."""

    def __del__(self):
        if self.value:
            self._free(self)


def _kind(name):
    return type(name.title(), (Handle,), {"_free": staticmethod(_functions[name + "_free"]), "__slots__": ()})


_KINDS = {name: _kind(name) for name in ("checkpoint", "tensor", "view", "clip", "progress")}


def make(kind, name, *arguments):
    """The handle that a function puts into its last argument."""
    handle = _KINDS[kind]()
    status = _functions[name](*arguments, ctypes.byref(handle))
    if status:
        check(status)
    return handle


def bytes_of(name, *arguments):
    """The memory that a function puts into its last two arguments, as bytes."""
    size = ctypes.c_size_t()
    out = ctypes.c_void_p()
    check(_functions[name](*arguments, ctypes.byref(out), ctypes.byref(size)))
    try:
        return ctypes.string_at(out.value, size.value)
    finally:
        free(out.value)


def floats_of(name, *arguments):
    """Rows of floats that a function puts into its last two arguments: (address, width). The caller frees the address."""
    width = ctypes.c_size_t()
    out = ctypes.c_void_p()
    check(_functions[name](*arguments, ctypes.byref(out), ctypes.byref(width)))
    return out.value, width.value


def run(work, callback=None):
    """work(progress) on a thread of its own, while this one calls `callback(stage, done, total)` and sees Ctrl-C, which
    stop the work. What they raise is raised here once it has ended."""
    progress = _KINDS["progress"](_functions["progress_new"](None, None))
    read, cancel = _functions["progress_read"], _functions["progress_cancel"]
    begun, ended, outcome = _thread.allocate_lock(), _thread.allocate_lock(), []
    ended.acquire()

    def worker():
        if not begun.acquire(blocking=False):
            return
        try:
            outcome.append((work(progress), None))
        except BaseException as error:
            outcome.append((None, error))
        ended.release()

    stage, done, total = ctypes.create_string_buffer(64), ctypes.c_uint64(), ctypes.c_uint64()
    raised, started = None, False
    while True:
        try:
            if not started:
                started = True
                _thread.start_new_thread(worker, ())
            while not outcome:
                ended.acquire(timeout=0.05)
                if raised is None and callback is not None and read(progress, stage, ctypes.byref(done), ctypes.byref(total)):
                    answer = callback(_text(stage.value), done.value, total.value)
                    if answer is not None and not answer:
                        cancel(progress)
            break
        except BaseException as error:
            cancel(progress)
            raised = raised or error
            if begun.acquire(blocking=False):  # no worker has begun, and none will
                outcome.append((None, error))
    value, failed = outcome[0]
    try:
        if raised is not None:
            raise raised
        if failed is not None:
            raise failed
        return value
    finally:
        raised = failed = outcome = None  # a traceback holds this frame, which would hold the exception


def memory(view):
    """The mapped bytes of a view as a buffer, which keeps the mapping."""
    array = (ctypes.c_ubyte * plain("view_size", view)).from_address(plain("view_data", view))
    array._view = view
    return array


_DLTENSOR = b"dltensor"


@ctypes.PYFUNCTYPE(None, ctypes.c_void_p)
def _free_capsule(capsule):
    if _capsule_is_valid(capsule, _DLTENSOR):  # nobody took it
        plain("dlpack_free", _capsule_pointer(capsule, _DLTENSOR))


def _python(name, answer, *arguments):
    function = ctypes.pythonapi[name]
    function.restype, function.argtypes = answer, arguments
    return function


_capsule_is_valid = _python("PyCapsule_IsValid", ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)
_capsule_pointer = _python("PyCapsule_GetPointer", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)
_capsule_new = _python("PyCapsule_New", ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
_python("Py_IncRef", None, ctypes.py_object)(_free_capsule)  # it outlives this module: capsules may, too


def dlpack(tensor, copy):
    """A DLPack capsule."""
    return _capsule_new(pointer("tensor_dlpack", tensor, int(copy)), _DLTENSOR, ctypes.cast(_free_capsule, ctypes.c_void_p))


def command(words, progress=None):
    """What a command of the program prints, and its exit status."""
    words = [b"anemone", *(path_bytes(word, "argument") for word in words)]
    arguments, status, output = (ctypes.c_char_p * (len(words) + 1))(*words), ctypes.c_int(), ctypes.c_void_p()

    def work(following):
        check(_functions["command"](len(words), arguments, following, ctypes.byref(status), ctypes.byref(output)))
        try:
            return _text(ctypes.string_at(output.value)), status.value
        finally:
            free(output.value)

    return run(work, progress)


def main(words):
    """The program; its exit status."""
    arguments = (ctypes.c_char_p * (len(words) + 1))(*(os.fsencode(word) for word in words))
    return plain("main", len(words), arguments)
