#include "container/protobuf.h"

#include <fmt/format.h>

#include <cstring>

namespace anemone {

Result<ProtoReader::Field> ProtoReader::Next() {
  ANEMONE_ASSIGN(const uint64_t key, Varint());
  Field field;
  field.number = static_cast<uint32_t>(key >> 3);
  switch (key & 7) {
    case 0: {
      ANEMONE_ASSIGN(field.value, Varint());
      return field;
    }
    case 1:
      return Fixed(8, field);
    case 2: {
      ANEMONE_ASSIGN(const uint64_t size, Varint());
      if (size > message_.size() - at_) return Broken();
      field.bytes = message_.substr(at_, size);
      at_ += size;
      return field;
    }
    case 5:
      return Fixed(4, field);
    default:
      return Broken();
  }
}

Status ProtoReader::Broken() const { return Corrupt(fmt::format("byte {}: expected a protocol buffer's field", at_)); }

Result<uint64_t> ProtoReader::Varint() {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    if (done()) return Broken();
    const auto byte = static_cast<unsigned char>(message_[at_++]);
    value |= uint64_t{byte & 0x7FU} << shift;
    if (byte < 0x80) return value;
  }
  return Broken();
}

Result<ProtoReader::Field> ProtoReader::Fixed(size_t size, Field field) {
  if (size > message_.size() - at_) return Broken();
  std::memcpy(&field.value, message_.data() + at_, size);
  at_ += size;
  return field;
}

}  // namespace anemone
