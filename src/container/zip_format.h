// Internal: what reading and writing a zip share.
//
// Zip [PKWARE APPNOTE.TXT 6.3.10]. Numbers in comments are its paragraphs; everything is little-endian.
//
//   local header | payload | data descriptor?     4.3.7, 4.3.8, 4.3.9   one for each member
//   directory header …                            4.3.12                one for each member
//   zip64 end record | zip64 locator              4.3.14, 4.3.15        where 32 bits do not do
//   end record | comment                          4.3.16
#ifndef ANEMONE_CONTAINER_ZIP_FORMAT_H_
#define ANEMONE_CONTAINER_ZIP_FORMAT_H_

#include <algorithm>
#include <cstdint>
#include <string_view>

namespace anemone::internal::zip {

inline constexpr uint64_t kLocalBytes = 30, kCentralBytes = 46, kEndBytes = 22, kLocatorBytes = 20, kEnd64Bytes = 56;
inline constexpr uint32_t kLocalMagic = 0x04034b50, kCentralMagic = 0x02014b50, kEndMagic = 0x06054b50,
                          kLocatorMagic = 0x07064b50, kEnd64Magic = 0x06064b50, kDescriptorMagic = 0x08074b50;
inline constexpr std::string_view kEndMark = "PK\x05\x06";  // kEndMagic, as it lies in a file
inline constexpr uint16_t kEncrypted = 1 << 0 | 1 << 6 | 1 << 13, kHasDescriptor = 1 << 3, kPatch = 1 << 5,
                          kUtf8 = 1 << 11;
inline constexpr uint16_t kStored = 0, kDeflated = 8;
inline constexpr uint16_t kZip64Id = 0x0001, kPaddingId = 0x4246;  // "FB", torch's own
inline constexpr uint16_t kFull16 = 0xffff;
inline constexpr uint32_t kFull32 = 0xffffffff;

// torch looks names up without regard to case [miniz mz_zip_reader_locate_file].
inline char LowerOf(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; }
struct AnyCaseEqual {
  bool operator()(std::string_view a, std::string_view b) const {
    return std::ranges::equal(a, b, {}, LowerOf, LowerOf);
  }
};

}  // namespace anemone::internal::zip

#endif  // ANEMONE_CONTAINER_ZIP_FORMAT_H_
