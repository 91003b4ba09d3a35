#include "base/hasher.h"

#include <openssl/evp.h>

#include <array>

namespace anemone {

Hasher::Hasher(Kind kind) : context_(EVP_MD_CTX_new()) {
  const EVP_MD* const algorithm = kind == Kind::kSha1 ? EVP_sha1() : EVP_sha256();
  if (context_ != nullptr && EVP_DigestInit_ex(context_.get(), algorithm, nullptr) != 1) context_.reset();
}

void Hasher::Free::operator()(evp_md_ctx_st* context) const { EVP_MD_CTX_free(context); }

void Hasher::Add(std::span<const std::byte> bytes) { EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()); }

std::string Hasher::Hex() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  EVP_DigestFinal_ex(context_.get(), digest.data(), &size);
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string hex;
  for (const unsigned char byte : std::span(digest).first(size)) hex += {kDigits[byte >> 4], kDigits[byte & 15]};
  return hex;
}

}  // namespace anemone
