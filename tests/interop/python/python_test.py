"""The Python package against torch and numpy, and NeMo's script names under torchrun.

usage: python_test.py GOLDEN_DIR DEMO_CLIP_DIR [unittest's arguments]
Needs python3-torch and python3-numpy (scripts/deps test), and PYTHONPATH naming the package.
"""

import argparse
import _thread
import ast
import contextlib
import errno
import faulthandler
import glob
import inspect
import io
import itertools
import json
import os
import pathlib
import pickle
import re
import signal
import struct
import subprocess
import sys
import tarfile
import threading
import time
import types
import unittest
import unittest.mock

import numpy as np
import torch

import anemone
from anemone.nemo import SCRIPTS

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, os.pardir, "testing"))
from folder_case import FolderCase  # noqa: E402

GOLDEN, DEMO = (os.path.abspath(path) for path in sys.argv[1:3])


def golden(path):
    return os.path.join(GOLDEN, path)


def nemo_weights(path):
    with tarfile.open(path) as tar:
        member = next(m for m in tar if m.name.endswith("model_weights.ckpt"))
        return torch.load(io.BytesIO(tar.extractfile(member).read()), map_location="cpu")


def tensors_of(state):
    return {k: v for k, v in state.items() if isinstance(v, torch.Tensor)}


def mapped_file(address):
    """The file whose bytes are mapped there."""
    with open("/proc/self/maps") as maps:
        for line in maps:
            begin, end = (int(x, 16) for x in line.split()[0].split("-"))
            if begin <= address < end:
                return line.split()[-1]


class Case(FolderCase):
    def python(self, *words, code=0, **options):
        result = subprocess.run([sys.executable, "-W", "ignore", *words], capture_output=True, text=True, timeout=300, **options)
        self.assertEqual(result.returncode, code, f"{words}\n{result.stdout}{result.stderr}")
        return result


class Open(Case):
    def test_every_tensor_is_what_torch_reads(self):
        for name in ("mcore.nemo", "mcore_bf16_O2.nemo", "legacy.nemo"):
            expected = tensors_of(nemo_weights(golden("clip/" + name)))
            checkpoint = anemone.open(golden("clip/" + name))
            self.assertEqual(sorted(checkpoint), sorted(expected))
            for key, value in expected.items():
                tensor = checkpoint[key]
                self.assertEqual((tensor.shape, "torch." + tensor.dtype), (tuple(value.shape), str(value.dtype)), key)
                self.assertTrue(torch.equal(tensor.torch(), value), key)
                self.assertTrue(torch.equal(torch.from_dlpack(tensor), value), key)
                bits = value.contiguous().view(torch.int16).numpy().view(np.uint16) if value.dtype == torch.bfloat16 else value.numpy()
                np.testing.assert_array_equal(tensor.numpy(raw=True), bits, key)

    def test_views_are_the_files_own_bytes(self):
        for path in (golden("clip/mcore.nemo"), os.path.join(DEMO, "model.safetensors")):
            for name, tensor in anemone.open(path).items():
                view = tensor.numpy(copy=False)
                self.assertEqual(mapped_file(view.ctypes.data), os.path.realpath(path))
                np.testing.assert_array_equal(view, tensor.numpy(), name)
                torch_view, dlpack = tensor.torch(copy=False), torch.utils.dlpack.from_dlpack(tensor.__dlpack__(copy=False))
                for other in (torch_view, dlpack):
                    self.assertEqual(mapped_file(other.data_ptr()), os.path.realpath(path))
                    self.assertTrue(torch.equal(other, tensor.torch()), name)
        view[...] = 0  # writing changes memory, not the file
        self.assertTrue(tensor.numpy().any())
        self.assertEqual(anemone.open(path).state_dict(copy=False)[name].data_ptr() % tensor.torch().element_size(), 0)

    def test_no_view_where_bytes_must_be_read(self):
        checkpoint = anemone.open(golden("clip/mcore_tp2.nemo"))
        tensor = max(checkpoint.values(), key=lambda t: t.nbytes)  # two ranks' halves
        for ask in (lambda: tensor.numpy(copy=False), lambda: tensor.torch(copy=False), lambda: tensor.__dlpack__(copy=False)):
            self.assertRaises(anemone.UnsupportedError, ask)
        self.assertEqual(np.asarray(tensor).shape, tensor.shape)

    def test_what_a_checkpoint_says_of_itself(self):
        checkpoint = anemone.open(golden("clip/mcore_tp2.nemo"))
        self.assertEqual((checkpoint.family, checkpoint.dialect, checkpoint.layout), ("clip", "mcore", (2, 1, 1)))
        self.assertEqual(checkpoint.config["tensor_model_parallel_size"], 2)
        self.assertEqual([(s.tp_rank, s.pp_rank) for s in checkpoint.shards], [(0, 0), (1, 0)])
        self.assertIn("mcore_tp2.nemo", repr(checkpoint))

    def test_ranks_are_merged(self):
        whole, ranks = anemone.open(golden("clip/mcore.nemo")), anemone.open(golden("clip/mcore_tp2.nemo"))
        self.assertEqual(set(whole), set(ranks))
        for name in whole:
            self.assertEqual(whole[name].shape, ranks[name].shape, name)

    def test_artifacts(self):
        with tarfile.open(golden("clip/mcore.nemo")) as tar:
            files = {os.path.normpath(m.name): tar.extractfile(m).read() for m in tar if m.isfile()}
        for name, content in anemone.open(golden("clip/mcore.nemo")).artifacts.items():
            self.assertEqual(content, files[name])

    def test_speaks_safe_open(self):
        with anemone.open(os.path.join(DEMO, "model.safetensors"), framework="pt") as file:
            name = max(file.keys(), key=lambda key: file[key].size)
            whole = file.get_tensor(name)
            self.assertIsInstance(whole, torch.Tensor)
            part = file.get_slice(name)[3:7]
            np.testing.assert_array_equal(np.asarray(part), whole[3:7].numpy())
            np.testing.assert_array_equal(file[name][-1], whole[-1].numpy())

    def test_a_table_and_names_for_a_notebook(self):
        checkpoint = anemone.open(golden("clip/mcore.nemo"))
        rows = checkpoint.table()
        self.assertEqual([row["name"] for row in rows], list(checkpoint))
        self.assertEqual(sum(row["bytes"] for row in rows), sum(tensor.nbytes for tensor in checkpoint.values()))
        self.assertEqual(checkpoint.num_parameters, sum(tensor.size for tensor in checkpoint.values()))
        self.assertIn("model.logit_scale", repr(checkpoint.keys()))
        self.assertEqual(checkpoint.keys() & {"model.logit_scale"}, {"model.logit_scale"})

    def test_feeds_load_state_dict_in_another_dialect(self):
        expected = torch.load(golden("clip/hf/pytorch_model.bin"), map_location="cpu") if os.path.exists(
            golden("clip/hf/pytorch_model.bin")) else anemone.open(golden("clip/hf")).state_dict()

        class Tower(torch.nn.Module):
            def __init__(self):
                super().__init__()
                for name, tensor in tensors_of(dict(expected)).items():
                    path, module = name.split("."), self
                    for part in path[:-1]:
                        if not hasattr(module, part):
                            module.add_module(part, torch.nn.Module())
                        module = getattr(module, part)
                    module.register_buffer(path[-1], torch.zeros_like(tensor))

        converted = golden("clip/mcore.nemo")
        tower = Tower()
        names = tower.load_state_dict(anemone.open(converted, dialect="hf").state_dict(), strict=False)
        self.assertEqual(names.unexpected_keys, [])
        back = self.path("hf")
        anemone.convert(converted, back, to="hf")
        state = tower.state_dict()
        for name, tensor in anemone.open(back).items():
            self.assertTrue(torch.equal(tensor.torch(), state[name]), name)

    def test_import_takes_less_than_50_ms(self):
        code = "import time; begin = time.process_time(); import anemone; print(time.process_time() - begin)"
        self.assertLess(min(float(self.python("-c", code).stdout) for _ in range(5)), 0.05)  # of processor time: the machine may be busy

    def test_import_is_quick_and_brings_no_numpy(self):
        self.python("-c", "import sys, anemone; assert not {'numpy', 'torch', 'tqdm'} & set(sys.modules)")


