"""Nothing that a user has is lost: what --force replaces, who may write where, how runs end. Standard library only.

usage: trust.py PROGRAM GOLDEN SOURCE
"""

import contextlib
import fcntl
import filecmp
import json
import math
import os
import pathlib
import pickle
import pty
import re
import resource
import shutil
import signal
import stat
import struct
import subprocess
import sys
import time
import unittest
import zipfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, os.pardir, "testing"))
from program_case import ProgramCase  # noqa: E402

PROGRAM, GOLDEN, SOURCE = (pathlib.Path(p).resolve() for p in sys.argv[1:4])
ProgramCase.program = PROGRAM
DEMO = SOURCE / "models" / "demo-clip"
CLIP = GOLDEN / "clip"


def tree(folder):
    """Relative path to content, of files, folders and links alike."""
    found = {}
    for path in sorted(pathlib.Path(folder).rglob("*")):
        name = str(path.relative_to(folder))
        found[name] = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
    return found


def stopped(folder, words, is_ready):
    """A run that was stopped (SIGSTOP) in its middle, as soon as `is_ready(run)`."""
    for _ in range(10):  # a busy machine may be too late for a run
        run = subprocess.Popen([PROGRAM, *map(str, words)], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        while run.poll() is None and not is_ready(run):
            time.sleep(0.001)
        run.send_signal(signal.SIGSTOP)
        if run.returncode is None and os.waitid(os.P_PID, run.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT).si_code == os.CLD_STOPPED:
            return run
        said = run.communicate()[1]
        for path in (folder / word for word in words if word.startswith("x.")):
            path.unlink(missing_ok=True)
    raise AssertionError(f"{words}: it was over too soon: {run.returncode}, {said}")


def has_worked(seconds):
    """Whether a run has used that much processor time."""
    def ask(run):
        with open(f"/proc/{run.pid}/stat") as stat_of:
            user, system = stat_of.read().rpartition(")")[2].split()[11:13]
        return int(user) + int(system) >= seconds * os.sysconf("SC_CLK_TCK")
    return ask


def legacy_torch_file(values):
    """As torch saved until 1.6: pickles one after another, then the storages. Each tensor has two elements of its value."""
    word = lambda text: b"X" + struct.pack("<I", len(text)) + text.encode()
    dictionary = b"ccollections\nOrderedDict\n)R"
    entries = b"".join(
        word(name) + b"ctorch._utils\n_rebuild_tensor_v2\n((" + word("storage") + b"ctorch\nFloatStorage\n" + word(str(key)) + word("cpu")
        + b"K\x02NtQK\x00K\x02\x85K\x01\x85\x89" + dictionary + b"tR" for key, name in enumerate(values))
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    head = b"".join(pickle.dumps(value, 2) for value in (0x1950a86a20f9469cfc6c, 1001, system))
    keys = pickle.dumps([str(key) for key in range(len(values))], 2)
    storages = b"".join(struct.pack("<qff", 2, value, value) for value in values.values())
    return head + b"\x80\x02" + dictionary + b"(" + entries + b"u." + keys + storages


class Force(ProgramCase):
    """A folder goes only when it is a checkpoint and nothing else."""

    def refused(self, message, *words, keeps, **more):
        before = tree(keeps)
        self.fails(73, message, *words, **more)
        self.assertEqual(tree(keeps), before)

    def test_a_folder_of_something_else(self):
        (self.dir / "precious/sub").mkdir(parents=True)
        (self.dir / "precious/sub/thesis.tex").write_text("thesis")
        for name in "abcdefg":
            (self.dir / "precious" / name).write_text(name)
        listed = "no whole checkpoint, and holds a, b, c, d, e and 3 more\nhint: only a checkpoint is replaced"
        for words in (["convert", DEMO, "precious", "--to", "hf", "--force"], ["convert", DEMO, "precious", "--to", "hf"],
                      ["convert", DEMO, "precious", "--to", "hf", "--force", "--resume"],
                      ["extract", CLIP / "mcore.nemo", "precious", "--force"],
                      ["convert", CLIP / "mcore.nemo", "precious", "--to", "nemo-dir", "--force"],
                      ["reshard", CLIP / "mcore.nemo", "precious", "--to", "nemo-dir", "--tp", "2", "--force"],
                      ["average", CLIP / "mcore.nemo", CLIP / "mcore.nemo", "precious", "--to", "nemo-dir", "--force"]):
            self.refused(listed, *words, keeps=self.dir / "precious")

    def test_a_checkpoint_goes(self):
        """Of every format, by every other, and by the same command again."""
        layouts = {"hf": ["--to", "hf"], "sharded": ["--to", "hf", "--max-shard-size", "300kB"], "openclip": ["--to", "openclip"],
                   "nemo-dir": ["--to", "nemo-dir"], "ranks": ["--to", "nemo-dir", "--tp", "2"], "torch_dist": ["--to", "torch_dist"],
                   "nemo2": ["--to", "nemo2"], "ckpt": ["--to", "ckpt", "--tp", "2", "--hparams", CLIP / "hparams.yaml"]}
        for first, before in layouts.items():
            for second, after in ((first, before), ("hf", layouts["hf"])):
                with self.subTest(first=first, second=second):
                    source = CLIP / "hf"
                    shutil.rmtree(self.dir / "out", ignore_errors=True)
                    self.ok("convert", source, "out", *before)
                    if not (self.dir / "out").is_dir():
                        continue
                    self.fails(73, "already exists\nhint: use --force to replace it", "convert", source, "out", *after)
                    self.ok("convert", source, "out", *after, "--force")
                    self.ok("convert", source, "other", *after)
                    self.assertEqual(tree(self.dir / "out").keys(), tree(self.dir / "other").keys())
                    shutil.rmtree(self.dir / "other")

    def test_a_checkpoint_with_something_else_in_it(self):
        for to, places in {"hf": ["notes.txt", "sub/notes.txt"], "nemo-dir": ["notes.txt", "model_weights/notes.txt"],
                           "torch_dist": ["notes.txt", "sub/notes.txt"], "nemo2": ["notes.txt", "context/notes.txt", "weights/notes.txt"],
                           "openclip": ["notes.txt"]}.items():
            for place in places:
                with self.subTest(to=to, place=place):
                    out = self.dir / to
                    shutil.rmtree(out, ignore_errors=True)
                    self.ok("convert", CLIP / "hf", to, "--to", to)
                    (out / place).parent.mkdir(exist_ok=True)
                    (out / place).write_text("mine")
                    self.refused(f"would lose what is not the checkpoint: {place}\nhint: move that away",
                                 "convert", CLIP / "hf", to, "--to", to, "--force", keeps=out)

    def test_a_source_or_a_folder_above_it(self):
        shutil.copytree(CLIP / "hf", self.dir / "zoo/clip")
        shutil.copy(CLIP / "mcore.nemo", self.dir / "zoo/x.nemo")
        zoo = self.dir / "zoo"
        self.refused("holds the source|no whole checkpoint", "convert", "zoo/clip", "zoo", "--to", "hf", "--force", keeps=zoo)
        self.refused("holds the source", "convert", "zoo/clip", "zoo/clip", "--to", "hf", "--force", keeps=zoo)
        self.refused("holds the source", "convert", "zoo/clip", "zoo/clip/", "--to", "hf", "--force", keeps=zoo)
        self.refused("holds the source", "extract", "zoo/x.nemo", "zoo", "--force", keeps=zoo)
        self.refused("holds the source", "reshard", "zoo/x.nemo", "zoo", "--to", "nemo-dir", "--tp", "1", "--force", keeps=zoo)
        self.refused("another output than the source", "reshard", "zoo/x.nemo", "zoo/x.nemo", "--tp", "2", "--force", keeps=zoo)
        os.symlink("x.nemo", zoo / "link.nemo")
        self.refused("another output than the source", "reshard", "zoo/x.nemo", "zoo/link.nemo", "--tp", "2", "--force", keeps=zoo)
        self.refused("another output than the source", "reshard", "zoo/link.nemo", "zoo/x.nemo", "--tp", "2", "--force", keeps=zoo)
        self.ok("extract", "zoo/x.nemo", "unpacked")
        self.refused("expected a file to replace", "pack", "unpacked", "unpacked", "--force", keeps=self.dir / "unpacked")

    def test_places_that_are_no_outputs(self):
        self.ok("convert", DEMO, "model", "--to", "hf")
        for repository in (".git", ".hg", ".svn"):
            (self.dir / "model" / repository).mkdir()
            self.refused(f"a repository \\({repository}\\)", "convert", DEMO, "model", "--to", "hf", "--force", keeps=self.dir / "model")
            (self.dir / "model" / repository).rmdir()
        self.refused("the home folder", "convert", DEMO, "model", "--to", "hf", "--force", keeps=self.dir / "model",
                     env={"HOME": str(self.dir / "model")})
        self.refused("the home folder or one above", "convert", DEMO, "model", "--to", "hf", "--force", keeps=self.dir / "model",
                     env={"HOME": str(self.dir / "model/me")})
        self.assertNotEqual(self.run_program("convert", DEMO, "/", "--to", "hf", "--force").returncode, 0)

    def test_an_empty_folder_is_as_good_as_none(self):
        (self.dir / "empty").mkdir(mode=0o700)
        self.ok("convert", DEMO, "empty", "--to", "hf")
        self.assertEqual(stat.S_IMODE((self.dir / "empty").stat().st_mode), 0o700)
        self.ok("verify", "empty")

    def test_a_file_for_a_folder_and_the_reverse(self):
        (self.dir / "folder.nemo").mkdir()
        (self.dir / "file").write_text("mine")
        for force in ([], ["--force"]):
            self.fails(73, "expected a file to replace, found something else\nhint: an empty folder has this name: rmdir it",
                       "convert", DEMO, "folder.nemo", *force)
            self.fails(73, "expected a directory to replace, found something else\nhint: a file has this name: remove it by hand",
                       "convert", DEMO, "file", "--to", "hf", *force)
        (self.dir / "folder.nemo/mine").write_text("mine")
        self.fails(73, "hint: a folder has this name: remove it by hand", "convert", DEMO, "folder.nemo", "--force")

    def test_a_link_that_cannot_be_replaced(self):
        """No option helps, and none is proposed."""
        (self.dir / "folder").mkdir()
        for target, message in (("nowhere", "is a symbolic link to nothing\nhint: remove it by hand"),
                                ("folder", "found something else\nhint: an? .*folder has this name"),
                                ("/dev/zero", "found something else\nhint: a pipe, a device or a socket has this name")):
            os.symlink(target, self.dir / "x.nemo")
            for force in ([], ["--force"]):
                self.fails(73, message, "convert", DEMO, "x.nemo", *force)
            (self.dir / "x.nemo").unlink()

    def test_a_link_is_followed(self):
        self.ok("convert", DEMO, "x.nemo")
        os.symlink("x.nemo", self.dir / "link.nemo")
        self.fails(73, "already exists", "convert", DEMO, "link.nemo")
        before = (self.dir / "x.nemo").read_bytes()
        self.ok("convert", DEMO, "link.nemo", "--force", "--dtype", "bf16")
        self.assertTrue((self.dir / "link.nemo").is_symlink())
        self.assertNotEqual((self.dir / "x.nemo").read_bytes(), before)
        # A file of the Hugging Face cache is named after its content.
        (self.dir / "models--a--b/blobs").mkdir(parents=True)
        (self.dir / "models--a--b/snapshots/0").mkdir(parents=True)
        shutil.copy(self.dir / "x.nemo", self.dir / "models--a--b/blobs/abc")
        os.symlink("../../blobs/abc", self.dir / "models--a--b/snapshots/0/x.nemo")
        self.refused("a blob of the Hugging Face cache", "convert", DEMO, "models--a--b/snapshots/0/x.nemo", "--force", keeps=self.dir)
        self.refused("a blob of the Hugging Face cache", "edit", "models--a--b/snapshots/0/x.nemo", "--set", "a=1", keeps=self.dir)

    def test_a_page_and_embeddings_replace_their_own_kind_alone(self):
        shutil.copytree(DEMO, self.dir / "model")
        picture = next((DEMO / "images").iterdir())
        infer = ["infer", "model", "--image", picture, "--text", "a"]
        for words, kind, targets in (
                (["report", "model", "-o"], "a page", ["model/model.safetensors", "model/config.json", "model"]),
                ([*infer, "--html"], "a page", ["model/config.json", "model/vocab.json", "f.npy"]),
                ([*infer, "--embeddings"], "a file of embeddings", ["model/model.safetensors", "page.npy"])):
            (self.dir / "f.npy").write_bytes(b"\x93NUMPY\x01\0")
            (self.dir / "page.npy").write_text("<!doctype html>\n")
            for target in targets:
                for force in ([], ["--force"]):
                    self.refused(f"already exists, and is not {kind}", *words, target, *force, keeps=self.dir)
        for words, target in ((["report", "model", "-o"], "x.html"), ([*infer, "--html"], "x.html"),
                              ([*infer, "--embeddings"], "x.safetensors"), ([*infer, "--embeddings"], "f.npy")):
            if not (self.dir / target).exists():
                self.ok(*words, target)
            self.refused("already exists\nhint: use --force to replace it", *words, target, keeps=self.dir)
            self.ok(*words, target, "--force")

    def test_edit_in_place(self):
        self.ok("convert", DEMO, "x.nemo")
        self.ok("convert", DEMO, "x", "--to", "nemo-dir")
        for name in ("x.nemo", "x"):
            self.ok("edit", name, "--set", "optim.lr=0.25")
            self.assertEqual(self.ok("inspect", name, "--config", "optim.lr").strip(), "0.25")
        (self.dir / "x/notes.txt").write_text("mine")
        self.ok("edit", "x", "--set", "optim.lr=0.5")  # what lies in it is carried over
        self.assertEqual((self.dir / "x/notes.txt").read_text(), "mine")

    def test_modes_and_owners_stay(self):
        self.ok("convert", DEMO, "x.nemo")
        self.ok("convert", DEMO, "x", "--to", "nemo-dir")
        paths = [self.dir / "x.nemo", self.dir / "x", self.dir / "x/model_config.yaml"]
        for path, mode in zip(paths, (0o600, 0o750, 0o640)):
            path.chmod(mode)
            if os.geteuid() == 0:
                os.chown(path, 1234, 2345)
        for name in ("x.nemo", "x"):
            self.ok("edit", name, "--set", "optim.lr=0.25")
        self.ok("convert", DEMO, "x.nemo", "--force")
        for path, mode in zip(paths, (0o600, 0o750, 0o640)):
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), mode, path)
            if os.geteuid() == 0:
                self.assertEqual((path.stat().st_uid, path.stat().st_gid), (1234, 2345), path)

    def test_a_group_that_may_not_be_given_lets_nobody_else_in(self):
        if os.geteuid() != 0:
            self.skipTest("root makes files of another user")
        self.dir.chmod(0o777)
        for group, mode, groups, result in ((2345, 0o660, [2345], (2345, 0o660)), (3456, 0o664, [2345], (1234, 0o644))):
            self.ok("convert", DEMO, "x.nemo", "--force")
            os.chown(self.dir / "x.nemo", 0, group)
            (self.dir / "x.nemo").chmod(mode)
            done = subprocess.run([PROGRAM, "convert", DEMO, "x.nemo", "--force"], cwd=self.dir, capture_output=True, text=True, user=1234,
                                  group=1234, extra_groups=groups)
            self.assertEqual(done.returncode, 0, done.stderr)
            found = (self.dir / "x.nemo").stat()
            self.assertEqual((found.st_gid, stat.S_IMODE(found.st_mode)), result)

    def test_access_lists_stay(self):
        """A file with a list has the list's mask in place of its group's rights: the list lost, the group would come in."""
        name, nobody = "system.posix_acl_access", 0xffffffff
        entries = [(1, 6, nobody), (2, 6, 1234), (4, 0, nobody), (16, 6, nobody), (32, 0, nobody)]
        access = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
        default = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in [(1, 7, nobody), *entries[1:]])
        def read(path, name=name):
            try:
                return os.getxattr(path, name)
            except OSError:
                return None
        self.ok("convert", DEMO, "x.nemo")
        self.ok("convert", DEMO, "x", "--to", "hf")
        try:
            os.setxattr(self.dir / "x.nemo", name, access)
        except OSError:
            self.skipTest("this file system has no access lists")
        files = [*(self.dir / "x").iterdir()]
        for path in files:
            os.setxattr(path, name, access)
        os.setxattr(self.dir / "x", "system.posix_acl_default", default)
        self.ok("convert", DEMO, "x.nemo", "--force")
        self.ok("convert", DEMO, "x", "--to", "hf", "--force", "--max-shard-size", "1MB")
        self.assertEqual(read(self.dir / "x", "system.posix_acl_default"), default)
        for path in (self.dir / "x.nemo", *(self.dir / "x").iterdir()):
            self.assertEqual((read(path), stat.S_IMODE(path.stat().st_mode)), (access, 0o660), path)
        os.removexattr(self.dir / "x.nemo", name)
        (self.dir / "x.nemo").chmod(0o640)
        os.setxattr(self.dir, "system.posix_acl_default", default)
        self.ok("convert", DEMO, "x.nemo", "--force")
        self.assertEqual((read(self.dir / "x.nemo"), stat.S_IMODE((self.dir / "x.nemo").stat().st_mode)), (None, 0o640))

    def test_new_files_in_an_empty_folder_are_as_made_there(self):
        """The default list of the folder decides, and no other: a list's mask is never taken for the rights of a group."""
        name, nobody = "system.posix_acl_default", 0xffffffff
        entries = [(1, 7, nobody), (2, 7, 1234), (4, 0, nobody), (16, 7, nobody), (32, 0, nobody)]
        default = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
        def access(path):
            try:
                found = os.getxattr(path, "system.posix_acl_access")
            except OSError:
                found = None
            return found, stat.S_IMODE(path.stat().st_mode)
        parent = self.dir / "parent"
        parent.mkdir()
        try:
            os.setxattr(parent, name, default)
        except OSError:
            self.skipTest("this file system has no access lists")
        for folder, has_list in ((parent / "with", True), (parent / "without", False), (self.dir / "own", True)):
            with self.subTest(folder=folder.name):
                folder.mkdir()
                os.setxattr(folder, name, default) if has_list else os.removexattr(folder, name)
                (folder / "made").write_text("")
                expected = access(folder / "made")
                (folder / "made").unlink()
                self.ok("convert", DEMO, folder, "--to", "hf")
                self.assertEqual({access(path) for path in folder.iterdir()}, {expected})
                # Among files of the mode 0660 without a list, the group gets what the folder's list gives it.
                for path in folder.iterdir():
                    if has_list:
                        os.removexattr(path, "system.posix_acl_access")
                    path.chmod(0o660)
                self.ok("convert", DEMO, folder, "--to", "hf", "--force", "--max-shard-size", "1MB")
                new = {access(path) for path in folder.glob("model-*")}
                self.assertEqual(new, {(None, 0o600 if has_list else 0o640)})

    def test_files_of_new_names_are_as_private(self):
        """Shards in place of one file, which the owner alone could read: so are they, in a folder that all may enter."""
        self.ok("convert", DEMO, "x", "--to", "hf")
        weights = self.dir / "x/model.safetensors"
        weights.chmod(0o640)
        if os.geteuid() == 0:
            for path in (self.dir / "x", *(self.dir / "x").iterdir()):
                os.chown(path, 1234, 2345)
        self.ok("convert", DEMO, "x", "--to", "hf", "--max-shard-size", "1MB", "--force")
        new = [*(self.dir / "x").glob("model-*"), self.dir / "x/model.safetensors.index.json"]
        self.assertGreater(len(new), 2)
        for path in new:
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o640, path)
            if os.geteuid() == 0:
                self.assertEqual((path.stat().st_uid, path.stat().st_gid), (1234, 2345), path)
        self.assertEqual(stat.S_IMODE((self.dir / "x/config.json").stat().st_mode), 0o644)


