// Reading a tar, the outer container of a .nemo: ustar, PAX and GNU. Knows nothing of models. Rules and ids (TAR-n):
// docs/formats/tar.md.
#ifndef ANEMONE_CONTAINER_TAR_H_
#define ANEMONE_CONTAINER_TAR_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/bytes.h"
#include "anemone/status.h"

namespace anemone {

struct TarMember {
  std::string name;  // without leading "./", no trailing '/'; "" is the root directory
  bool is_directory = false;
  uint32_t mode = 0644;
  ByteRange content;         // empty for directories; of a link, that of the member it points to
  bool is_replaced = false;  // a later member has the same name: unpacking keeps that one
};

// True when the first 512 bytes look like a tar header (magic or a right checksum).
bool LooksLikeTar(std::string_view head);

// Indexes the archive without extracting: only headers are read. Directories named twice are listed once; of
// files named twice the earlier are marked. Links are read as the file of the archive that they point to. Errors:
// Corrupt (truncated: says bytes present and expected; checksum; unsafe names; one name for a file and a directory),
// Unsupported (links elsewhere, devices), LimitExceeded. Every error names the member and the byte offset.
Result<std::vector<TarMember>> ReadTar(const ByteRange& archive, uint64_t max_members = 4'000'000);
// Where the next member of an archive begins: the end marker's first byte. Errors: as ReadTar.
Result<uint64_t> TarEnd(const ByteRange& archive);
// What can be read of an archive that breaks rules, for `scan`: members that ReadTar refuses are left out and named in
// `refused`; of those with one name all are listed.
std::vector<TarMember> ReadDamagedTar(const ByteRange& archive, std::vector<Status>& refused);

}  // namespace anemone

#endif  // ANEMONE_CONTAINER_TAR_H_