class PlainUnpickler(pickle.Unpickler):
    """Makes what is plain data or torch's, and stand-ins of everything else."""

    def find_class(self, module, name):
        if module.split(".")[0] in ("torch", "collections", "builtins", "_codecs"):
            return super().find_class(module, name)
        return type(name, (StandIn,), {"__module__": module})


class StandIn:
    def __new__(cls, *arguments, **_):
        made = super().__new__(cls)
        made.arguments = arguments
        return made

    def __init__(self, *arguments):
        pass

    def __setstate__(self, state):
        self.state = state


def torch_load(path):
    with unittest.mock.patch.object(pickle, "Unpickler", PlainUnpickler):  # torch 1.13 ignores pickle_module
        return torch.load(path, map_location="cpu")


class Training(Case):
    """The training state is what torch.load makes of the file, its tensors unread and its objects unmade."""

    def compare(self, found, expected, where):
        if isinstance(expected, torch.Tensor):
            self.assertIsInstance(found, anemone.Tensor, where)
            self.assertTrue(torch.equal(found.torch(), expected), where)
            self.tensors += 1
        elif isinstance(expected, dict):
            self.assertIs(type(found), dict, where)
            self.assertEqual(list(found), list(expected), where)
            for key, value in expected.items():
                self.compare(found[key], value, f"{where}.{key}")
        elif isinstance(expected, (list, tuple)):
            self.assertIs(type(found), type(expected), where)
            self.assertEqual(len(found), len(expected), where)
            for index, value in enumerate(expected):
                self.compare(found[index], value, f"{where}.{index}")
        elif isinstance(expected, (StandIn, type)):
            named = expected if isinstance(expected, type) else type(expected)
            self.assertIsInstance(found, anemone.Opaque, where)
            self.assertEqual(found.name, f"{named.__module__} {named.__name__}", where)
            if getattr(expected, "state", None) is not None:
                self.assertIs(type(found.state), type(expected.state), where)
        else:
            self.assertEqual((type(found), found), (type(expected), expected), where)

    def test_every_rank_of_a_lightning_checkpoint(self):
        for folder, ranks in (("ckpt_mcore", [""]), ("ckpt_mcore_bf16_O2", [""]), ("ckpt_mcore_tp2", ["mp_rank_00", "mp_rank_01"])):
            checkpoint = anemone.open(golden("clip/" + folder))
            for shard, rank in zip(checkpoint.shards, ranks):
                self.tensors = 0
                path, = glob.glob(os.path.join(golden("clip/" + folder), rank, "*.ckpt"))
                self.compare(shard.training, torch_load(path), folder)
                self.assertGreater(self.tensors, 100)

    def test_distributed_checkpoints(self):
        for folder in (*glob.glob(golden("gpt_fused_adam_dist/*-last")), golden("dist/nemo2_llama/nemo")):
            training = anemone.open(folder).training
            common = torch_load(next(path for path in (folder + "/common.pt", folder + "/weights/common.pt") if os.path.exists(path)))
            for key in ("epoch", "global_step", "pytorch-lightning_version", "loops", "callbacks", "lr_schedulers"):
                self.tensors = 0
                self.compare(training[key], common[key], key)

    def test_the_moments_of_a_distributed_optimizer(self):
        folder, = glob.glob(golden("gpt_fused_adam_dist/*-last"))
        checkpoint = anemone.open(folder)
        moments = [t.torch() for t in self.tensors_in(checkpoint.training["optimizer_states"])]
        plain = list(self.torch_tensors_in(torch_load(golden("gpt_fused_adam_dist/opt1.plain.rank0.pt"))))
        self.assertEqual(len(moments), 2 * len(checkpoint))
        for moment in moments:
            self.assertTrue(any(torch.equal(moment.flatten(), one.flatten()) for one in plain if one.numel() == moment.numel()))

    def tensors_in(self, value, kind=anemone.Tensor):
        if isinstance(value, kind):
            yield value
        for child in value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ():
            yield from self.tensors_in(child, kind)

    def torch_tensors_in(self, value):
        return self.tensors_in(value, torch.Tensor)

    def test_tensors_are_named_unread_and_pickled(self):
        checkpoint = anemone.open(golden("clip/ckpt_mcore"))
        state = checkpoint.training["optimizer_states"][0]["state"]
        moment = state[max(state, key=lambda key: state[key]["exp_avg"].ndim)]["exp_avg"]
        self.assertRegex(moment.name, r"^optimizer_states\[0\]\.state\[\d+\]\.exp_avg$")
        for part in (moment, moment[:1]):
            np.testing.assert_array_equal(pickle.loads(pickle.dumps(part)).numpy(), part.numpy())
        self.assertIs(checkpoint.training, checkpoint.training)

    def test_none_and_several(self):
        self.assertIsNone(anemone.open(golden("clip/mcore.nemo")).training)
        with self.assertRaisesRegex(anemone.InvalidArgumentError, "expected one rank, found 2"):
            anemone.open(golden("clip/ckpt_mcore_tp2")).training  # noqa: B018

    def saved(self, training):
        """The training state of a Lightning file that holds this beside a weight."""
        torch.save({"pytorch-lightning_version": "2.4.0", "state_dict": {"w": torch.ones(2)}, **training}, self.path("x.ckpt"))
        return anemone.open(self.path("x.ckpt")).training

    def test_values_of_every_kind(self):
        shared = [1]
        circle = [shared]
        circle.append(({"circle": circle},))
        values = {"none": None, "yes": True, "int": -5, "big": 1 << 80, "float": 0.1, "inf": float("inf"), "text": 'a "é" \n\ud800',
                  "bytes": b"\0\xff", "array": bytearray(b"ab"), "tuple": (1, (2, ("x",))), "set": {1, 2}, "frozen": frozenset({(1, 2)}),
                  "keys": {(1, "a"): 1, 2.5: 2, None: 3, frozenset({7}): 4}, "one": shared, "two": shared, "circle": circle,
                  "object": argparse.Namespace(lr=[0.5], step=torch.arange(3)), "class": argparse.Namespace}
        found = self.saved(values)
        plain = set(values) - {"one", "two", "circle", "object", "class"}
        self.assertEqual({key: found[key] for key in plain}, {key: values[key] for key in plain})
        self.assertEqual({key: type(found[key]) for key in plain}, {key: type(values[key]) for key in plain})
        self.assertEqual(found["one"], [1])
        self.assertIs(found["one"], found["two"])
        self.assertIs(found["circle"][1][0]["circle"], found["circle"])
        self.assertIs(found["circle"][0], found["one"])
        self.assertEqual((found["object"].name, found["object"].state["lr"]), ("argparse Namespace", [0.5]))
        np.testing.assert_array_equal(found["object"].state["step"].numpy(), [0, 1, 2])
        self.assertEqual(found["class"].name, "argparse Namespace")

    def test_sharing_and_depth_cost_nothing(self):
        doubled, deep, tuples = [1], [], ()
        for _ in range(60):
            doubled = [doubled, doubled]
        for _ in range(300):
            deep, tuples = [deep], (tuples,)
        found = self.saved({"doubled": doubled, "deep": deep, "tuples": tuples})
        for _ in range(60):
            self.assertIs(found["doubled"][0], found["doubled"][1])
            found["doubled"] = found["doubled"][0]
        self.assertEqual(found["doubled"], [1])
        for key in ("deep", "tuples"):
            depth = 0
            while found[key]:
                found[key], depth = found[key][0], depth + 1
            self.assertEqual(depth, 300)

    def test_two_tensors_never_have_one_name(self):
        found = self.saved({"a.b": torch.zeros(1), "a": {"b": torch.ones(1)}})
        self.assertEqual((found["a.b"].item(), found["a"]["b"].item()), (0, 1))


