// Hasher: a checksum of bytes that come in pieces.
#ifndef ANEMONE_BASE_HASHER_H_
#define ANEMONE_BASE_HASHER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

struct evp_md_ctx_st;  // OpenSSL's

namespace anemone {

class Hasher {
 public:
  enum class Kind : uint8_t { kSha1, kSha256 };
  explicit Hasher(Kind kind);
  // False where this OpenSSL leaves the kind out; then there are no digits. SHA-256 is always there.
  bool is_available() const { return context_ != nullptr; }
  void Add(std::span<const std::byte> bytes);
  void Add(std::string_view bytes) { Add(std::as_bytes(std::span(bytes))); }
  // In lower-case hexadecimal digits. The last call.
  std::string Hex();

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

}  // namespace anemone

#endif  // ANEMONE_BASE_HASHER_H_
