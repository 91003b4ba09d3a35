#!/usr/bin/python3
"""Asks huggingface_hub, offline, for what anemone put into a cache: check_cache.py CACHE REPO REVISION FILE ABSENT.

Exit 0: found as it should be; 77: huggingface_hub is not installed here; 1: it is and does not find it."""
import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
try:
    import huggingface_hub as hub
except ImportError:
    sys.exit(77)

cache, repo, revision, name, absent = sys.argv[1:]
path = hub.hf_hub_download(repo, name, revision=revision, cache_dir=cache)
assert os.path.islink(path) and os.path.getsize(path) > 0, path
assert hub.try_to_load_from_cache(repo, absent, cache_dir=cache, revision=revision) is hub._CACHED_NO_EXIST
assert hub.snapshot_download(repo, revision=revision, cache_dir=cache) == os.path.dirname(path)
info = hub.scan_cache_dir(cache)
assert not info.warnings, info.warnings
assert {r.repo_id for r in info.repos} == {repo}, info.repos