class Frameworks(Case):
    """anemone.numpy and anemone.torch, by safetensors' calls."""

    def test_what_is_saved_is_loaded(self):
        tensors = {"a": torch.arange(12, dtype=torch.float32).reshape(3, 4).T, "b": torch.tensor(2.5, dtype=torch.bfloat16),
                   "c": torch.zeros(0, 3, dtype=torch.int64), "d": torch.tensor([True, False])}
        config = {"target": "my.own.Model", "width": np.int64(3), "lr": 1e-4}
        for name in ("x.nemo", "x.pt", "x.safetensors"):
            said = anemone.torch.save_file(tensors, self.path(name), metadata={"made by": "test"}, config=config)
            self.assertEqual((said["destination"], os.path.getsize(self.path(name))), (self.path(name), said["bytes_written"]))
            again = anemone.torch.load_file(self.path(name))
            self.assertEqual(set(again), set(tensors))
            for key, tensor in tensors.items():
                self.assertEqual(again[key].dtype, tensor.dtype)
                self.assertTrue(torch.equal(again[key], tensor), (name, key))
        self.assertEqual(anemone.open(self.path("x.nemo")).config, {"target": "my.own.Model", "width": 3, "lr": 1e-4})
        self.assertEqual(anemone.open(self.path("x.safetensors")).metadata(), {"made by": "test"})
        self.assertTrue(torch.equal(torch.load(self.path("x.pt"))["a"], tensors["a"]))
        arrays = {"a": np.arange(6, dtype=">f4").reshape(2, 3), "b": np.float64(3), "c": np.arange(8, dtype=np.int16)[::2]}
        anemone.numpy.save_file(arrays, self.path("y.safetensors"))
        for key, array in anemone.numpy.load_file(self.path("y.safetensors")).items():
            np.testing.assert_array_equal(array, arrays[key])
            self.assertEqual(array.shape, np.shape(arrays[key]))

    def test_a_models_own_tensors_become_a_nemo(self):
        state = anemone.torch.load_file(golden("clip/mcore.nemo"))
        config = anemone.open(golden("clip/mcore.nemo")).config
        anemone.torch.save_file(state, self.path("x.nemo"), config=config)
        self.assertTrue(anemone.diff(self.path("x.nemo"), golden("clip/mcore.nemo"), canonical=True)["equal"])
        anemone.torch.save_file(state, self.path("hf"), config=config, to="hf", dtype="fp16")
        self.assertEqual(anemone.open(self.path("hf")).dialect, "hf")
        self.assertEqual(next(iter(anemone.torch.load_file(self.path("hf"), dialect="mcore").values())).dtype, torch.float16)

    def test_what_cannot_be_saved_is_refused(self):
        array = {"a": np.zeros(2, np.float32)}
        anemone.numpy.save_file(array, self.path("x.safetensors"))
        self.assertRaises(FileExistsError, anemone.numpy.save_file, array, self.path("x.safetensors"))
        anemone.numpy.save_file(array, self.path("x.safetensors"), force=True)
        with self.assertRaisesRegex(anemone.UnsupportedError, "a nemo that NeMo restores: expected a model of a known family"):
            anemone.numpy.save_file(array, self.path("x.nemo"))  # no config
        self.assertRaises(anemone.InvalidArgumentError, anemone.numpy.save_file, {"a": np.array(["text"])}, self.path("y.pt"))
        self.assertRaises(TypeError, anemone.numpy.save_file, [1], self.path("y.pt"))
        self.assertRaises(TypeError, anemone.numpy.save_file, {1: array["a"]}, self.path("y.pt"))
        self.assertRaises(TypeError, anemone.torch.save_file, {"a": 1}, self.path("y.pt"))
        self.assertRaises(TypeError, anemone.numpy.save_file, array, self.path("y.pt"), tp="2")
        self.assertRaises(anemone.InvalidArgumentError, anemone.numpy.save_file, array, self.path("y.pt"), no_such_option=1)
        self.assertRaises(ValueError, anemone.open, "a\0b")
        self.assertRaises(ValueError, anemone.inspect, "a\0b")
        self.assertEqual(os.listdir(self.dir), ["x.safetensors"])

    def test_slices_are_numpys(self):
        array = np.arange(5 * 6 * 7, dtype=np.int32).reshape(5, 6, 7)
        anemone.numpy.save_file({"x": array}, self.path("x.safetensors"))
        s = slice
        for framework in ("numpy", "pt"):
            with anemone.torch.safe_open(self.path("x.safetensors"), framework=framework, device="cpu") as file:
                part = file.get_slice("x")
                self.assertEqual((part.get_shape(), part.get_dtype()), ([5, 6, 7], "I32"))
                for index in (s(None), s(1, 3), (s(None), s(2, 4)), (Ellipsis, s(-3, None)), (s(None), s(None), s(0, 7, 3)), 2, -1, (1, 2, 3),
                              (s(4, 2), 1), (Ellipsis, 0), (0, Ellipsis, s(1, 100)), s(7, 9), (s(None), 5)):
                    found = part[index]
                    self.assertIsInstance(found, np.ndarray if framework == "numpy" else torch.Tensor, index) if np.ndim(array[index]) else None
                    np.testing.assert_array_equal(np.asarray(found), array[index], str(index))
        tensor = anemone.open(self.path("x.safetensors"))["x"]
        self.assertEqual(tensor[1:4, :, 2:5][1:, 3:].shape, (2, 3, 3))
        np.testing.assert_array_equal(np.asarray(tensor[1:4, :, 2:5][1:, 3:]), array[1:4, :, 2:5][1:, 3:])
        np.testing.assert_array_equal(tensor[::-2, 0], array[::-2, 0])
        np.testing.assert_array_equal(tensor[[0, 2]], array[[0, 2]])
        self.assertRaises(IndexError, lambda: tensor[0, 6])
        self.assertRaises(IndexError, lambda: tensor[0, 0, 0, 0])

    def test_a_slice_reads_what_it_needs(self):
        anemone.numpy.save_file({"x": np.zeros((4096, 2048), np.float32)}, self.path("x.safetensors"))
        part = anemone.open(self.path("x.safetensors")).get_slice("x")

        def read_bytes():
            with open("/proc/self/io") as io:
                return int(io.readline().split()[1])

        for index in ((slice(None), slice(0, 8)), slice(0, 16), (5, slice(None))):
            before = read_bytes()
            part[index]
            self.assertLess(read_bytes() - before, 8 << 20, index)  # of 32 MiB

    def test_handles_are_pickled(self):
        for checkpoint in (anemone.open(golden("clip/mcore_tp2.nemo"), dialect="hf", framework="pt"), anemone.open(DEMO)):
            again = pickle.loads(pickle.dumps(checkpoint))
            self.assertEqual((list(again), again.path, again.dialect), (list(checkpoint), checkpoint.path, checkpoint.dialect))
            name = max(checkpoint, key=lambda key: checkpoint[key].ndim)
            for part in (checkpoint[name], checkpoint[name][1:3], checkpoint.shards[-1][next(iter(checkpoint.shards[-1]))]):
                np.testing.assert_array_equal(pickle.loads(pickle.dumps(part)).numpy(), part.numpy())
        model = anemone.models.Model.restore_from(golden("clip/mcore.nemo"))
        model.cfg.tried = 1
        self.assertEqual(pickle.loads(pickle.dumps(model)).cfg, model.cfg)

    def test_one_element_is_a_number(self):
        checkpoint = anemone.open(golden("clip/mcore.nemo"))
        scale = checkpoint["model.logit_scale"]
        self.assertEqual((float(scale), scale.item(), int(scale)), (float(scale.numpy()), scale.numpy().item(), int(scale.numpy())))
        self.assertTrue(scale)
        many = next(tensor for tensor in checkpoint.values() if tensor.size > 1)
        for ask in (many.item, lambda: float(many), lambda: bool(many)):
            self.assertRaises(ValueError, ask)

    def test_every_dtype_of_torch_is_read_as_its_bits(self):
        tensors = {name: torch.zeros(4, 2, dtype=getattr(torch, name)) for name in (
            "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", "complex64", "complex128")}
        anemone.torch.save_file(tensors, self.path("x.pt"))
        for name, tensor in anemone.open(self.path("x.pt")).items():
            self.assertEqual((tensor.nbytes, tensor.numpy(raw=True).nbytes), (8 * tensors[name].element_size(),) * 2, name)
        header = json.dumps({"x": {"dtype": "F4", "shape": [4, 6], "data_offsets": [0, 12]}}).encode()
        with open(self.path("f4.safetensors"), "wb") as file:
            file.write(len(header).to_bytes(8, "little") + header + bytes(12))
        packed = anemone.open(self.path("f4.safetensors"))
        self.assertEqual((packed["x"].nbytes, packed.get_slice("x").get_dtype()), (12, "F4"))

    def test_tables(self):
        for checkpoint in (anemone.open(DEMO), anemone.open(golden("clip/mcore_tp2.nemo"))):
            name = next(iter(checkpoint))
            shape = " × ".join(map(str, checkpoint[name].shape))
            lines = repr(checkpoint).splitlines()
            self.assertIn(name, lines[1])
            self.assertIn(f"… and {len(checkpoint) - 12} more", lines[-1])
            page = checkpoint._repr_html_()
            self.assertIn(f"<td>{name}</td><td>{checkpoint[name].dtype}</td><td>{shape or 'scalar'}</td>", page)
            self.assertEqual(page.count("<tr>"), page.count("</tr>"))


