"""A test that has a folder of its own, gone afterwards."""

import os
import tempfile
import time
import unittest


def slowdown():
    """How many times longer than alone this machine takes to compute something now."""
    begin, used = time.monotonic(), time.process_time()
    while time.process_time() < used + 0.05:
        pass
    return (time.monotonic() - begin) / 0.05


class FolderCase(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.dir = folder.name

    def path(self, name):
        return os.path.join(self.dir, name)

    def assertEndsAtOnce(self, attempt):
        """`attempt` answers how many seconds an end took: half a second, as many times longer as this machine now takes for a
        computation than it would alone. Once in three attempts."""
        late = []
        for _ in range(3):
            limit = 0.5 * slowdown()
            took = attempt()
            if took < limit:
                return
            late.append(f"{took:.2f} s, expected at most {limit:.2f} s")
        self.fail("; ".join(late))
