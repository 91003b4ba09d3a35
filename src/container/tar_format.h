// Internal: what reading and writing a tar share.
//
// Tar [POSIX.1-2008 pax, "ustar Interchange Format" and "pax Header Block"; GNU tar manual, "Basic Tar Format"].
#ifndef ANEMONE_CONTAINER_TAR_FORMAT_H_
#define ANEMONE_CONTAINER_TAR_FORMAT_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace anemone::internal::tar {

inline constexpr uint64_t kBlock = 512;

// Fields of a header block: offset and width in bytes.
struct Field {
  size_t offset, width;
};
inline constexpr Field kName{0, 100}, kMode{100, 8}, kUid{108, 8}, kGid{116, 8}, kSize{124, 12}, kMtime{136, 12},
    kChecksum{148, 8}, kType{156, 1}, kLink{157, 100}, kMagic{257, 8}, kDevMajor{329, 8}, kDevMinor{337, 8},
    kPrefix{345, 155};
inline constexpr std::string_view kUstar("ustar\00000", 8);

inline uint64_t Padding(uint64_t size, uint64_t to) { return (to - size % to) % to; }

// "./a//b/./" → "a/b". Leading slashes and ".." stay, to be refused.
std::string Normalised(std::string_view name);

}  // namespace anemone::internal::tar

#endif  // ANEMONE_CONTAINER_TAR_FORMAT_H_
