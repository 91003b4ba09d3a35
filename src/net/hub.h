// Models from the Hugging Face hub: found in the local cache, or downloaded into it so that huggingface_hub and
// transformers find them there.
//
//   <cache>/models--org--name/refs/<revision>              the commit that a branch or tag stood at
//                             snapshots/<commit>/<file>    relative symlink to
//                             blobs/<etag>                 the bytes; etag is sha256 (LFS) or git's sha1 of a blob
//                             .no_exist/<commit>/<file>    empty: known to be absent
//   <cache>/.locks/models--org--name/<etag>.lock           flock'ed while a blob is written
//
// Facts: huggingface.co/docs/hub/local-cache; huggingface_hub/file_download.py. docs/formats/hub.md has the protocol.
#ifndef ANEMONE_NET_HUB_H_
#define ANEMONE_NET_HUB_H_

#include <string>
#include <string_view>

#include "anemone/progress.h"
#include "anemone/status.h"
#include "base/location.h"
#include "net/hub_options.h"

namespace anemone {

// "org/name" or "org/name@revision", when nothing of that name lies on disk and it does not end like a checkpoint file.
bool LooksLikeRepoId(std::string_view text);
// Splits "org/name@revision"; the revision is "main" when none is given.
struct RepoId {
  std::string name;
  std::string revision;
};
RepoId SplitRepoId(std::string_view text);

// The snapshot directory with the files that a conversion needs: configs, tokenizer, and the weights in the first of
// safetensors (whole or sharded), OpenCLIP safetensors, PyTorch (whole or sharded), OpenCLIP PyTorch. For a repository
// that holds nothing of these but one `.nemo` file, the path of that file.
//
// A 40-digit revision that is complete in the cache needs no network; a branch is looked up each time, and when the hub
// cannot be reached what the cache has serves. An interrupted download resumes where it stopped, in a later run too;
// every file is checked against its etag before it gets its name. Threads: reentrant; processes may share the cache.
// `progress` is called from the calling thread. Errors: NotFound (repository, revision, nothing to convert; not in the
// cache while offline), Unavailable (gated, token refused, rate-limited, down, unreachable), Corrupt (content differs
// from its checksum), Io (disk full), Interrupted.
Result<std::string> FetchModel(std::string_view repo_id, std::string_view revision, const HubOptions& options,
                               const ProgressFn& progress = nullptr);

// As FetchModel, but what the cache has not is read in place, by ranges: nothing is downloaded. `inside`: a file or
// folder of the repository; empty: what a conversion needs of a Hugging Face model, else all of it. `shown` is what
// messages call the repository. With `all_files` all of it is meant, whatever the cache has of it, unless offline.
// Errors: as FetchModel.
Result<Location> FindModel(const RepoId& repo, const std::string& inside, const std::string& shown,
                           const HubOptions& options, const ProgressFn& progress = nullptr, bool all_files = false);

}  // namespace anemone

#endif  // ANEMONE_NET_HUB_H_