class Host(Case):
    def test_the_program_leaves_the_process_as_it_was(self):
        out = self.path("x.nemo")
        code = f"""
import os, signal, sys, threading
from anemone import _c
signals = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ]
def state():
    with open("/proc/self/status") as status:
        masks = [int(line.split()[1], 16) & 0xffffffff for line in status if line[:6] in ("SigBlk", "SigIgn", "SigCgt")]
    return [signal.getsignal(s) for s in signals], masks, os.getcwd(), dict(os.environ), sys.stdout, len(os.listdir("/proc/self/fd"))
before = state()
print("first")
assert _c.main(["anemone", "--version"]) == 0
print("then")
assert _c.main(["anemone", "convert", {DEMO!r}, {out!r}, "-q"]) == 0
assert _c.main(["anemone", "inspect", "absent"]) == 66
assert state() == before, (state(), before)
try:
    os.kill(os.getpid(), signal.SIGINT)
    threading.Event().wait(60)
except KeyboardInterrupt:
    print("interrupted")
"""
        said = self.python("-c", code).stdout.split("\n")
        self.assertEqual([said[0], said[1][:8], said[2:]], ["first", "anemone ", ["then", "interrupted", ""]])


class Documentation(Case):
    """Every public name says what it is, and the stubs say the same names with the same arguments."""

    def arguments(self, function):
        return [a.arg for a in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]

    def check(self, what, stub, where):
        self.assertTrue(inspect.getdoc(what), f"{where}: no docstring")
        if isinstance(stub, ast.FunctionDef) and not isinstance(what, property):
            self.assertEqual(list(inspect.signature(what).parameters)[:len(self.arguments(stub))],
                             [a for a in self.arguments(stub) if a != "cls"], where)
        if isinstance(stub, ast.ClassDef):
            stubs = self.named(stub)
            for name, member in vars(what).items():
                if not name.startswith("_") and (callable(getattr(what, name)) or isinstance(member, property)):
                    self.assertIn(name, stubs, where)
                    self.check(getattr(what, name), stubs[name], f"{where}.{name}")

    def named(self, node):
        return {child.name: child for child in node.body if isinstance(child, (ast.FunctionDef, ast.ClassDef))}

    def test_docstrings_and_stubs(self):
        for module, names in ((module, module.__all__) for module in (anemone, anemone.models, anemone.numpy, anemone.torch)):
            with open(os.path.splitext(module.__file__)[0] + ".pyi") as file:
                stubs = self.named(ast.parse(file.read()))
            for name in names:
                what = getattr(module, name)
                if inspect.isclass(what) or inspect.isfunction(what):
                    self.assertIn(name, stubs)
                    self.check(what, stubs[name], f"{module.__name__}.{name}")
            self.assertLessEqual(set(stubs), set(names))