class Work(ProgramCase):
    """Work folders: whose they are, who has them, what is left of them."""

    def test_a_planted_resume_folder(self):
        victim = self.dir / "victim"
        victim.write_text("victim")
        for name in ("output", "journal", "done.0", "lock"):
            folder = self.dir / ".x.nemo.anemone-resume"
            folder.mkdir(mode=0o700)
            if name != "output":
                (folder / "output").write_bytes(b"")
            (folder / name).unlink(missing_ok=True)
            os.symlink(victim, folder / name)
            done = self.run_program("convert", DEMO, "x.nemo", "--resume")
            self.assertNotEqual(done.returncode, 0, name)
            self.assertEqual(victim.read_text(), "victim")
            self.assertFalse((self.dir / "x.nemo").exists())
            shutil.rmtree(folder)
        folder.mkdir(mode=0o700)
        for plant in (lambda path: os.link(victim, path), os.mkfifo):  # no file of this run's own
            plant(folder / "output")
            done = self.run_program("convert", DEMO, "x.nemo", "--resume")
            self.assertNotEqual(done.returncode, 0)
            self.assertEqual(victim.read_text(), "victim")
            self.assertFalse((self.dir / "x.nemo").exists())
            (folder / "output").unlink()
        shutil.rmtree(folder)
        for name in ("journal", "done.0"):
            folder.mkdir(mode=0o700)
            for empty in ("output", "lock"):
                (folder / empty).write_bytes(b"")
            os.link(victim, folder / name)
            self.fails(64, f"{name}: expected a file of an earlier run's own, found a link", "convert", DEMO, "x.nemo", "--resume")
            self.assertEqual(victim.read_text(), "victim")
            shutil.rmtree(folder)
        folder.mkdir()
        folder.chmod(0o777)
        self.fails(64, "only its owner writes to", "convert", DEMO, "x.nemo", "--resume")
        folder.chmod(0o700)
        if os.geteuid() == 0:
            os.chown(folder, 1234, 1234)
            self.fails(64, "a directory of this user, found another's", "convert", DEMO, "x.nemo", "--resume")
            os.chown(folder, 0, 0)
            (folder / "output").write_bytes(b"theirs")
            os.chown(folder / "output", 1234, 1234)
            (folder / "lock").write_bytes(b"")
            self.fails(64, "output: expected .* found .* another user's file", "convert", DEMO, "x.nemo", "--resume")
            for name in ("output", "lock"):
                (folder / name).unlink()
        folder.rmdir()
        os.symlink("elsewhere", folder)
        (self.dir / "elsewhere").mkdir()
        self.fails(64, "expected a directory, found a link", "convert", DEMO, "x.nemo", "--resume")
        self.assertEqual(list((self.dir / "elsewhere").iterdir()), [])

    def test_a_planted_resume_folder_of_a_folder(self):
        """Nothing goes where a link in it leads, and no file of it into the output but those of the output."""
        folder, home = self.dir / ".x.anemone-resume", self.dir / "home"
        home.mkdir()
        for plant, message in ((lambda path: os.symlink(home, path), "output: expected a file of an earlier run's own, found a link"),
                               (lambda path: (path.mkdir(), (path / "evil.py").write_text("")), "evil.py: expected the files of the output alone")):
            folder.mkdir(mode=0o700)
            for name in ("lock", "journal", "done.0"):
                (folder / name).write_bytes(b"")
            plant(folder / "output")
            self.fails(64, message, "convert", DEMO, "x", "--to", "hf", "--resume")
            self.assertEqual(list(home.iterdir()), [])
            shutil.rmtree(folder)
        home.rmdir()

    def test_an_old_folder_that_a_run_had_replaced(self):
        """A run that died before it removed the folder it replaced has left files of any kind: they go, and nothing else does."""
        old, linked = self.dir / ".x.anemone-resume/whole", self.dir / "linked"
        linked.write_text("mine")
        old.mkdir(mode=0o700, parents=True)
        old.parent.chmod(0o700)
        for name in ("lock", "journal", "done.0"):
            (old.parent / name).write_bytes(b"")
        os.link(linked, old / "config.json")
        os.symlink(linked, old / "README.md")
        self.ok("convert", DEMO, "x", "--to", "hf", "--resume")
        self.assertEqual(linked.read_text(), "mine")
        self.assertFalse(old.parent.exists())

    def test_a_folder_that_is_closed_to_this_user(self):
        """No other run writes it: to wait for one would not help."""
        if os.geteuid() != 0:
            self.skipTest("root makes folders of another user")
        self.dir.chmod(0o1777)
        for name, more in ((".x.nemo.anemone-tmp", []), (".x.nemo.anemone-resume", ["--resume"])):
            (self.dir / name).mkdir(mode=0o700)
            done = subprocess.run([PROGRAM, "convert", DEMO, "x.nemo", *more], cwd=self.dir, capture_output=True, text=True, user=1234)
            self.assertEqual(done.returncode, 64, done.stderr)
            self.assertIn("expected a directory of this user, found another's", done.stderr)

    def test_what_is_being_written_is_private(self):
        seen = []
        done = subprocess.Popen([PROGRAM, "convert", DEMO, "y.nemo"], cwd=self.dir)
        while done.poll() is None:
            for folder in self.dir.glob(".y.nemo.anemone-*"):
                with contextlib.suppress(FileNotFoundError):  # it goes when the run ends
                    seen.append(stat.S_IMODE(folder.stat().st_mode))
        self.assertTrue(set(seen) <= {0o700}, seen)

    def test_one_writer_at_a_time(self):
        for suffix, more in (("tmp", []), ("resume", ["--resume"])):
            folder = self.dir / f".x.nemo.anemone-{suffix}"
            folder.mkdir(mode=0o700)
            with open(folder / "lock", "w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self.fails(73, "another run is writing it\nhint: wait", "convert", DEMO, "x.nemo", *more)
                self.assertEqual(self.ok("clean"), "nothing to clean\n")
            self.ok("convert", DEMO, "x.nemo", *more)  # a dead one's is nobody's
            self.assertEqual([p.name for p in self.dir.iterdir()], ["x.nemo"])
            (self.dir / "x.nemo").unlink()

    def test_two_resumed_runs_exclude_each_other(self):
        big = Endings.big(self)
        words = ["convert", big, "x.safetensors", "--dtype", "bf16", "--resume"]
        run = stopped(self.dir, words, lambda _: (self.dir / ".x.safetensors.anemone-resume/done.0").exists())
        self.fails(73, "another run is writing it", *words)
        run.send_signal(signal.SIGCONT)
        said = run.communicate()[1]
        self.assertEqual(run.returncode, 0, said)
        self.assertGreater((self.dir / "x.safetensors").stat().st_size, 1 << 30)
        self.assertEqual(sorted(p.name for p in self.dir.iterdir()), [big, "x.safetensors"])

    def test_concurrent_edits_are_all_there_or_fail(self):
        for name in ("x.nemo", "x"):
            self.ok("convert", DEMO, name, "--to", "nemo" if "." in name else "nemo-dir")
            runs = [subprocess.Popen([PROGRAM, "edit", name, "--set", f"my.n{i}={i}"], cwd=self.dir, stdout=subprocess.DEVNULL,
                                     stderr=subprocess.PIPE, text=True) for i in range(6)]
            said = [run.communicate()[1] for run in runs]
            for i, run in enumerate(runs):
                there = self.run_program("inspect", name, "--config", f"my.n{i}").stdout.strip() == str(i)
                self.assertEqual(there, run.returncode == 0, said[i])
                self.assertIn(run.returncode, (0, 73, 74), said[i])
            self.assertIn(0, [run.returncode for run in runs])
            self.assertEqual([p.name for p in self.dir.iterdir() if p.name.startswith(".")], [])

    def test_leftovers_are_named_and_cleaned(self):
        for name in (".a.nemo.anemone-tmp", ".b.nemo.anemone-resume", ".c.anemone-12-0123456789abcdef.tmp", ".d.anemone-old",
                     ".e.anemone-old", "e", ".mine", "anemone-tmp"):
            (self.dir / name).mkdir(mode=0o700)
            (self.dir / name / "output").write_text(name)
        done = self.run_program("convert", DEMO, "x.nemo")
        self.assertEqual(done.returncode, 0)
        self.assertIn("note: a run that died has left ./.a.nemo.anemone-tmp: anemone clean . removes it\n", done.stderr)
        self.assertEqual(self.ok("clean"),
                         "removed .a.nemo.anemone-tmp\nkept .b.nemo.anemone-resume: --resume goes on from it, --all removes it\n"
                         "removed .c.anemone-12-0123456789abcdef.tmp\nd is back: .d.anemone-old was its only copy\n"
                         "removed .e.anemone-old\n")
        self.assertEqual((self.dir / "d/output").read_text(), ".d.anemone-old")
        self.assertEqual(self.ok("clean", ".", "--all"), "removed .b.nemo.anemone-resume\n")
        self.assertEqual(sorted(p.name for p in self.dir.iterdir()), [".mine", "anemone-tmp", "d", "e", "x.nemo"])

    def test_a_dead_run_is_in_nobodys_way(self):
        for name in (".x.nemo.anemone-tmp", ".x.nemo.anemone-12-0123456789abcdef.tmp"):
            (self.dir / name).mkdir(mode=0o700)
            (self.dir / name / "output").write_bytes(b"half")
        self.ok("convert", DEMO, "x.nemo")
        self.assertEqual([p.name for p in self.dir.iterdir()], ["x.nemo"])


class Endings(ProgramCase):
    """How a run ends that is told to, or that cannot go on."""

    def test_a_closed_stdout(self):
        done = subprocess.run(["sh", "-c", f"'{PROGRAM}' inspect '{DEMO}' --tensors >&-"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 74, done.stderr)
        self.assertIn("cannot write to standard output", done.stderr)
        done = subprocess.run(["sh", "-c", f"'{PROGRAM}' inspect '{DEMO}' --tensors > /dev/full"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 74, done.stderr)
        read, write = os.pipe()
        os.close(read)
        done = subprocess.run([PROGRAM, "inspect", DEMO, "--tensors"], stdout=write, stderr=subprocess.PIPE, text=True)
        os.close(write)
        self.assertEqual((done.returncode, done.stderr), (141, ""))

    def test_a_closed_stderr_leaves_no_work_folder(self):
        read, write = os.pipe()
        os.close(read)
        done = subprocess.run([PROGRAM, "convert", DEMO, "x.nemo", "--progress", "always"], cwd=self.dir, stderr=write)
        os.close(write)
        self.assertEqual(done.returncode, 0)
        self.assertEqual([p.name for p in self.dir.iterdir()], ["x.nemo"])

    def test_no_file_takes_the_number_of_a_closed_stream(self):
        """Messages would go into it."""
        self.ok("convert", DEMO, "whole.nemo")
        for closed in ("<&-", ">&-", "2>&-", "<&- >&-", "<&- 2>&-", ">&- 2>&-", "<&- >&- 2>&-"):
            with self.subTest(closed):
                done = subprocess.run(["sh", "-c", f"exec '{PROGRAM}' convert '{DEMO}' x.nemo -v --progress always --force {closed}"],
                                      cwd=self.dir, capture_output=True)
                self.assertEqual(done.returncode, 74 if " >" in f" {closed}" else 0, done.stderr)
                self.assertTrue(filecmp.cmp(self.dir / "x.nemo", self.dir / "whole.nemo", shallow=False))
        (self.dir / "x.nemo").unlink()
        big = self.big()
        with subprocess.Popen(["sh", "-c", f"exec '{PROGRAM}' convert {big} x.safetensors --dtype bf16 <&- >&- 2>&-"], cwd=self.dir) as run:
            while run.poll() is None and not (self.dir / ".x.safetensors.anemone-tmp/output").exists():
                time.sleep(0.001)
            run.send_signal(signal.SIGSTOP)
            streams = [os.readlink(f"/proc/{run.pid}/fd/{number}") for number in range(3)]
            run.kill()
        self.assertEqual(streams, ["/"] * 3)

    def big(self, name="big.safetensors", count=1 << 29):
        """Weights of 2 GiB that take no room: a hole behind a header."""
        path = self.dir / name
        header = json.dumps({"w": {"dtype": "F32", "shape": [count], "data_offsets": [0, 4 * count]}}).encode()
        path.write_bytes(struct.pack("<Q", len(header)) + header)
        os.truncate(path, 8 + len(header) + 4 * count)
        return path.name

    def conversion(self, big):
        """Of such weights, stopped when it has begun to write."""
        return stopped(self.dir, ["convert", big, "x.safetensors", "--dtype", "bf16"],
                       lambda _: (self.dir / ".x.safetensors.anemone-tmp/output").exists())

    def end(self, run, number, status, says=""):
        """Goes on with a stopped run, which finds the signal; how many seconds it took to end."""
        run.send_signal(number)
        start = time.monotonic()
        run.send_signal(signal.SIGCONT)
        said = run.communicate()[1]
        took = time.monotonic() - start
        self.assertEqual(run.returncode, status, said)
        self.assertIn(says, said)
        return took

    def test_signals_end_a_run_cleanly(self):
        big = self.big()
        for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)):
            self.assertEndsAtOnce(lambda: self.end(self.conversion(big), number, status, "interrupted"))
            self.assertEqual([p.name for p in self.dir.iterdir()], [big])

    def test_a_second_signal_is_the_end(self):
        """Of a run that does not come to hear the first: it is stopped, and told twice."""
        run = self.conversion(self.big())
        run.send_signal(signal.SIGINT)
        run.send_signal(signal.SIGTERM)
        run.send_signal(signal.SIGCONT)
        run.communicate()
        self.assertIn(run.returncode, (-signal.SIGTERM, -signal.SIGINT))
        self.assertFalse((self.dir / "x.safetensors").exists())

    def pictures(self, count):
        picture = next((DEMO / "images").iterdir())
        (self.dir / "list").write_text(f"{picture}\n" * count)
        return ["infer", str(DEMO), "--image-list", "list", "--text", "a", "--text", "b"]

    def test_infer_stops_at_once(self):
        """Inside a batch: one of 4,096 pictures takes far longer than the limit here."""
        words = [*self.pictures(20000), "--batch", "4096"]
        self.assertEndsAtOnce(lambda: self.end(stopped(self.dir, words, has_worked(0.5)), signal.SIGTERM, 143))

    def test_every_long_command_hears_a_signal(self):
        terabyte = 1 << 38
        large, huge, other = self.big("l.safetensors", 1 << 30), self.big("a.safetensors", terabyte), self.big("b.safetensors", terabyte)
        (self.dir / "many").mkdir()
        shutil.copy(GOLDEN / "torch" / "2.15" / "views.pt", self.dir / "0.pt")
        for i in range(20000):
            os.link(self.dir / "0.pt", self.dir / "many" / f"{i}.pt")
        made = sorted(self.dir.iterdir())
        for words in (["convert", large, "x.safetensors", "--dtype", "bf16"], ["verify", huge], ["diff", huge, other, "--weights"],
                      ["scan", "many"], ["report", huge, "--statistics", "-o", "x.html"], ["average", large, large, "x.safetensors"],
                      self.pictures(20000)):
            for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
                with self.subTest(command=words[0], signal=number):
                    self.assertEndsAtOnce(lambda: self.end(stopped(self.dir, words, has_worked(0.1)), number, status))
                    self.assertEqual([path for path in sorted(self.dir.iterdir()) if path.name != "list"], made)

    def test_a_report_of_many_names_hears_a_signal(self):
        """Which has opened the folder, and reads names for long, where nothing asks whether to go on."""
        (self.dir / "hf").mkdir()
        shards = {f"model-0000{i}-of-00002.safetensors": [f"model.s{i}.t{k}.weight" for k in range(50000)] for i in (1, 2)}
        for file, names in shards.items():
            header = json.dumps({name: {"dtype": "F32", "shape": [1], "data_offsets": [4 * k, 4 * k + 4]} for k, name in enumerate(names)})
            (self.dir / "hf" / file).write_bytes(struct.pack("<Q", len(header)) + header.encode() + bytes(4 * len(names)))
        index = {"weight_map": {name: file for file, names in shards.items() for name in names}}
        (self.dir / "hf" / "model.safetensors.index.json").write_text(json.dumps(index))
        (self.dir / "hf" / "config.json").write_text('{"model_type": "other"}')
        words = ["report", "hf", "-o", "x.html"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([PROGRAM, *words], cwd=self.dir, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        (self.dir / "x.html").unlink()
        whole = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        for part in (0.3, 0.5, 0.7):
            with self.subTest(part):
                self.assertEndsAtOnce(lambda: self.end(stopped(self.dir, words, has_worked(part * whole)), signal.SIGTERM, 143))
                self.assertEqual([path.name for path in self.dir.iterdir()], ["hf"])

    def test_scan_hears_a_signal_inside_one_value(self):
        """A line of a pickle, zeros before an LZMA stream, a search for another array: a terabyte each."""
        for name, begin in (("line.pkl", b"P"), ("zeros.bin", bytes(18)), ("array.npy", b"\x93NUMPY\1\0\x04\0{} \n")):
            path = self.dir / name
            with open(path, "wb") as file:
                file.write(begin)
                file.truncate(1 << 40)
            with self.subTest(name):
                self.assertEndsAtOnce(lambda: self.end(stopped(self.dir, ["scan", name], has_worked(0.1)), signal.SIGTERM, 143))
            path.unlink()

    def test_the_progress_line(self):
        """In a terminal: it counts pictures, and is cleared before anything else is printed."""
        leader, terminal = pty.openpty()
        run = subprocess.Popen([PROGRAM, *map(str, self.pictures(3000)), "--batch", "16"], cwd=self.dir, stdout=terminal, stderr=terminal)
        os.close(terminal)
        seen = b""
        while True:
            try:
                part = os.read(leader, 65536)
            except OSError:
                break
            if not part:
                break
            seen += part
        os.close(leader)
        self.assertEqual(run.wait(), 0)
        self.assertRegex(seen, rb"\rimages \[=* *\] +\d+%  \d+ of 3000 pictures  [\d.]+/s")
        for line in seen.split(b"\n"):  # what is left on each line when the terminal is done
            shown = line.split(b"\x1b[K")[-1].strip(b"\r")
            self.assertNotRegex(shown, rb"s left\S")
            self.assertNotIn(b"s leftG", line)

    def test_little_memory(self):
        ended = set()
        for limit in range(24 << 10, 72 << 10, 4 << 10):  # KiB of addresses
            done = subprocess.run(["sh", "-c", f"ulimit -v {limit}; exec '{PROGRAM}' infer '{DEMO}' --image '{DEMO}/images' --text a"],
                                  cwd=self.dir, capture_output=True, text=True, timeout=60)
            if done.returncode == 127:
                continue  # not even the loader
            ended.add(done.returncode)
            if done.returncode != 0:
                self.assertEqual(done.returncode, 71, (limit, done.stderr))
                self.assertIn("out of memory", done.stderr)
        self.assertIn(71, ended)
        ended = set()
        for limit in range(24 << 10, 72 << 10, 2 << 10):
            done = subprocess.run(["sh", "-c", f"ulimit -v {limit}; exec '{PROGRAM}' convert {DEMO} x.nemo --dtype bf16"],
                                  cwd=self.dir, capture_output=True, text=True, timeout=60)
            if done.returncode == 127:
                continue  # not even the loader
            ended.add(done.returncode)
            self.assertIn(done.returncode, (0, 71), (limit, done.stderr))
            self.assertEqual([p.name for p in self.dir.iterdir() if p.name != "x.nemo"], [])
            (self.dir / "x.nemo").unlink(missing_ok=True)
        self.assertIn(0, ended)

    def test_no_memory_for_a_picture(self):
        """From each allocation on, those of a library that reads pictures fail: no picture is called damaged for it."""
        if b"__asan_init" in pathlib.Path(PROGRAM).read_bytes():
            self.skipTest("AddressSanitizer's malloc cannot be replaced")
        preloaded = self.dir / "no_memory.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", preloaded, pathlib.Path(__file__).with_name("no_memory.c"), "-ldl"], check=True)
        (self.dir / "x.gif").write_bytes(b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\1\0\1\0\0\2\2D\1\0;")
        # The first of giflib's own is the color table's; without it giflib says that the file has no screen descriptor.
        for picture, caller, first in ((f"{DEMO}/images/bag.jpg", "libjpeg", 0), (f"{DEMO}/images/dress.png", pathlib.Path(PROGRAM).name, 0), ("x.gif", "libgif", 1)):
            for at in range(first, 1000):
                done = subprocess.run([PROGRAM, "infer", DEMO, "--image", picture, "--text", "a"], cwd=self.dir, capture_output=True, text=True, timeout=60,
                                      env={**os.environ, "LD_PRELOAD": str(preloaded), "NO_MEMORY_FOR": caller, "NO_MEMORY_AT": str(at)})
                if done.returncode == 0:
                    break
                self.assertEqual((done.returncode, "out of memory" in done.stderr), (71, True), (picture, at, done.stderr))
            self.assertGreater(at, first, picture)

    def test_no_memory_for_a_config(self):
        """Each allocation of libyaml's fails, from one on: no config is called damaged for it."""
        if b"__asan_init" in pathlib.Path(PROGRAM).read_bytes():
            self.skipTest("AddressSanitizer's malloc cannot be replaced")
        preloaded = self.dir / "no_memory.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", preloaded, pathlib.Path(__file__).with_name("no_memory.c"), "-ldl"], check=True)
        (self.dir / "x.yaml").write_text("a: {b: [1, 2]}\n")
        for at in range(1000):
            done = subprocess.run([PROGRAM, "scan", "x.yaml"], cwd=self.dir, capture_output=True, text=True, timeout=60,
                                  env={**os.environ, "LD_PRELOAD": str(preloaded), "NO_MEMORY_FOR": "libyaml", "NO_MEMORY_AT": str(at)})
            if done.returncode == 0:
                break
            self.assertEqual((done.returncode, done.stderr), (71, "anemone: x.yaml: out of memory\n"), at)
        self.assertGreater(at, 10)

    def test_no_memory_from_a_moment_on(self):
        """Every allocation fails from one on, those of an exception's way up included."""
        if b"__asan_init" in pathlib.Path(PROGRAM).read_bytes():
            self.skipTest("AddressSanitizer's malloc cannot be replaced")
        preloaded = self.dir / "no_memory.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", preloaded, pathlib.Path(__file__).with_name("no_memory.c"), "-ldl"], check=True)
        ended = {}
        for at in (*range(0, 400, 40), *range(5000, 30000, 500)):  # the first are of static initializers
            done = subprocess.run([PROGRAM, "verify", CLIP / "mcore.nemo"], capture_output=True, text=True, timeout=60,
                                  env={**os.environ, "LD_PRELOAD": str(preloaded), "NO_MEMORY_FOR": "", "NO_MEMORY_AT": str(at)})
            ended[at] = done.returncode
            # RE2 says a word of its own where it has no memory.
            said = re.sub(r"^\./re2/\S*?(?=anemone: )", "", done.stderr)
            self.assertIn((done.returncode, said), {(0, ""), (71, "anemone: out of memory\n")}, at)
        self.assertGreater(list(ended.values()).count(71), 10)

    def test_a_source_that_changes(self):
        """One that is written to, also with its time set back, one that is replaced, in the middle of a run: no output."""
        for change in ("written", "set back", "replaced"):
            big = self.big()
            os.utime(self.dir / big, (0, 0))  # a change within a tick of the file system's clock is seen too
            run = self.conversion(big)
            if change != "replaced":
                with open(self.dir / big, "r+b") as file:
                    file.seek(-1, os.SEEK_END)
                    file.write(b"1")
                if change == "set back":
                    os.utime(self.dir / big, (0, 0))
            else:
                (self.dir / self.big("new")).rename(self.dir / big)
            run.send_signal(signal.SIGCONT)
            said = run.communicate()[1]
            self.assertEqual(run.returncode, 74, said)
            of_which_time = ": its ctime is another, though its mtime is not" if change == "set back" else ""
            self.assertIn(f"{big}: changed while it was read{of_which_time}\nhint: nothing is written", said)
            self.assertEqual([p.name for p in self.dir.iterdir()], [big])

    def test_a_source_that_changes_while_it_is_read(self):
        """What only reads says so, too: old and new bytes may be in its answer."""
        big = self.big(count=1 << 27)
        shutil.copytree(DEMO, self.dir / "model")
        (self.dir / "pictures.txt").write_text(f"{DEMO}/images/bag.jpg\n" * 2000)
        for words, source in ((["report", big, "-o", "x.html", "--statistics"], big), (["cat", big, "w"], big),
                              (["cat", big, "w", "--raw"], big),
                              (["infer", "model", "--image-list", "pictures.txt", "--text", "a"], "model/model.safetensors")):
            with self.subTest(words=words):
                os.utime(self.dir / source, (0, 0))
                run = stopped(self.dir, words, has_worked(0.2))
                with open(self.dir / source, "r+b") as file:
                    file.seek(-1, os.SEEK_END)
                    file.write(b"\0")
                run.send_signal(signal.SIGCONT)
                said = run.communicate()[1]
                self.assertEqual(run.returncode, 74, said)
                self.assertIn(f"{source}: changed while it was read", said)
                self.assertEqual(list(self.dir.glob("*x.html*")), [])

    def test_a_damaged_source(self):
        """A record that does not match its checksum: an error of every command that copies it, unless told to go on."""
        self.ok("convert", DEMO, "good.nemo")
        content = bytearray((self.dir / "good.nemo").read_bytes())
        content[len(content) // 2] ^= 1
        (self.dir / "bad.nemo").write_bytes(content)
        for words in (["convert", "bad.nemo", "y.safetensors"], ["convert", "bad.nemo", "y", "--to", "hf"],
                      ["average", "bad.nemo", "good.nemo", "y.nemo"]):
            self.fails(65, "found [0-9a-f]{8}: the bytes have changed\nhint: use --no-verify-source", *words)
            done = self.run_program(*words, "--no-verify-source")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("note: warning: bad.nemo", done.stderr)
            self.ok(*(word.replace("bad.nemo", "good.nemo") for word in words), "--force")
            output = next(self.dir.glob("y*"))
            shutil.rmtree(output) if output.is_dir() else output.unlink()

    def test_a_damaged_source_that_is_moved_unread(self):
        self.ok("convert", DEMO, "good.nemo")
        content = bytearray((self.dir / "good.nemo").read_bytes())
        content[len(content) // 2] ^= 1
        (self.dir / "bad.nemo").write_bytes(content)
        self.ok("extract", "bad.nemo", "bad")
        damage = "found [0-9a-f]{8}: the bytes have changed"
        for words in (["edit", "bad.nemo", "-o", "y.nemo", "--set", "precision=16"], ["extract", "bad.nemo", "y"], ["pack", "bad", "y.nemo"]):
            self.fails(65, damage, *words, "--verify-source")
            good = [word.replace("bad", "good") for word in words]
            if words[0] == "pack":
                self.ok("extract", "good.nemo", "good")
            self.ok(*good, "--verify-source")
            self.ok(*words, "--force")
            output = self.dir / next(word for word in words if word.startswith("y"))
            shutil.rmtree(output) if output.is_dir() else output.unlink()

    def test_a_tensor_without_elements(self):
        """Of the meta device: it is not left out as if it were a number."""
        meta = b"ctorch._utils\n_rebuild_meta_tensor_no_storage\n(ctorch\nfloat32\nK\x01\x85K\x01\x85\x89tR"
        plain = (b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000"
                 b"X\x03\x00\x00\x00cpuK\x01tQK\x00K\x01\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtR")
        parameter = b"ctorch._utils\n_rebuild_parameter\n(" + meta + b"\x88ccollections\nOrderedDict\n)RtR"
        for value in (meta, parameter):
            with zipfile.ZipFile(self.dir / "m.pt", "w") as file:
                file.writestr("m/data.pkl", b"\x80\x02}(X\x01\x00\x00\x00a" + plain + b"X\x01\x00\x00\x00w" + value + b"u.")
                file.writestr("m/version", "3\n")
                file.writestr("m/data/0", bytes(4))
            self.fails(65, r"m.pt: w: \[TZ-23\] .* meta device", "convert", "m.pt", "m.safetensors")

    def test_a_torch_file_of_another_version(self):
        """What torch itself does not read is not guessed at."""
        tensor = (b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000"
                  b"X\x03\x00\x00\x00cpuK\x01tQK\x00K\x01\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtR")
        for version, is_read in (("1", True), ("3\n", True), ("10\n", True), ("11\n", False), ("0", False), ("x", False), ("", False)):
            with zipfile.ZipFile(self.dir / "m.pt", "w") as file:
                file.writestr("m/data.pkl", b"\x80\x02}X\x01\x00\x00\x00a" + tensor + b"s.")
                file.writestr("m/version", version)
                file.writestr("m/data/0", bytes(4))
            if is_read:
                self.ok("inspect", "m.pt")
            else:
                self.fails(65, r"m.pt: m/version: \[TZ-3\] expected a version from 1 to 10, found", "inspect", "m.pt")

    def test_a_limit_of_file_size(self):
        limit = 1 << 20
        done = subprocess.run([PROGRAM, "convert", DEMO, "x.nemo"], cwd=self.dir, capture_output=True, text=True,
                              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
        self.assertEqual(done.returncode, 74, done.stderr)
        self.assertIn("File too large", done.stderr)
        self.assertEqual(list(self.dir.iterdir()), [])


class Counts(ProgramCase):
    """Twice as many of something take about twice the time: a square would be four times."""

    def seconds(self, *words):
        run = subprocess.Popen([PROGRAM, *map(str, words)], cwd=self.dir, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, used = os.wait4(run.pid, 0)
        run.returncode = os.waitstatus_to_exitcode(status)
        self.assertIn(run.returncode, (0, 1, 65), words)
        return used.ru_utime

    def linear(self, make, *commands):
        many = 80_000
        taken = {}
        for count in (many // 2, many):
            make(count)
            for words in commands:
                taken.setdefault(words, []).append(self.seconds(*words))
        for words, (half, whole) in taken.items():
            self.assertLess(whole, 3 * half + 0.3, words)

    def test_keys_of_a_config(self):
        def hugging_face(count):
            shutil.copytree(CLIP / "hf", self.dir / "hf", dirs_exist_ok=True)
            config = json.loads((CLIP / "hf/config.json").read_text())
            config.update({f"key{i}": i for i in range(count)})
            (self.dir / "hf/config.json").write_text(json.dumps(config))

        self.linear(hugging_face, ("diff", "hf", "hf"), ("convert", "hf", "x.nemo", "--force"), ("inspect", "hf"))

    def test_keys_and_files_of_a_nemo(self):
        self.ok("extract", CLIP / "mcore.nemo", "nemo")
        text = (self.dir / "nemo/model_config.yaml").read_text()

        def nemo(count):
            shutil.rmtree(self.dir / "out", ignore_errors=True)
            some = count // 8
            for i in range(some):
                (self.dir / "nemo" / f"file{i}").touch()
            merged = ", ".join(["*a"] * count)
            (self.dir / "nemo/model_config.yaml").write_text(
                text + "".join(f"key{i}: nemo:file{i % some}\n" for i in range(count)) +
                f"anchor: &a {{one: 1}}\nmerged: {{<<: [{merged}]}}\n")

        self.linear(nemo, ("verify", "nemo"), ("inspect", "nemo"), ("diff", "nemo", "nemo"), ("pack", "nemo", "x.nemo", "--force"),
                    ("edit", "x.nemo", "-o", "y.nemo", "--set", "one=1", "--force"), ("extract", "x.nemo", "out", "--force"))

    def test_metadata_in_a_report(self):
        def safetensors(count):
            words = json.dumps({"__metadata__": {f"key{i}": "" for i in range(count)}}).encode()
            (self.dir / "x.safetensors").write_bytes(struct.pack("<Q", len(words)) + words)

        self.linear(safetensors, ("report", "x.safetensors", "-o", "x.html", "--force"))

    def test_numbers_that_a_config_says(self):
        """A number takes neither time nor memory: what it counts has to be there."""
        self.ok("extract", GOLDEN / "families/mixtral.nemo", "nemo")
        text = (self.dir / "nemo/model_config.yaml").read_text()
        for key in ("num_layers", "override_vocab_size", "make_vocab_size_divisible_by", "tensor_model_parallel_size"):
            for value in (10**6, 10**9, 10**18):
                with self.subTest(key=key, value=value):
                    said = re.sub(f"(?m)^{key}:.*\\n", "", text) + f"{key}: {value}\n"
                    (self.dir / "nemo/model_config.yaml").write_text(said)
                    for words in (["inspect", "nemo"], ["convert", "nemo", "x", "--to", "hf", "--plan"],
                                  ["reshard", "nemo", "y", "--to", "nemo-dir", "--tp", "2", "--plan"]):
                        limit = 1 << 30
                        done = subprocess.run([PROGRAM, *words], cwd=self.dir, capture_output=True, timeout=60,
                                              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
                        self.assertIn(done.returncode, (0, 64, 65), done.stderr)

    def test_values_of_json(self):
        """However many values a file says, they are refused before they take memory."""
        shutil.copytree(CLIP / "hf", self.dir / "hf")
        (self.dir / "hf/config.json").write_text('{"a": [' + "0," * 4_000_000 + "0]}")
        self.fails(65, "config.json: line 1, column \\d+: expected at most 500000 values, found more", "inspect", "hf")
        self.assertEqual(self.run_program("scan", "hf").returncode, 1)


class Memory(ProgramCase):
    """What is known of a tensor, its names included, takes at most so much."""

    def test_of_a_tensor(self):
        few, many = 20_000, 60_000
        for count in (few, many):
            header = {f"layers.{i}.weight": {"dtype": "F32", "shape": [2], "data_offsets": [8 * i, 8 * i + 8]} for i in range(count)}
            words = json.dumps(header).encode()
            (self.dir / f"{count}.safetensors").write_bytes(struct.pack("<Q", len(words)) + words + bytes(8 * count))
            self.ok("convert", f"{count}.safetensors", f"{count}.pt")
            self.ok("convert", f"{count}.safetensors", f"{count}.dist", "--to", "torch_dist")
        for kind in ("safetensors", "pt", "dist"):
            with self.subTest(kind=kind):
                each = (self.peak("inspect", f"{many}.{kind}") - self.peak("inspect", f"{few}.{kind}")) / (many - few)
                self.assertLess(each, 1024)
        name = len(f"layers.{many}.weight")
        for kind in ("safetensors",):
            with self.subTest(written=kind):
                peaks = [self.peak("convert", f"{count}.safetensors", f"written.{count}.{kind}", "--to", kind) for count in (few, many)]
                self.assertLess((peaks[1] - peaks[0]) / (many - few), 1024 + name)


    def test_of_a_config(self):
        """500,000 values, as many as are read, take less than 512 MiB, also where none is known."""
        few, many = 30_000, 90_000
        config = json.loads((CLIP / "hf/config.json").read_text())
        for count in (few, many):
            shutil.copytree(CLIP / "hf", self.dir / f"hf{count}")
            (self.dir / f"hf{count}/config.json").write_text(json.dumps(config | {f"unknown_{i}": i for i in range(count)}))
        peaks = [self.peak("inspect", f"hf{count}") for count in (few, many)]
        self.assertLess((peaks[1] - peaks[0]) / (many - few), (512 << 20) / 500_000)

    def test_of_a_report(self):
        few, many = 20_000, 60_000
        for count in (few, many):
            self.write_safetensors(f"{count}.safetensors", {f"layers.{i}.weight": [2] for i in range(count)})
        peaks = [self.peak("report", f"{count}.safetensors", "-o", f"{count}.html") for count in (few, many)]
        self.assertLess((peaks[1] - peaks[0]) / (many - few), 1024 + len(f"layers.{many}.weight"))

    def test_of_a_decoder(self):
        """A Llama whose tensors are split, joined and named otherwise on the way, and lie in a pickle."""
        few, many, each = 2_000, 6_000, 9
        for layers in (few, many):
            self.write_llama(f"{layers}.hf", layers)
            self.ok("convert", f"{layers}.hf", f"{layers}.nemo2", "--to", "nemo2")
            self.ok("convert", f"{layers}.hf", f"{layers}.ckpt")
        name = len("model.layers.6000.self_attn.q_proj.weight")
        for source, to in (("nemo2", "megatron"), ("ckpt", "hf")):
            with self.subTest(source=source, to=to):
                peaks = [self.peak("convert", f"{layers}.{source}", f"out.{layers}.{to}", "--to", to) for layers in (few, many)]
                self.assertLess((peaks[1] - peaks[0]) / (many - few) / each, 1024 + name)

    def test_of_parts(self):
        """A Mamba, of whose tensors NeMo 2 stores many in parts: nine are seventeen there, and two states."""
        few, many, each = 3_000, 9_000, 9
        for layers in (few, many):
            self.write_mamba(f"{layers}.hf", layers)
        name = len("backbone.layers.9000.mixer.in_proj.weight")
        peaks = [self.peak("convert", f"{layers}.hf", f"{layers}.nemo2", "--to", "nemo2") for layers in (few, many)]
        self.assertLess((peaks[1] - peaks[0]) / (many - few) / each, 1024 + name)

    def test_of_a_torch_file(self):
        """Of a file of torch before 1.6, and what is written from it."""
        few, many = 30_000, 90_000
        for count in (few, many):
            (self.dir / f"{count}.pt").write_bytes(legacy_torch_file({f"model.part.{i:07}.some.weight": i for i in range(count)}))
        name = len("model.part.0000000.some.weight")
        for kind in ("pt", "safetensors"):
            with self.subTest(written=kind):
                peaks = [self.peak("convert", f"{count}.pt", f"written.{count}.{kind}", "--to", kind) for count in (few, many)]
                self.assertLess((peaks[1] - peaks[0]) / (many - few), 1024 + name)

    def write_safetensors(self, path, shapes):
        header, end = {}, 0
        for name, shape in shapes.items():
            begin, end = end, end + 4 * math.prod(shape)
            header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
        words = json.dumps(header).encode()
        (self.dir / path).write_bytes(struct.pack("<Q", len(words)) + words + bytes(end))

    def write_llama(self, path, layers):
        (self.dir / path).mkdir()
        (self.dir / path / "config.json").write_text(json.dumps({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 16, "hidden_size": 8, "intermediate_size": 16,
            "num_hidden_layers": layers, "num_attention_heads": 2, "num_key_value_heads": 2, "hidden_act": "silu",
            "max_position_embeddings": 16, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": False,
            "attention_bias": False, "mlp_bias": False, "torch_dtype": "float32"}))
        shapes = {"model.embed_tokens.weight": [16, 8], "lm_head.weight": [16, 8], "model.norm.weight": [8]}
        for layer in range(layers):
            at = f"model.layers.{layer}."
            shapes |= {f"{at}self_attn.{part}_proj.weight": [8, 8] for part in "qkvo"}
            shapes |= {f"{at}{norm}layernorm.weight": [8] for norm in ("input_", "post_attention_")}
            shapes |= {f"{at}mlp.gate_proj.weight": [16, 8], f"{at}mlp.up_proj.weight": [16, 8], f"{at}mlp.down_proj.weight": [8, 16]}
        self.write_safetensors(f"{path}/model.safetensors", shapes)

    def write_mamba(self, path, layers):
        (self.dir / path).mkdir()
        (self.dir / path / "config.json").write_text(json.dumps({
            "architectures": ["Mamba2ForCausalLM"], "model_type": "mamba2", "vocab_size": 16, "hidden_size": 8, "num_hidden_layers": layers,
            "expand": 2, "head_dim": 4, "num_heads": 4, "n_groups": 1, "state_size": 4, "conv_kernel": 4, "chunk_size": 256, "hidden_act": "silu",
            "layer_norm_epsilon": 1e-5, "residual_in_fp32": True, "use_bias": False, "use_conv_bias": True, "tie_word_embeddings": True,
            "dtype": "float32"}))
        shapes = {"backbone.embeddings.weight": [16, 8], "backbone.norm_f.weight": [8]}
        for layer in range(layers):
            at = f"backbone.layers.{layer}."
            shapes |= {f"{at}norm.weight": [8], f"{at}mixer.norm.weight": [16], f"{at}mixer.in_proj.weight": [44, 8],
                       f"{at}mixer.conv1d.weight": [24, 1, 4], f"{at}mixer.conv1d.bias": [24], f"{at}mixer.out_proj.weight": [8, 16]}
            shapes |= {f"{at}mixer.{vector}": [4] for vector in ("A_log", "D", "dt_bias")}
        self.write_safetensors(f"{path}/model.safetensors", shapes)


class Inputs(ProgramCase):
    """What is no input is called so, whatever is there instead."""

    def test_a_place_that_cannot_be_opened(self):
        (self.dir / "x.nemo").write_bytes(b"")
        os.mkfifo(self.dir / "fifo")
        for command in (["inspect"], ["verify"], ["scan"], ["convert", "--to", "hf", "--", "out"]):
            for path in ("x.nemo/", "x.nemo/y.nemo"):
                self.fails(66, "Not a directory\nhint: what is before a '/' in this path is a file", *self.words(command, path))
            self.fails(66, "no such file or folder|No such file or directory", *self.words(command, "none.nemo"))
            self.fails(66, "File name too long", *self.words(command, "n" * 300))
            self.fails(64, "found a device, pipe or socket\nhint: copy what it gives to a file first", *self.words(command, "fifo"))

    def test_a_place_that_may_not_be_read(self):
        if os.geteuid() == 0:
            self.skipTest("root may read everything")
        (self.dir / "x.nemo").write_bytes(b"x")
        (self.dir / "folder").mkdir()
        (self.dir / "folder/y.nemo").write_bytes(b"y")
        for closed in ("x.nemo", "folder"):
            (self.dir / closed).chmod(0)
            self.addCleanup((self.dir / closed).chmod, 0o700)
        for path in ("x.nemo", "folder", "folder/", "folder/y.nemo"):
            self.fails(66, f"{path.rstrip('/')}: cannot open: Permission denied\nhint: ls -ld shows who may read it", "inspect", path)

    def test_a_rank_folder_that_cannot_be_opened(self):
        """It is there: not missing."""
        shutil.copytree(GOLDEN / "megatron/mlm09-torch-tp2pp2-legacy-gpt2/ckpt", self.dir / "ckpt")
        rank = self.dir / "ckpt/iter_0000010/mp_rank_01_001"
        if os.geteuid() != 0:
            rank.chmod(0)
            self.addCleanup(rank.chmod, 0o700)
            self.fails(66, "mp_rank_01_001: cannot open: Permission denied", "inspect", "ckpt")
            rank.chmod(0o700)
        shutil.rmtree(rank)
        self.fails(65, "found missing: mp_rank_01_001", "inspect", "ckpt")
        rank.write_text("a file")
        self.fails(65, "found missing: mp_rank_01_001", "inspect", "ckpt")

    def test_a_place_that_cannot_be_written(self):
        self.fails(64, "s3://b/x.nemo: expected a path, found an address: outputs are written to this machine", "convert", DEMO, "s3://b/x.nemo")
        (self.dir / "file").write_bytes(b"")
        self.fails(73, "Not a directory\nhint: what is before a '/' in this path is a file", "convert", DEMO, "file/x.nemo")
        if os.geteuid() != 0:
            (self.dir / "closed").mkdir(mode=0o500)
            self.fails(73, "Permission denied\nhint: write to a folder in which you may create files", "convert", DEMO, "closed/x.nemo")

    @staticmethod
    def words(command, path):
        return [*command[:-1], path, command[-1]] if command[-1] == "out" else [*command, path]


class Links(ProgramCase):
    """A folder checkpoint is read from its own folder."""

    def test_links_that_lead_out_are_refused(self):
        (self.dir / "secret").write_text('{"secret": 1}')
        self.ok("convert", CLIP / "hf", "hf", "--to", "hf")
        for to, names in {"hf": ["vocab.json", "config.json"], "nemo-dir": ["stolen.txt"], "torch_dist": ["stolen.txt"],
                          "nemo2": ["context/stolen.txt"]}.items():
            for name in names:
                with self.subTest(to=to, name=name):
                    self.ok("convert", "hf", "source", "--to", to)
                    (self.dir / "source" / name).unlink(missing_ok=True)
                    os.symlink(self.dir / "secret", self.dir / "source" / name)
                    self.fails(65, "found a link that leads out of it to .*secret\\nhint: copy the file there", "convert", "source", "x.safetensors")
                    self.fails(65, "leads out of it", "inspect", "source")
                    shutil.rmtree(self.dir / "source")

    def test_a_link_to_a_folder_is_no_way_round(self):
        """Not followed: a checkpoint would lose what is there, and a scan would not see it."""
        (self.dir / "elsewhere").mkdir()
        shutil.copy(GOLDEN / "torch" / "2.15" / "views.pt", self.dir / "elsewhere")
        for to in ("nemo-dir", "torch_dist", "nemo2"):
            self.ok("convert", CLIP / "hf", to, "--to", to)
            os.symlink("../elsewhere", self.dir / to / "more")
            self.fails(65, "expected files and folders, found a link to a folder\nhint: replace it", "convert", to, "x.safetensors")
            done = self.run_program("scan", to)
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn(f"{to}/more: a link to a folder: not followed", done.stdout)
        (self.dir / "scanned/v1").mkdir(parents=True)
        os.symlink("v1", self.dir / "scanned/latest")  # its target is scanned
        self.ok("scan", "scanned")

    def test_what_is_no_file_is_not_passed_over(self):
        """Nor does it hide what is beside it: `scan` opens the rest, and other commands do not wait for a pipe."""
        for to in ("hf", "torch_dist"):
            shutil.rmtree(self.dir / "source", ignore_errors=True)
            self.ok("convert", CLIP / "hf", "source", "--to", to)
            (self.dir / "source/z.pkl").write_bytes(b"cos\nsystem\n(S'id'\ntR.")
            for make, found in ((os.mkfifo, "a device, pipe or socket"),
                                (lambda path: os.symlink("/nowhere", path), "a link to /nowhere, which is not there"),
                                (lambda path: os.symlink(path.name, path), "Too many levels of symbolic links")):
                path = self.dir / "source/a.pkl"
                make(path)
                done = self.run_program("scan", "source")
                self.assertEqual(done.returncode, 1, done.stderr)
                self.assertRegex(done.stdout, f"not opened .*source/a.pkl: .*{found}")
                self.assertIn("os system", done.stdout)
                done = self.run_program("verify", "source")
                self.assertNotEqual(done.returncode, 0)
                self.assertIn("source/a.pkl: ", done.stdout + done.stderr)
                if to == "torch_dist":
                    self.assertRegex(self.run_program("convert", "source", "x.safetensors").stderr, f"source/a.pkl: .*{found}")
                path.unlink()

    def test_what_may_not_be_read_hides_nothing(self):
        if os.geteuid() != 0:
            self.skipTest("root makes files that another user may not read")
        (self.dir / "source/closed").mkdir(parents=True)
        for name in ("source/closed.pkl", "source/closed/x.pkl", "source/z.pkl"):
            (self.dir / name).write_bytes(b"cos\nsystem\n(S'id'\ntR.")
        for path, mode in (("source/closed.pkl", 0), ("source/closed", 0), ("source", 0o755), (".", 0o755)):
            (self.dir / path).chmod(mode)
        done = subprocess.run([PROGRAM, "scan", "source"], cwd=self.dir, capture_output=True, text=True, user=1234)
        self.assertEqual(done.returncode, 1, done.stderr)
        for path in ("source/closed.pkl", "source/closed"):
            self.assertRegex(done.stdout, f"not opened +{path}: cannot open: Permission denied")
        self.assertIn("source/z.pkl", done.stdout)

    def test_links_inside_and_of_the_hub_cache_are_followed(self):
        self.ok("convert", CLIP / "hf", "hf", "--to", "hf")
        (self.dir / "hf/vocab.json").rename(self.dir / "hf/words")
        os.symlink("words", self.dir / "hf/vocab.json")
        (self.dir / "hf/merges.txt").rename(self.dir / "merges.txt")
        os.symlink("../merges.txt", self.dir / "hf/merges.txt")  # of the same name
        self.ok("convert", "hf", "x.nemo")
        cache, snapshot = self.dir / "models--a--b/blobs", self.dir / "models--a--b/snapshots/0"
        cache.mkdir(parents=True)
        snapshot.mkdir(parents=True)
        for path in (CLIP / "hf").iterdir():
            if path.is_file():
                shutil.copy(path, cache / path.name)
                os.symlink("../../blobs/" + path.name, snapshot / path.name)
        self.ok("convert", snapshot, "y.nemo")

    def test_a_thousand_shards_under_a_thousand_descriptors(self):
        folder = self.dir / "shards"
        folder.mkdir()
        names = {}
        for i in range(1020):
            header = json.dumps({f"t{i}": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}}).encode()
            name = f"model-{i + 1:05}-of-01020.safetensors"
            (folder / name).write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
            names[f"t{i}"] = name
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
        limit = 1024
        done = subprocess.run([PROGRAM, "convert", "shards", "x.safetensors"], cwd=self.dir, capture_output=True, text=True,
                              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)))
        self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[4:])
