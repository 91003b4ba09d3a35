#include "base/hasher.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <array>
#include <new>

namespace anemone {

Hasher::Hasher(Kind kind) {
  // Initialised first: after a failure in it, OpenSSL's other calls would read what it has not made.
  if (OPENSSL_init_crypto(0, nullptr) == 1) context_.reset(EVP_MD_CTX_new());
  if (context_ == nullptr) throw std::bad_alloc();
  const EVP_MD* const algorithm = kind == Kind::kSha1 ? EVP_sha1() : EVP_sha256();
  if (EVP_DigestInit_ex(context_.get(), algorithm, nullptr) != 1) context_.reset();
  if (context_ == nullptr && kind == Kind::kSha256) throw std::bad_alloc();  // no OpenSSL leaves that out
}

void Hasher::Free::operator()(evp_md_ctx_st* context) const { EVP_MD_CTX_free(context); }

void Hasher::Add(std::span<const std::byte> bytes) {
  if (context_ != nullptr) EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size());
}

std::string Hasher::Hex() {
  if (context_ == nullptr) return "";
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  EVP_DigestFinal_ex(context_.get(), digest.data(), &size);
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string hex;
  for (const unsigned char byte : std::span(digest).first(size)) hex += {kDigits[byte >> 4], kDigits[byte & 15]};
  return hex;
}

}  // namespace anemone