class Errors(Case):
    def test_kinds_are_pythons_own_too(self):
        with self.assertRaises(FileNotFoundError) as caught:
            anemone.open(self.path("absent.nemo"))
        self.assertIsInstance(caught.exception, anemone.Error)
        self.assertIn(self.path("absent.nemo"), str(caught.exception))
        self.assertNotIn("\n", str(caught.exception))
        again = pickle.loads(pickle.dumps(caught.exception))
        self.assertEqual((type(again), str(again), again.hint), (type(caught.exception), str(caught.exception), caught.exception.hint))

    def test_errors_of_files_name_them(self):
        with self.assertRaises(OSError) as caught:
            anemone.open(self.path("absent.nemo"))
        for error in (caught.exception, pickle.loads(pickle.dumps(caught.exception))):
            self.assertEqual((error.errno, error.filename), (errno.ENOENT, self.path("absent.nemo")))
        self.assertEqual(anemone.NotFoundError.__module__, "anemone")
        with open(self.path("x.nemo"), "w"):
            pass
        with self.assertRaises(FileExistsError) as caught:
            anemone.convert(golden("clip/hf"), self.path("x.nemo"))
        self.assertEqual((caught.exception.errno, caught.exception.filename), (errno.EEXIST, self.path("x.nemo")))

    def test_hints_name_options_as_python_writes_them_and_leave_the_rest(self):
        advice = anemone._c._advice
        ways = [{"option": "force", "value": "true", "effect": "replace it"}, {"option": "dialect", "value": "hf", "effect": "name them"}]
        self.assertEqual(advice({"hint": "", "remedies": ways}), "use force=True to replace it, or dialect=hf to name them")
        self.assertEqual(advice({"hint": "mcore_gpt=true is needed", "remedies": []}), "mcore_gpt=true is needed")
        self.assertEqual(advice({"hint": "look", "remedies": ways[:1]}), "look; use force=True to replace it")
        ways = [{"option": "artifacts", "value": "KEY=FILE", "effect": "supply one"}, {"option": "lora", "value": "FOLDER", "effect": "merge it"}]
        self.assertEqual(advice({"hint": "", "remedies": ways}), "use artifacts={'KEY': 'FILE'} to supply one, or lora=['FOLDER'] to merge it")

    def test_a_damaged_source_is_refused_or_noted(self):
        torch.save({"w": torch.arange(1000.0)}, self.path("good.pt"))
        content = bytearray(pathlib.Path(self.path("good.pt")).read_bytes())
        content[content.index(struct.pack("<2f", 500, 501))] ^= 1
        pathlib.Path(self.path("bad.pt")).write_bytes(content)
        with self.assertRaises(anemone.CorruptError) as caught:
            anemone.convert(self.path("bad.pt"), self.path("x.safetensors"))
        self.assertEqual(caught.exception.hint, "use verify_source=False to copy it as it is")
        result = anemone.convert(self.path("bad.pt"), self.path("x.safetensors"), verify_source=False)
        self.assertRegex("".join(result["notes"]), "expected CRC-32 .*: the bytes have changed")
        self.assertEqual(len(anemone.open(self.path("x.safetensors"))["w"].numpy()), 1000)
        with self.assertRaises(anemone.CorruptError):
            anemone.average([self.path("bad.pt"), self.path("good.pt")], self.path("y.pt"))
        anemone.average([self.path("bad.pt"), self.path("good.pt")], self.path("y.pt"), verify_source=False)

    def test_one_of_several_dictionaries(self):
        torch.save({"student": {"w": torch.ones(2)}, "teacher": {"w": torch.zeros(2)}}, self.path("two.pt"))
        with self.assertRaises(anemone.InvalidArgumentError) as caught:
            anemone.open(self.path("two.pt"))
        self.assertEqual(caught.exception.hint, "use key=student to take that one")
        taken = anemone.open(self.path("two.pt"), key="teacher")
        self.assertEqual(pickle.loads(pickle.dumps(taken))["w"].numpy().tolist(), [0, 0])
        anemone.convert(self.path("two.pt"), self.path("two.safetensors"), key="student")
        self.assertEqual(anemone.open(self.path("two.safetensors"))["w"].numpy().tolist(), [1, 1])

    def test_a_key_error_proposes_the_nearest_name(self):
        checkpoint = anemone.open(golden("clip/mcore.nemo"))
        with self.assertRaises(KeyError) as caught:
            checkpoint["model.logitscale"]
        self.assertEqual(str(caught.exception), "'model.logitscale': did you mean 'model.logit_scale'?")
        self.assertEqual(str(pickle.loads(pickle.dumps(caught.exception))), str(caught.exception))
        self.assertEqual(checkpoint.get("model.logitscale", 3), 3)

    def test_what_needs_numpy_says_so(self):
        code = (f"import sys; sys.modules['numpy'] = None; import anemone\nfor ask in (lambda: next(iter(anemone.open({DEMO!r}).values())).numpy(), "
                f"lambda: anemone.infer({DEMO!r}, 'a.jpg', 'a')):\n try: ask()\n except ImportError as e: print(e)")
        self.assertEqual(self.python("-c", code).stdout, "this needs numpy: pip install 'anemone-nemo[numpy]'\n" * 2)

    def test_corrupt_is_a_value_error(self):
        with open(self.path("x.nemo"), "wb") as file:
            file.write(open(golden("clip/mcore.nemo"), "rb").read()[:70000])
        with self.assertRaises(ValueError):
            anemone.open(self.path("x.nemo"))

    def test_an_output_is_kept(self):
        with open(self.path("x.nemo"), "w") as file:
            file.write("mine")
        with self.assertRaises(FileExistsError) as caught:
            anemone.convert(golden("clip/hf"), self.path("x.nemo"))
        self.assertIn("force=True", caught.exception.hint)
        self.assertRaises(KeyError, lambda: anemone.open(golden("clip/mcore.nemo"))["no such tensor"])
        self.assertRaises(anemone.InvalidArgumentError, anemone.convert, golden("clip/hf"), self.path("y.nemo"), dtype="fp3")


    def test_a_wrong_type_is_a_type_error_that_names_the_option(self):
        for option, value in (("tp", "2"), ("tp", 2.5), ("tp", True), ("threads", np.bool_(True)), ("to", 3), ("set", "a=b"), ("unset", 1), ("strict", "yes"),
                              ("max_shard_bytes", -1), ("artifacts", [1])):
            with self.assertRaises(TypeError, msg=option) as caught:
                anemone.convert(golden("clip/hf"), self.path("y.nemo"), **{option: value})
            self.assertIn(f"{option}: expected", str(caught.exception))
        out, nemo = self.path("y.nemo"), golden("clip/mcore.nemo")
        for option, call in (("sources", lambda: anemone.average(nemo, out)), ("members", lambda: anemone.extract(nemo, out, members="model_config.yaml")),
                             ("unset", lambda: anemone.edit(nemo, unset="seed", output=out)), ("force", lambda: anemone.edit(nemo, output=out, force=1)),
                             ("tensors", lambda: anemone.inspect(nemo, tensors=1)), ("tp", lambda: anemone.plan(family="clip", preset="ViT-L-14", tp=True)),
                             ("statistics", lambda: anemone.report(nemo, output=out, statistics="all"))):
            with self.assertRaisesRegex(TypeError, f"^{option}: expected"):
                call()
        with self.assertRaisesRegex(ValueError, "^images: expected at least one picture"):
            anemone.infer(DEMO, [], "a")
        self.assertRaises(TypeError, anemone.open, 3)
        self.assertRaises(TypeError, anemone.convert, golden("clip/hf"), self.path("y.nemo"), tpp=2)
        self.assertRaises(TypeError, anemone.convert, golden("clip/hf"), self.path("y.nemo"), progress=3)
        self.assertEqual(os.listdir(self.dir), [])


