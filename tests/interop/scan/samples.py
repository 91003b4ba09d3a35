"""Files for scanners of checkpoints, each made anew: those whose loading reaches code, and harmless ones.

What is covered was learned from the test suites and advisories of picklescan, fickling, modelscan and modelaudit; nothing is
copied from them. No sample is ever loaded here.
"""

import argparse
import bz2
import collections
import datetime
import decimal
import gzip
import io
import json
import lzma
import pathlib
import pickle
import random
import struct
import sys
import tarfile
import types
import uuid
import zipfile
import zlib

import numpy
import torch

# Each was once found to pass as harmless, or is the ordinary way.
CALLABLES = """os system|posix system|nt system|os popen|os execv|os.path os.system|subprocess Popen|subprocess run|
subprocess check_output|builtins eval|builtins exec|builtins compile|builtins open|builtins __import__|builtins getattr|
builtins input|builtins breakpoint|builtins globals|builtins map|sys exit|shutil rmtree|socket create_connection|pty spawn|
importlib import_module|runpy run_path|runpy _run_code|code InteractiveInterpreter|codeop compile_command|pdb Pdb|bdb Bdb|
timeit timeit|cProfile run|profile Profile.runctx|trace Trace.run|doctest debug_script|pip main|ensurepip _run_pip|
idlelib.pyshell ModifiedInterpreter.runcommand|lib2to3.pgen2.pgen ParserGenerator.make_label|pickle loads|_pickle loads|
dill loads|cloudpickle.cloudpickle _make_function|joblib load|marshal loads|types FunctionType|types CodeType|
operator attrgetter|operator methodcaller|_operator itemgetter|functools partial|functools reduce|ctypes CDLL|
http.client HTTPSConnection|urllib.request urlopen|requests.api get|webbrowser open|asyncio.unix_events _UnixSubprocessTransport._start|
multiprocessing.util spawnv_passfds|signal signal|tempfile mktemp|zipfile ZipFile|io FileIO|_io FileIO|io open|codecs open|
logging FileHandler|logging.config listen|_posixsubprocess fork_exec|_osx_support _read_output|_aix_support _read_cmd_output|
_pyrepl.pager pipe_pager|distutils.file_util write_file|ftplib FTP|imaplib IMAP4_stream|smtplib SMTP|telnetlib Telnet|
ssl get_server_certificate|linecache getlines|pkgutil resolve_name|pydoc locate|pydoc pipepager|shelve open|sqlite3 connect|
test.support.script_helper assert_python_ok|uuid _get_command_stdout|venv create|gc get_objects|inspect getsource|
typing get_type_hints|collections namedtuple|omegaconf._utils _get_class|hydra.utils instantiate|pandas eval|
numpy.testing._private.utils runstring|numpy.f2py.crackfortran myeval|numpy load|numpy fromfile|torch load|torch.hub load|
torch.jit.unsupported_tensor_ops execWrapper|torch.storage _load_from_bytes|torch.utils._config_module load_config|
torch.utils.collect_env run|torch._inductor.codecache compile_file|torch._dynamo.guards GuardBuilder.get|
torch.fx.experimental.symbolic_shapes ShapeEnv.evaluate_guards_expression|torch.distributed.rpc.internal _run_function|
pathlib os.system|typing sys.exit|torch.nn.functional importlib.import_module|omegaconf.omegaconf os.system|
megatron.core.transformer.utils os.system|collections _sys.exit|datetime sys.modules|nemo.utils.model_utils import_class_by_path|
lightning_fabric.utilities.cloud_io _load|mypackage.module run|__main__ Payload|somebody Model""".replace("\n", "")


def text(word):
    raw = word.encode()
    return b"\x8c" + bytes([len(raw)]) + raw


def named(callable_, call=b"R"):
    module, name = callable_.split(" ")
    return b"\x80\x04" + text(module) + text(name) + b"\x93" + text("id") + b"\x85" + call + b"."


CALL = b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00id\x85R."
BARE = b"cos\nsystem\n(S'id'\ntR."


def short_bytes(inner):
    return b"B" + struct.pack("<I", len(inner)) + inner


