// Protocol buffers' wire format: the fields of one message, in their order. A message inside another is a field's
// bytes.
#ifndef ANEMONE_CONTAINER_PROTOBUF_H_
#define ANEMONE_CONTAINER_PROTOBUF_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "anemone/status.h"

namespace anemone {

class ProtoReader {
 public:
  // The argument must outlive the reader and the fields it gives.
  explicit ProtoReader(std::string_view message) : message_(message) {}

  struct Field {
    uint32_t number = 0;
    uint64_t value = 0;      // of a varint or fixed field
    std::string_view bytes;  // of a length-delimited one
  };
  bool done() const { return at_ >= message_.size(); }
  // REQUIRES: !done(). Errors: Corrupt, naming the byte.
  Result<Field> Next();

 private:
  Status Broken() const;
  Result<uint64_t> Varint();
  Result<Field> Fixed(size_t size, Field field);

  std::string_view message_;
  size_t at_ = 0;
};

}  // namespace anemone

#endif  // ANEMONE_CONTAINER_PROTOBUF_H_