class Ops(Case):
    def test_convert_reshard_diff_verify_scan(self):
        calls = []
        result = anemone.convert(golden("clip/hf"), self.path("x.nemo"), set={"optim.lr": 1e-4}, tqdm=False,
                                 progress=lambda stage, done, total: calls.append((threading.get_ident(), done, total)))
        self.assertEqual(result["format"], "nemo")
        self.assertEqual(anemone.open(self.path("x.nemo")).config["optim"]["lr"], 1e-4)
        self.assertTrue(all(ident == threading.get_ident() for ident, _, _ in calls))
        anemone.reshard(self.path("x.nemo"), self.path("x2.nemo"), tp=2)
        self.assertEqual(anemone.open(self.path("x2.nemo")).layout, (2, 1, 1))
        self.assertTrue(anemone.diff(golden("clip/hf"), self.path("x2.nemo"), canonical=True)["equal"])
        self.assertTrue(anemone.verify(self.path("x2.nemo"))["ok"])
        self.assertFalse([f for f in anemone.scan(self.path("x2.nemo")) if f["danger"] == "calls"])

    def test_the_other_commands(self):
        source = self.path("x.nemo")
        anemone.convert(golden("clip/hf"), source)
        self.assertEqual((anemone.inspect(source)["family"], "tensors" in anemone.inspect(source)), ("clip", False))
        self.assertEqual(len(anemone.inspect(source, tensors=True)["tensors"]), len(anemone.open(source)) + len(anemone.open(source).opaque))
        texts = {"a": "it's \\ fine", "b": "1", "c": "${d}", "e": "line\nline", "f": "", "g": "end\\"}
        values = {"optim.lr": 0.5, "on": True, "none": None, "list": [1, "two", {"x": False}], "map": {"k'ey": "v", "n": np.float32(0.25)}, "far": float("inf")}
        anemone.edit(source, set={**texts, **values}, unset=["seed"])
        config = anemone.open(source).config
        self.assertEqual({key: config[key] for key in texts}, texts)
        self.assertEqual([config["optim"]["lr"], config["on"], config["none"], config["list"], config["map"], config["far"]],
                         [0.5, True, None, [1, "two", {"x": False}], {"k'ey": "v", "n": 0.25}, float("inf")])
        self.assertNotIn("seed", config)
        with self.assertRaises(anemone.CorruptError):
            anemone.edit(source, set={"vision.num_layers": 17})
        anemone.edit(source, set={"vision.num_layers": 17}, strict=False, output=self.path("y.nemo"))
        anemone.extract(source, self.path("folder"))
        anemone.pack(self.path("folder"), self.path("z.nemo"))
        self.assertTrue(anemone.diff(source, self.path("z.nemo"))["equal"])
        with self.assertRaises(FileExistsError):
            anemone.pack(self.path("folder"), self.path("z.nemo"))
        anemone.average([source, self.path("z.nemo")], self.path("mean.nemo"))
        anemone.report(source, self.path("z.nemo"), output=self.path("page.html"))
        self.assertTrue(os.path.getsize(self.path("page.html")) > 1000)
        self.assertEqual(anemone.plan(family="clip", preset="ViT-L-14", tp=2)["layout"]["tp"], 2)
        anemone.clean(self.dir)
        with self.assertRaises(FileNotFoundError) as caught:
            anemone.inspect(self.path("x.nmo"))
        self.assertEqual(caught.exception.hint, f"did you mean {source}?")
        with self.assertRaises(anemone.InvalidArgumentError):
            anemone.fetch("no-hub-id")
        out = self.python("-c", f"import anemone; anemone.edit({source!r}, set={{'brand_new': 1}}); print(anemone.inspect({source!r})['family'])")
        self.assertEqual((out.stdout, out.stderr), ("clip\n", ""))

    def test_a_callback_stops_the_work(self):
        with self.assertRaises(anemone.InterruptedError):
            anemone.verify(self.large(gigabytes=64), progress=lambda *_: False)
        with self.assertRaises(ZeroDivisionError):
            anemone.verify(self.large(gigabytes=64), progress=lambda *_: 1 / 0)

    def test_tqdm(self):
        lines = []

        class Bar:
            def __init__(self, desc, total, **_):
                self.n, self.total = 0, total
                lines.append(desc)

            def update(self, n):
                self.n += n

            def close(self):
                lines.append(self.n <= self.total)

        modules = {"tqdm": types.ModuleType("tqdm"), "tqdm.auto": types.ModuleType("tqdm.auto")}
        modules["tqdm.auto"].tqdm = Bar
        with unittest.mock.patch.dict(sys.modules, modules):
            anemone.verify(self.large(), tqdm=True)
        self.assertEqual(lines, ["verifying", True])

    def test_other_threads_run_meanwhile(self):
        """Only another thread ends this: what is verified is 10 TB."""
        faulthandler.dump_traceback_later(100, exit=True)  # needs no interpreter lock
        self.addCleanup(faulthandler.cancel_dump_traceback_later)
        source, begun, ticks = self.large(gigabytes=10000), threading.Event(), []

        def tick():
            begun.wait()
            while len(ticks) < 3:
                time.sleep(0.01)
                ticks.append(1)
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=tick).start()
        with self.assertRaises(KeyboardInterrupt):
            anemone.verify(source, progress=lambda *_: begun.set() or True)

    def test_ctrl_c_leaves_no_output(self):
        source, target = self.large(), self.path("copy.safetensors")

        def interrupt(stage, done, total):
            if done > 0:
                os.kill(os.getpid(), signal.SIGINT)

        with self.assertRaises(KeyboardInterrupt):
            while True:  # a busy machine may ask for progress when all is done
                anemone.convert(source, target, dtype="fp16", force=True, progress=interrupt)
        self.assertEqual(sorted(os.listdir(self.dir)), ["large.safetensors"])

    def test_ctrl_c_at_any_line(self):
        """No work goes on behind the caller's back, wherever in the wait for it Ctrl-C comes."""
        code, threads, at_work = anemone._c.run.__code__, _thread._count(), []

        def work(_):
            at_work.append("begun")
            time.sleep(0.01)
            at_work.append("ended")

        for line in sorted({line for _, _, line in code.co_lines() if line}):
            def trace(frame, event, _, line=line):
                if frame.f_code is code and frame.f_lineno == line and event == "line":
                    sys.settrace(None)
                    raise KeyboardInterrupt
                return trace if frame.f_code is code else None

            at_work.clear()
            sys.settrace(trace)
            with contextlib.suppress(KeyboardInterrupt):
                anemone._c.run(work)
            sys.settrace(None)
            done = list(at_work)
            while _thread._count() > threads:
                time.sleep(0.001)
            self.assertIn(done, ([], ["begun", "ended"]), line)
            self.assertEqual(done, at_work, line)

    def test_ctrl_c_ends_what_waits_for_a_server(self):
        server = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "remote", "remote_server.py")
        process = subprocess.Popen([sys.executable, server, self.path("log"), golden("clip")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(process.communicate)
        url = process.stdout.readline().split()[0]
        numbers = itertools.count()
        for at, work in ((2, anemone.open), (2, anemone.verify), (4, anemone.verify), (2, anemone.scan),
                         (2, lambda source: anemone.diff(source, source)),
                         (2, lambda source: anemone.convert(source, self.path("out"), to="hf"))):
            def attempt():
                stall, sent = f"stall-{at}-head-{next(numbers)}/", []

                def interrupt():
                    while not any(stall in line and line.endswith(" stall\n") for line in open(self.path("log"))):
                        time.sleep(0.01)
                    sent.append(time.monotonic())
                    os.kill(os.getpid(), signal.SIGINT)

                thread = threading.Thread(target=interrupt)
                thread.start()
                with self.assertRaises(KeyboardInterrupt):
                    work(f"{url}/{stall}mcore.nemo")
                took = time.monotonic() - sent[0]
                thread.join()
                return took

            self.assertEndsAtOnce(attempt)
        self.assertFalse(os.path.exists(self.path("out")))

    def large(self, gigabytes=0.6):
        """A sparse safetensors file that takes a while to read."""
        path, size = self.path("large.safetensors"), int(gigabytes * 1000) << 20
        header = b'{"x":{"dtype":"F32","shape":[%d],"data_offsets":[0,%d]}}' % (size // 4, size)
        header += b" " * (-len(header) % 8)
        with open(path, "wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            file.truncate(8 + len(header) + size)
        return path


class Clip(Case):
    def test_save_and_classify(self):
        model = anemone.models.MegatronCLIPModel.restore_from(restore_path=DEMO)
        images, texts = sorted(glob.glob(os.path.join(DEMO, "images", "*"))), ["a bag", "an ankle boot", "a dress"]
        answer = model.classify(images, texts)
        self.assertEqual((answer.shape, answer.dtype), ((len(images), 3), np.float32))
        np.testing.assert_allclose(answer.sum(1), 1, rtol=1e-5)
        model.save_to(self.path("y.nemo"))
        again = anemone.models.MegatronCLIPModel.restore_from(self.path("y.nemo"))
        np.testing.assert_array_equal(again.encode_image(images[:2]), model.encode_image(model.preprocess(images[:2])))
        np.testing.assert_array_equal(again.encode_text(texts), model.encode_text(texts))
        lines = self.python("-m", "anemone", "infer", DEMO, "--image", images[0], *sum((["--text", t] for t in texts), [])).stdout
        said = ast.literal_eval(lines.split(":", 1)[1].strip())
        np.testing.assert_allclose([p for _, p in said], answer[0], rtol=1e-5, atol=1e-9)

    def test_as_nemos_and_torchs_scripts_call_it(self):
        model = anemone.models.MegatronCLIPModel.restore_from(restore_path=DEMO)
        images = sorted(glob.glob(os.path.join(DEMO, "images", "*")))[:2]
        pixels = model.preprocess(images)
        found = model.encode_image(torch.from_numpy(pixels))
        self.assertIsInstance(found, torch.Tensor)
        np.testing.assert_array_equal(found.numpy(), model.encode_image(pixels))
        image, text = model(images, ["a bag"])
        np.testing.assert_allclose(np.linalg.norm(image, axis=1), 1, rtol=1e-5)
        self.assertEqual(text.shape, (1, image.shape[1]))
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).encode_text("a bag"), model.encode_text("a bag"))
        for wrong in (np.zeros((1, 77), np.int64), [1], [["a"]]):
            with self.assertRaises(TypeError) as caught:
                model.encode_text(wrong)
            self.assertRegex(str(caught.exception), r"^texts: expected a str or a list of str, found \w+ of \w+$")
        self.assertRaises(anemone.UnsupportedError, model.cuda)
        self.assertRaises(anemone.UnsupportedError, model.load_state_dict, {})
        self.assertRegex(model.summary(), r"(?s)^<anemone.models.MegatronCLIPModel of .*logit_scale .* parameters$")
        everything = anemone.infer(DEMO, os.path.join(DEMO, "images"), ["a bag", "a coat"])
        self.assertEqual(everything.shape, (len(os.listdir(os.path.join(DEMO, "images"))), 2))

    def test_restored_with_another_config(self):
        restore = anemone.models.MegatronCLIPModel.restore_from
        config = restore(golden("clip/mcore.nemo"), return_config=True)
        self.assertEqual(config["output_dim"], 32)
        config["optim"]["lr"] = 0.5
        with open(self.path("cfg.yaml"), "w") as file:
            json.dump({"model": config, "trainer": {}}, file)  # JSON is YAML; NeMo takes the `model` of a whole training's
        for given in (config, self.path("cfg.yaml")):
            model = restore(golden("clip/mcore.nemo"), override_config_path=given)
            self.assertEqual(model.cfg["optim"]["lr"], 0.5)
            model.save_to(self.path("y.nemo"))
            self.assertEqual(anemone.open(self.path("y.nemo")).config["optim"]["lr"], 0.5)
            self.assertTrue(anemone.diff(self.path("y.nemo"), golden("clip/mcore.nemo"), only_weights=True)["equal"])
        self.assertRaises(TypeError, model.save_to, self.path("z.nemo"), dtype="fp16")
        self.assertRaises(anemone.InvalidArgumentError, restore, golden("gpt/A.nemo"), strict=False)
        self.assertRaises(anemone.CorruptError, restore, golden("clip/broken_mcore_tp2_left_unsplit.nemo"), override_config_path=config)

    def test_changes_of_the_config_are_saved(self):
        restore = anemone.models.MegatronCLIPModel.restore_from
        model = restore(golden("clip/mcore.nemo"))
        stored = anemone.open(golden("clip/mcore.nemo")).config
        model.cfg["optim"]["lr"] = 42
        model.cfg.optim.name = "sgd"
        model.cfg.fresh = {"a": [1, {"b": np.float32(0.5)}]}
        model.cfg.update({"later": {"x": 1}})
        model.cfg.later.x = True
        del model.cfg.micro_batch_size
        model.save_to(self.path("y.nemo"))
        saved = anemone.open(self.path("y.nemo")).config
        self.assertEqual((saved["optim"]["lr"], saved["optim"]["name"], saved["later"]["x"]), (42, "sgd", True))
        self.assertEqual(saved["fresh"], {"a": [1, {"b": 0.5}]})
        self.assertNotIn("micro_batch_size", saved)
        self.assertEqual({k: v for k, v in saved.items() if k not in ("optim", "fresh", "later")},
                         {k: v for k, v in stored.items() if k not in ("optim", "micro_batch_size")})
        self.assertEqual(anemone.open(golden("clip/mcore.nemo")).config, stored)
        self.assertTrue(anemone.diff(self.path("y.nemo"), golden("clip/mcore.nemo"), only_weights=True)["equal"])
        self.assertEqual(restore(self.path("y.nemo"), return_config=True).optim.lr, 42)
        self.assertRaises(AttributeError, lambda: model.cfg.absent)
        model.cfg.broken = object()
        self.assertRaisesRegex(TypeError, "cfg.broken: expected", model.save_to, self.path("z.nemo"))
        # Hugging Face's config is not what a .nemo of that model holds.
        model = restore(DEMO)
        model.cfg.projection_dim = 7
        self.assertRaisesRegex(anemone.UnsupportedError, "changed config", model.save_to, self.path("z.nemo"))
        self.assertFalse(os.path.exists(self.path("z.nemo")))

    def test_what_scripts_of_nemo_call(self):
        model = anemone.models.MegatronCLIPModel.restore_from(DEMO)
        self.assertIs(model.eval().freeze().cpu(), model)
        self.assertIs(model.to("cpu"), model)
        self.assertRaises(anemone.UnsupportedError, model.to, "cuda")
        self.assertIn("MegatronCLIPModel", repr(model))
        config = anemone.models.MegatronCLIPModel.restore_from(DEMO, return_config=True)
        self.assertEqual(config.projection_dim, anemone.open(DEMO).config["projection_dim"])

    def test_every_class_takes_its_own_files(self):
        models = anemone.models
        self.assertRaisesRegex(anemone.InvalidArgumentError, "expected a MegatronCLIPModel, found a MegatronGPTModel",
                               models.MegatronCLIPModel.restore_from, golden("gpt/A.nemo"))
        self.assertRaisesRegex(anemone.InvalidArgumentError, "expected a MegatronGPTModel, found a MegatronCLIPModel",
                               models.MegatronGPTModel.restore_from, golden("clip/mcore.nemo"), return_config=True)
        for restore in (models.MegatronGPTModel.restore_from, models.Model.restore_from):
            model = restore(golden("gpt/A.nemo"))
            model.cfg.tried = True
            model.save_to(self.path("g.nemo"))
            self.assertIs(models.MegatronGPTModel.restore_from(self.path("g.nemo")).cfg.tried, True)
        with open(os.path.join(os.path.dirname(anemone.__file__), "models.pyi")) as stubs:
            classes = set(re.findall(r"^class (\w+)", stubs.read(), re.M))
        self.assertEqual(classes, set(models.__all__))
        self.assertEqual(classes, {"Model", *(name for name, _ in anemone._c.json("model_classes"))})
        self.assertGreater(len(classes), 16)

    def test_the_golden_features(self):
        features = np.load(golden("clip/hf_features.npz"))
        model = anemone.models.MegatronCLIPModel.restore_from(golden("clip/mcore.nemo"), trainer=object())
        if "pixel_values" in features:
            own = model.encode_image(features["pixel_values"])
            self.assertEqual(len(own), len(features["pixel_values"]))
        self.assertRaises(anemone.UnsupportedError, anemone.models.MegatronCLIPModel.restore_from, DEMO, map_location="cuda:0")


class Scripts(Case):
    def torchrun(self, script, *words, processes=1):
        path = self.python("-m", "anemone.nemo", script).stdout.strip()
        # torch 1.13 loses its defaults of --redirects and --tee under Python 3.11; a rank that is not there restores them.
        return self.python("-m", "torch.distributed.run", "--redirects=9:1", "--tee=9:1", "--standalone",
                           f"--nproc_per_node={processes}", path, *words)

    def test_list(self):
        said = self.python("-m", "anemone.nemo").stdout.splitlines()
        for line, name in zip(said, SCRIPTS, strict=True):
            path, word = line.split()[:2]  # a script without a file of its own is a word for the list's
            words = [path, word] if os.path.basename(path) == "__main__.py" else [path]
            self.assertIn(name, words[-1])
            self.assertIn("--", self.python(*words, "--help").stdout)
        said = self.python("-m", "anemone.nemo", "x/convert_llama_hf_to_nemo.py", "--output_path=x", code=64)
        self.assertIn("--input_name_or_path is required", said.stderr)

    def test_a_tree_like_nemos(self):
        tree = os.path.join(self.dir, "NeMo")
        self.assertIn("scripts below ", self.python("-m", "anemone.nemo", "--tree", tree).stdout)
        for path in ("scripts/checkpoint_converters/convert_clip_hf_to_nemo.py", "examples/multimodal/convert_ckpt_to_nemo.py",
                     "examples/multimodal/vision_language_foundation/clip/megatron_clip_infer.py",
                     "examples/nlp/language_modeling/megatron_change_num_partitions.py"):
            self.assertIn(os.path.basename(path)[:-3], self.python(os.path.join(tree, path), "--help").stdout)
        self.python("-m", "anemone.nemo", "--tree", tree)  # once more
        other = os.path.join(tree, path)
        with open(other, "w") as file:
            file.write("mine")
        self.assertIn("already exists, and is another file", self.python("-m", "anemone.nemo", "--tree", tree, code=73).stderr)
        with open(other) as file:
            self.assertEqual(file.read(), "mine")
        self.python("-m", "anemone.nemo", "--tree", code=64)

    def test_llm_by_nemos_arguments(self):
        from anemone.nemo import llm
        with self.assertRaises(anemone.Error):
            llm.export_ckpt(self.path("absent"), "onnx")
        with self.assertRaisesRegex(anemone.Error, "modelopt_export_kwargs"):
            llm.export_ckpt(self.path("absent"), "hf", modelopt_export_kwargs={"dtype": "fp8"})
        # NeMo 2.0.0 to 2.5.0, nemo/collections/llm/api.py
        self.assertEqual(list(inspect.signature(llm.import_ckpt).parameters)[:4], ["model", "source", "output_path", "overwrite"])
        self.assertEqual(list(inspect.signature(llm.export_ckpt).parameters)[:6],
                         ["path", "target", "output_path", "overwrite", "load_connector", "modelopt_export_kwargs"])
        with self.assertRaisesRegex(anemone.Error, "absent"):
            llm.import_ckpt("llama3_8b", "hf://" + self.path("absent"), self.path("x"))
        out = llm.export_ckpt(golden("clip/mcore.nemo"), "hf", self.path("x"))
        self.assertTrue(anemone.diff(out, golden("clip/hf"), only_weights=True)["equal"])
        with self.assertRaises(anemone.Error):
            llm.export_ckpt(golden("clip/mcore.nemo"), "hf", self.path("x"))
        self.assertEqual(llm.export_ckpt(golden("clip/mcore.nemo"), "hf", self.path("x"), overwrite=True), out)

    def test_the_documentations_commands_under_torchrun(self):
        for processes in (1, 2):
            out = self.path(f"clip{processes}.nemo")
            self.torchrun("convert_clip_hf_to_nemo", f"--input_name_or_path={golden('clip/hf')}", f"--output_path={out}",
                          f"--hparams_file={golden('clip/hparams.yaml')}", processes=processes)
            self.assertTrue(anemone.diff(out, golden("clip/mcore.nemo"), only_weights=True)["equal"])
            said = self.torchrun("megatron_clip_infer", f"model.restore_from_path={out}", f"image_path={golden('clip/test.jpg')}",
                                 'texts=["a dog", "a boy", "a girl"]', processes=processes).stdout
            self.assertEqual(said.count("Given image's CLIP text probability:  [('a dog', "), 1, said)

    def test_an_error_is_torchruns_error(self):
        result = self.python(self.python("-m", "anemone.nemo", "convert_clip_hf_to_nemo").stdout.strip(), "--input_name_or_path=" +
                             self.path("absent"), "--output_path=" + self.path("x.nemo"), code=66)
        self.assertTrue(result.stderr.startswith("anemone: "), result.stderr)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