def zipped(members, method=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def tarred(members, mode="w"):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def npy(descr, body):
    header = "{'descr': %s, 'fortran_order': False, 'shape': (1,), }" % descr
    header += " " * (63 - (10 + len(header)) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + body


def torch_zip(data_pickle, **more):
    return zipped({"archive/data.pkl": data_pickle, "archive/version": b"3\n", **more})


def frame(body):
    return b"\x95" + struct.pack("<Q", len(body)) + body


def reaching():
    """Yields (file name, bytes) of what runs or imports something when it is loaded."""
    for index, callable_ in enumerate(CALLABLES.split("|")):
        yield "callables/%03d.pkl" % index, named(callable_)
    for index, callable_ in enumerate(["os system", "builtins eval", "mypackage.module run"]):
        module, name = callable_.split(" ")
        lines = module.encode() + b"\n" + name.encode() + b"\n"
        memo = text(module) + b"\x94" + b"0" + text(name) + b"\x94" + b"0" + b"h\x00h\x01\x93"
        for way, content in {
            "global0": b"c" + lines + b"(S'id'\ntR.",
            "global1": b"c" + lines + b"(U\x02idtR.",
            "inst": b"(S'id'\ni" + lines + b".",
            "inst_nothing": b"(i" + lines + b".",
            "obj": b"(c" + lines + b"S'id'\no.",
            "newobj": b"\x80\x02c" + lines + b")\x81.",
            "newobj_ex": b"\x80\x04" + text(module) + text(name) + b"\x93)}\x92.",
            "memo": b"\x80\x04" + memo + text("id") + b"\x85R.",
            "far_memo": b"\x80\x04" + text(module) + b"r\xff\xff\xff\x000j\xff\xff\xff\x00" + text(name) + b"\x93)R.",
            "dup": b"\x80\x04" + text(module) + text(name) + b"\x932" + text("id") + b"\x85R.",
            "escaped": b"V" + "".join("\\u%04x" % ord(c) for c in module).encode() + b"\nV" + name.encode() + b"\n\x93)R.",
            "quoted": b"S'" + "".join("\\x%02x" % ord(c) for c in module).encode() + b"'\nS'" + name.encode() + b"'\n\x93)R.",
            "popped": b"\x80\x02c" + lines + b")R0N.",
            "not_called": b"\x80\x02c" + lines + b"0N.",
            "no_stop": b"\x80\x02c" + lines + b")R",
            "broken_behind": b"\x80\x02c" + lines + b")R\xff\xff\xff",
            "missing_memo": b"\x80\x02c" + lines + b")R0h\x63.",
            "underflow": b"\x80\x02c" + lines + b")R000000.",
            "wrong_type": b"\x80\x02c" + lines + b")R0NNs.",
            "two_protos": b"\x80\x02\x80\x05\x80\x03c" + lines + b")R.",
            "second": b"\x80\x04N.\x80\x02c" + lines + b")R.",
            "third_bare": b"I1\n.I2\n.c" + lines + b")R.",
            "behind_header0": b"N0c" + lines + b")R.",
            "framed": b"\x80\x04" + frame(b"c" + lines + b")R."),
            "frame_too_short": b"\x80\x04" + b"\x95" + struct.pack("<Q", 3) + b"c" + lines + b")R.",
            "nested": b"\x80\x03" + short_bytes(b"\x80\x02c" + lines + b")R.") + b".",
            "nested_twice": b"\x80\x03" + short_bytes(b"\x80\x03" + short_bytes(b"\x80\x02c" + lines + b")R.") + b".") + b".",
            "nested_text": b"\x80\x03" + short_bytes(b"c" + lines + b")R.") + b".",
            "in_list": b"\x80\x02](c" + lines + b")RNNe.",
            "in_dict": b"\x80\x02}(X\x01\x00\x00\x00ac" + lines + b")Ru.",
            "as_state": b"\x80\x02ccollections\nOrderedDict\n)R}X\x01\x00\x00\x00ac" + lines + b")Rsb.",
            "default_factory": b"\x80\x02ccollections\ndefaultdict\nc" + lines + b"\x85R.",
            "persistent": b"\x80\x02c" + lines + b")RQ.",
        }.items():
            yield "opcodes/%s_%d.pkl" % (way, index), content
    for index, (name, content) in enumerate({
        "ext1": b"\x80\x02\x82\x01.", "ext4": b"\x80\x02\x84\x01\x00\x00\x00.",
        "state_on_class": b"ccollections\nOrderedDict\n}(S'x'\nI1\nsb.",
        "overrun": b"\x80\x05N(" + b"\x95" + struct.pack("<Q", 2) + b"B\x07\x01\x00\x00" + b"\x00\x00"
                   + (BARE[:-1] + b"(").ljust(261, b"N") + b"1.",
        "outer_frame": b"\x80\x04\x95" + struct.pack("<Q", 12) + b"\x95" + struct.pack("<Q", 40) + b"N0" + BARE.ljust(38, b"N"),
    }.items()):
        yield "opcodes/%s.pkl" % name, content
    for name in ("model.joblib", "model.sav", "model.dat", "weights.bin", "pytorch_model.pt", "model.ckpt", "notes.txt", "noname",
                 "image.png", "model.h5.bak"):
        yield "names/called_" + name, CALL
        yield "names/bare_" + name, BARE
        yield "names/padded_" + name, b"S'" + b"a" * 70000 + b"'\n0" + BARE
        yield "names/unknown_" + name, b"cmypackage.module\nrun\n)R\xff"
    gz = gzip.compress(CALL)
    for name, content in {
        "deflated.zip": zipped({"model.pkl": CALL}, zipfile.ZIP_DEFLATED), "stored.zip": zipped({"data.bin": CALL}),
        "odd_name.pt": torch_zip(b"N.", **{"archive/extra.config": CALL}), "torch.pt": torch_zip(CALL),
        "torch_bare.pt": torch_zip(BARE), "in_data.pt": torch_zip(b"\x80\x02N.", **{"archive/data/0": CALL}),
        "zip_zip.zip": zipped({"a.zip": zipped({"b.zip": zipped({"c": CALL})})}, zipfile.ZIP_DEFLATED),
        "tar.tar": tarred({"a.pkl": CALL}), "tar_gz.nemo": tarred({"./model_weights.ckpt": torch_zip(CALL)}, "w:gz"),
        "tar_xz.tar": tarred({"a.pkl": CALL}, "w:xz"), "tar_bz2.tar": tarred({"a.pkl": CALL}, "w:bz2"),
        "gz_in_tar.nemo": tarred({"./model_config.yaml": b"a: 1\n", "./sub.nemo": gzip.compress(tarred({"./x.pkl": CALL}))}),
        "gz.pkl": gz, "gz.pkl.gz": gz, "zlib.joblib": zlib.compress(CALL), "zlib_stored.joblib": zlib.compress(CALL, 0),
        "bz2.joblib": bz2.compress(CALL), "xz.joblib": lzma.compress(CALL),
        "lzma.joblib": lzma.compress(CALL, lzma.FORMAT_ALONE), "gz_xz": gzip.compress(lzma.compress(CALL)),
        "two_gz.pkl": gzip.compress(b"\x80\x02N.") + gz, "cut_zlib.joblib": zlib.compress(CALL + bytes(1000))[:-6],
        "7z.7z": b"7z\xbc\xaf\x27\x1c\x00\x04" + bytes(90), "rar.rar": b"Rar!\x1a\x07\x01\x00" + bytes(90),
        "zstd.pkl": b"\x28\xb5\x2f\xfd\x24" + bytes(40), "lz4.joblib": b"\x04\x22\x4d\x18\x64" + bytes(40),
        "objects.npy": npy("'|O'", CALL), "objects0.npy": npy("'O'", BARE), "quotes.npy": npy('"|O8"', CALL),
        "fields.npy": npy("[('x', '<f4'), ('o', '|O')]", CALL), "names.npy": npy("[('O', 'object')]", CALL),
        "objects.npz": zipped({"a.npy": npy("'|O'", CALL)}, zipfile.ZIP_DEFLATED),
        "bytes_io.pkl": b"\x80\x03c_io\nBytesIO\n" + short_bytes(torch_zip(CALL)) + b"\x85R.",
        "latin1.pkl": b"\x80\x02c_codecs\nencode\nX" + struct.pack("<I", 24) + b"\xc2\x80\x02cos\nsystem\n)R012345."
                      b"X\x06\x00\x00\x00latin1\x86R.",
        "behind_legacy.pt": b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}." + CALL,
        "magic_from_call.pt": b"\x80\x02c__builtin__\neval\nX\x04\x00\x00\x001+1\x00\x85R.\x80\x02M\xe9\x03.",
        "target.yaml": b"optim:\n  _target_: os.system\n", "through.yaml": b"_target_: pathlib.os.system\n",
        "cls.yaml": b"cls: os.system\nparams:\n  command: id\n", "class.yaml": b"a:\n  class: builtins.eval\n  params: {}\n",
        "old.yaml": b"target: subprocess.Popen\nparams: {args: id}\n", "tag.yaml": b"a: !!python/object/apply:os.system [id]\n",
        "list.yaml": b"a:\n- b:\n  - _target_: mypackage.Thing\n", "env.yaml": b"a: ${oc.env:SECRET}\n",
        "context/io.json": b'{"a": {"type": "pyref", "module": "os", "name": "system"}}',
        "hf/config.json": b'{"auto_map": {"AutoModel": "modeling.Model"}}',
    }.items():
        yield "containers/" + name, content
    for name, cut in {"cut.zip": zipped({"a.pkl": CALL})[:-30], "link.tar": None}.items():
        yield "damaged/" + name, cut if cut is not None else b"".join(
            [tarfile.TarInfo("x").tobuf(), tarred({"a.pkl": CALL})])
    crc = bytearray(zipped({"a.pkl": CALL}))
    crc[14] ^= 1  # in the local header
    yield "damaged/crc.zip", bytes(crc)
    flags = bytearray(zipped({"a.pkl": CALL}))
    flags[6] |= 1
    flags[flags.index(b"PK\x01\x02") + 8] |= 1
    yield "damaged/encrypted.zip", bytes(flags)


def first_member_is(opcodes, content):
    """A tar whose first member's name begins with opcodes."""
    raw = bytearray(tarred({"x": content}))
    raw[:len(opcodes)] = opcodes
    raw[148:156] = b"%06o\0 " % (sum(raw[:148]) + 8 * 32 + sum(raw[156:512]))
    return bytes(raw)


def disguised():
    """Yields (file name, bytes) of calls in containers that Python opens though they are not as their formats' writers make them."""
    flagged_gzip = bytearray(gzip.compress(CALL))
    flagged_gzip[3] |= 0x20
    old_joblib = b"ZF" + hex(len(CALL)).encode().ljust(19)

    def alone(**settings):
        return lzma.compress(CALL, lzma.FORMAT_ALONE, filters=[{"id": lzma.FILTER_LZMA1, **settings}])

    yield "reserved_flag.pkl.gz", bytes(flagged_gzip)
    yield "old_joblib.pkl", old_joblib + zlib.compress(CALL)
    yield "old_joblib_python2.bin", old_joblib + b" " + zlib.compress(CALL)
    yield "small_dictionary.lzma", alone(dict_size=4096)
    yield "other_properties.lzma", alone(dict_size=3 << 15, lc=1, lp=1, pb=1)
    yield "large_dictionary.lzma", alone(dict_size=1 << 30, lc=1)
    yield "behind_empty_streams.lzma", bytes(18 * 9000) + lzma.compress(CALL, lzma.FORMAT_ALONE)
    # BINUNICODE and BINBYTES8 take the tar's head and the first bytes of the member as their content.
    yield "tar_is_pickle.bin", first_member_is(b"X\0\2\0\0", b"AAAAA0" + BARE)
    yield "tar_is_pickle8.bin", first_member_is(b"\x8e\0\2" + bytes(6), b"A" * 9 + b"0" + BARE)
    yield "words.yaml", b"cos\nsystem\n(S'id'\ntR."
    yield "prefixed_in_tar.nemo", tarred({"./x.npz": b"junk" + zipped({"a.pkl": CALL})})
    yield "prefixed_in_zip.zip", zipped({"x.bin": b"junk" + zipped({"a.pkl": CALL})})
    yield "peft/adapter_config.json", b'{"auto_mapping": {"base_model_class": "X", "parent_library": "evil"}}'


class NumpyArrayWrapper:
    """joblib's, as it pickles itself."""


NumpyArrayWrapper.__module__ = "joblib.numpy_pickle"


def joblib_wrapper(array, protocol, **changes):
    """The opcodes of an array's wrapper, up to its BUILD."""
    module = types.ModuleType("joblib.numpy_pickle")
    module.NumpyArrayWrapper = NumpyArrayWrapper
    sys.modules.update({"joblib": types.ModuleType("joblib"), "joblib.numpy_pickle": module})
    wrapper = NumpyArrayWrapper()
    wrapper.__dict__.update(subclass=type(array), shape=array.shape, order="F" if array.flags.fnc else "C", dtype=array.dtype, allow_mmap=True,
                            numpy_array_alignment_bytes=16)
    wrapper.__dict__.update(changes)
    if wrapper.numpy_array_alignment_bytes == "left out":  # before joblib 1.2
        del wrapper.numpy_array_alignment_bytes
    try:
        content = pickle.dumps(wrapper, protocol)[2:-1]
        # A frame ends where the array begins.
        return content if protocol < 4 else content[:1] + struct.pack("<Q", len(content) - 9) + content[9:]
    finally:
        del sys.modules["joblib"], sys.modules["joblib.numpy_pickle"]


def joblib_file(*arrays, protocol=4, padding=7, data=None, behind=b"e.", **changes):
    """A list of arrays as joblib.dump writes it: the bytes of each are behind its wrapper."""
    content = b"\x80" + bytes([protocol]) + b"]("
    for array in arrays:
        content += joblib_wrapper(array, protocol, **changes)
        if array.dtype.hasobject:
            content += pickle.dumps(array, protocol)
            continue
        if changes.get("numpy_array_alignment_bytes", 16) == 16:
            content += bytes([padding]) + b"\xff" * padding
        content += array.tobytes("A") if data is None else data
    return content + behind


def joblib_harmless():
    numbers = numpy.random.RandomState(0)
    arrays = {"numbers": numbers.randn(50, 3), "fortran": numpy.asfortranarray(numbers.randn(5, 3)), "none": numpy.zeros((0, 4)),
              "one": numpy.array(5), "words": numpy.array(["a", "bcd"]), "bytes": numpy.array([b"a", b"bcd"]), "bool": numpy.array([True]),
              "times": numpy.array(["2020-01-01"], "M8[D]"), "swapped": numpy.arange(5).astype(">i4"), "objects": numpy.array([1, "x"], object),
              "matrix": numpy.matrix([[1, 2]])}
    for name, array in arrays.items():
        for protocol in (2, 4, 5):
            yield "%s_%d.joblib" % (name, protocol), joblib_file(array, protocol=protocol)
            yield "%s_%d_old.joblib" % (name, protocol), joblib_file(array, protocol=protocol, numpy_array_alignment_bytes="left out")
    # Each reader goes on at another place behind each array: the time is linear all the same.
    objects = joblib_wrapper(numpy.array(None), 2, numpy_array_alignment_bytes=None) + pickled(None, 2)
    yield "many_objects.joblib", b"\x80\x02](" + objects * 20000 + b"e."
    yield "several.joblib.z", zlib.compress(joblib_file(*arrays.values(), protocol=2, numpy_array_alignment_bytes=None))


def joblib_reaching():
    """Readers go on at different places behind an array, and what an array is can be changed on the way."""
    def octets(text):
        return numpy.frombuffer(text, numpy.uint8)

    imports = b"cos\nsystem\n0"  # and drops it
    yield "data_for_pickle", joblib_file(octets(imports + b"N" * 9), numpy_array_alignment_bytes=None)
    yield "data_for_joblib_1_1", joblib_file(octets(bytes(99) + imports), padding=len(imports) - 1)
    yield "padding_for_pickle", joblib_file(octets(b"N" * 9), padding=ord("N")).replace(b"\xff" * 78, imports.ljust(78, b"N"))
    yield "behind_padding", joblib_file(octets(b""), padding=9, behind=imports + b"e.")
    yield "smaller_shape", joblib_file(octets(imports), shape=(0,))
    yield "larger_shape", joblib_file(octets(b"N" * 9), shape=(11,), behind=b"N)" + imports + b"e.")
    yield "much_larger_shape", joblib_file(octets(b"N" * 9), shape=(2**40, 2**40))
    yield "negative_shape", joblib_file(octets(b"N" * 9), shape=(-1,))
    yield "other_dtype", joblib_file(octets(b"N" * 9 + imports), dtype=numpy.dtype("f8"), shape=(1,))
    yield "fields", joblib_file(numpy.zeros(3, [("a", "i4")]))
    yield "a_method_replaced", joblib_file(octets(b"N"), read_array=list)
    yield "another_class", joblib_file(octets(b"N"), subclass=collections.OrderedDict)
    yield "alignment_from_call", joblib_file(octets(b"N"), numpy_array_alignment_bytes=collections.OrderedDict())
    yield "objects_call", joblib_file(numpy.array([1], object))[:-2] + imports + b"e."
    called = joblib_file(numpy.array([1], object)).replace(b"\x8c\x0c_reconstruct", b"\x8c\x0c_reconstruc2")
    yield "objects_name", called
    plain = joblib_file(octets(b"NNNN"))
    yield "in_a_frame", plain[:2] + b"\x95" + struct.pack("<Q", len(plain) - 2) + plain[2:]
    wrapper = joblib_wrapper(octets(b"NNNN"), 2, numpy_array_alignment_bytes=None)
    yield "built_twice", b"\x80\x02](" + wrapper + b"NNNNh\x01}bNNNNe."
    # The dtype has one more byte an element than its text says.
    longer = joblib_wrapper(numpy.zeros(3, "S5"), 2, numpy_array_alignment_bytes=None)
    yield "dtype_changed", b"\x80\x02](" + longer.replace(b"K\x05K\x01K\x00t", b"K\x06K\x01K\x00t") + bytes(18) + imports + b"e."
    name = b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n"
    yield "class_called", b"\x80\x02" + name + b")R."
    yield "class_in_tuple", b"\x80\x02" + name + b"\x85."
    yield "class_of_an_array", b"\x80\x02cbuiltins\ntype\n" + name + b")\x81\x85R."
    yield "state_filled_before", b"\x80\x02}q\x40(X\x0a\x00\x00\x00read_arrayNu0" + wrapper.replace(b"}", b"h\x40", 1) + b"NNNN."
    yield "no_state", b"\x80\x02" + name + b")\x81}b."
    yield "other_class", b"\x80\x02cjoblib.numpy_pickle\nNDArrayWrapper\n)\x81}b."


def saved(value, legacy=False, protocol=2):
    out = io.BytesIO()
    torch.save(value, out, pickle_protocol=protocol, _use_new_zipfile_serialization=not legacy)
    return out.getvalue()


def pickled(value, protocol):
    return pickle.dumps(value, protocol)


def npy_of(array):
    out = io.BytesIO()
    numpy.save(out, array, allow_pickle=True)
    return out.getvalue()


def harmless():
    """Yields (file name, bytes) of what holds data alone, as real programs write it."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.LayerNorm(8))
    adam = torch.optim.AdamW(model.parameters())
    model(torch.ones(2, 4)).sum().backward()
    adam.step()
    checkpoint = {
        "epoch": 1, "global_step": 10, "pytorch-lightning_version": "2.0.0", "state_dict": model.state_dict(), "loops": {},
        "optimizer_states": [adam.state_dict()], "lr_schedulers": [{"last_epoch": 1, "_last_lr": [0.1]}],
        "callbacks": {"ModelCheckpoint{'monitor': 'loss'}": {"best_model_score": torch.tensor(0.5), "dirpath": "/x"}},
        "hparams_name": "kwargs", "hyper_parameters": collections.OrderedDict(lr=0.1, betas=(0.9, 0.99)),
        "rng": torch.get_rng_state(), "numpy_rng": numpy.random.RandomState(0).get_state(),
    }
    values = {
        "state_dict": model.state_dict(), "lightning": checkpoint, "tensor": torch.arange(640), "parameter": model[0].weight,
        "half": {"a": torch.ones(3).half(), "b": torch.ones(3).bfloat16(), "c": torch.ones(3, dtype=torch.complex64)},
        "sparse": torch.eye(3).to_sparse(), "quantized": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
        "bool": torch.ones(5, dtype=torch.bool), "dtype": {"dtype": torch.float16, "device": torch.device("cpu"), "size": torch.Size([1])},
        "namespace": {"args": argparse.Namespace(lr=0.1, path=pathlib.PosixPath("/x"))},
    }
    for name, value in values.items():
        for protocol in (2, 3, 4, 5):
            yield "torch/%s_%d.pt" % (name, protocol), saved(value, protocol=protocol)
        yield "torch/%s_legacy.pth" % name, saved(value, legacy=True)
    plain = {
        "atoms": [None, True, 1, 2**70, 1.5, 1j, "x", b"x", bytearray(b"x")], "nested": {"a": [(1, 2), {3}, frozenset([4])]},
        "ordered": collections.OrderedDict(a=1), "default": collections.defaultdict(list, a=[1]), "counter": collections.Counter("ab"),
        "dates": [datetime.datetime(2024, 1, 1), datetime.timedelta(1), datetime.timezone.utc], "paths": pathlib.PurePosixPath("/x"),
        "exact": [decimal.Decimal("0.1"), uuid.UUID(int=1)], "numpy": numpy.arange(6).reshape(2, 3), "scalar": numpy.float32(1),
        "dtype": numpy.dtype([("a", "<f4")]), "random": numpy.random.RandomState(0), "generator": numpy.random.default_rng(0),
        "text": {"shell": "rm -rf / ; os.system('id')", "template": "{{ messages[0]['role'] }} ${HOME}", "code": "import os\nos.system('x')"},
        "range": [range(3), slice(1, 2)], "long": list(range(3000)),
    }
    for name, value in plain.items():
        for protocol in (0, 2, 4, 5):
            yield "pickle/%s_%d.pkl" % (name, protocol), pickled(value, protocol)
    for dtype in ("<f4", "<f8", "<i8", "|u1", "|b1", "<U5", "|S5", "<M8[s]", "<c8"):
        array = numpy.zeros(640, dtype)
        yield "numpy/%s.npy" % dtype.strip("<|").replace("[", "_").replace("]", ""), npy_of(array)
    yield "numpy/record.npy", npy_of(numpy.zeros(3, [("Object", "<f4"), ("b", "<i4")]))
    yield "numpy/objects.npy", npy_of(numpy.array([1, "a", None], dtype=object))
    out = io.BytesIO()
    numpy.savez_compressed(out, a=numpy.ones(3), b=numpy.array([{}], dtype=object))
    yield "numpy/arrays.npz", out.getvalue()
    config = (b"target: nemo.collections.asr.models.ctc_bpe_models.EncDecCTCModelBPE\nsample_rate: &r 16000\nencoder:\n"
              b"  _target_: nemo.collections.asr.modules.ConformerEncoder\n  class: small\noptim:\n  name: adamw\n  lr: ${multiply:2,0.1}\n"
              b"loss:\n  _target_: torch.nn.CrossEntropyLoss\ncls: x\ntokenizer:\n  trust_remote_code: false\n")
    weights = saved(model.state_dict())
    for name, content in {
        "plain.nemo": tarred({"./model_config.yaml": config, "./model_weights.ckpt": weights, "./vocab.txt": b"a\nb\n"}),
        "gzip.nemo": tarred({"./model_config.yaml": config, "./model_weights.ckpt": weights}, "w:gz"),
        "config.yaml": config, "empty.zip": zipped({}), "texts.zip": zipped({"a/": b"", "a/x.txt": b"text"}, zipfile.ZIP_DEFLATED),
        "text.gz": gzip.compress(b"text\n" * 1000), "text.xz": lzma.compress(b"text\n"), "text.bz2": bz2.compress(b"text\n"),
        "weights.joblib": zlib.compress(pickled(numpy.ones(3), 4)), "merges.txt": b"#version: 0.2\ni n\nt h\n",
        "words": b"cat\ndog\n(a tree).\n", "README.md": b"# A model\n\nimport os\nos.system('id')\n",
        "vocab.json": json.dumps({"os.system": 1, "eval(": 2}).encode(), "hf/config.json": b'{"model_type": "clip", "architectures": []}',
        "hf/tokenizer_config.json": b'{"chat_template": "{% for m in messages %}{{ m }}{% endfor %}"}',
        "image.png": b"\x89PNG\r\n\x1a\n" + bytes(100), "picture.bin": b"\x89PNG\r\n\x1a\n" + bytes(100),
        "weights.safetensors": struct.pack("<Q", 64) + b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(64) + bytes(4),
        "spiece.model": b"\n\x0e\n\x05<unk>\x15\x00\x00\x00\x00\x18\x02", "empty.pkl": b"", "model.onnx": b"\x08\x07\x12\x07pytorch",
        "model.gguf": b"GGUF\x03\x00\x00\x00" + bytes(40), "zeros.bin": bytes(4096), "log.dat": b"class A\nline two\n",
    }.items():
        yield "files/" + name, content
    for seed in range(24):
        source = random.Random(seed)
        yield "random/%02d%s" % (seed, (".bin", ".dat", ".pt", "")[seed % 4]), bytes(source.randrange(256) for _ in range(3000))


def write(folder):
    """Writes all; returns {path: whether loading reaches code}."""
    truth = {}
    for reaches, group in ((True, reaching()), (False, harmless())):
        for name, content in group:
            path = pathlib.Path(folder) / ("reaching" if reaches else "harmless") / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            truth[str(path)] = reaches
    return truth
