// Writing a tar, the outer container of a .nemo: ustar, with a PAX record where a member needs one. Knows nothing of
// models. Rules and ids (TAR-n): docs/formats/tar.md.
#ifndef ANEMONE_CONTAINER_TAR_LAYOUT_H_
#define ANEMONE_CONTAINER_TAR_LAYOUT_H_

#include <cstdint>
#include <optional>
#include <string_view>

#include "anemone/status.h"
#include "engine/plan.h"

namespace anemone {

// `file` holds nothing but the tar. Headers go into it as literals; the caller appends the `size` bytes of
// content right after, then calls PadTarMember. EndTar appends the end marker and pads to 10240. Names are as in
// TarMember and are stored with a leading "./", as NeMo does. Deterministic: no times, no users. Errors:
// InvalidArgument (an unsafe name).
Status AppendTarDirectory(PlanFile& file, std::string_view name);
// With `block_offset`, a multiple of 512, the content begins so far into a block of kBlockBytes: a PAX comment takes
// the room before it.
Status AppendTarHeader(PlanFile& file, std::string_view name, uint64_t size, std::optional<uint64_t> block_offset = {});
void PadTarMember(PlanFile& file);
void EndTar(PlanFile& file);

}  // namespace anemone

#endif  // ANEMONE_CONTAINER_TAR_LAYOUT_H_
