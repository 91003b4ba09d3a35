// A torch file (torch.save): pickle + storages, in the zip or the legacy layout. Reading yields plain values with
// tensors as leaves.
#ifndef ANEMONE_FORMAT_TORCH_TORCH_FILE_H_
#define ANEMONE_FORMAT_TORCH_TORCH_FILE_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "anemone/bytes.h"
#include "anemone/status.h"
#include "anemone/value.h"

namespace anemone {

inline constexpr uint64_t kMaxPickleBytes = uint64_t{1} << 30;

// True for the first bytes of a zip or legacy torch file (a TorchScript archive included).
bool LooksLikeTorchFile(std::string_view head);

struct TorchFile {
  Value root;                // rebuilt tensors and parameters are kTensor nodes; everything else is as pickled
  bool legacy = false;       // the pre-1.6 layout
  bool torchscript = false;  // an archive with code: its tensors are read, its code is not
  // The key of a storage whose record holds more bytes than it, if there is one: torch 1.13 reads the first ones, torch
  // 2.15 refuses them.
  std::string longer_record = {};
};

// Reads the pickle and rebuilds every tensor lazily. `range` may be a slice of a larger file (a .nemo, a .distcp);
// `within` then names the slice in messages about damaged records.
// Errors: Corrupt (truncated, storage out of range, lying sizes …), Unsupported (quantised, sparse … by name).
Result<TorchFile> ReadTorchFile(const ByteRange& range, std::string_view within = {});

// `content` with the CRC-32s that it records of its own records, which a plan that moves it then compares; itself where
// it is no zip.
ByteRange WithRecordedCrcs(const ByteRange& content);

}  // namespace anemone

#endif  // ANEMONE_FORMAT_TORCH_TORCH_FILE_H_
