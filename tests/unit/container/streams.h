// Compressed streams of given bytes, made by the libraries themselves.
#ifndef ANEMONE_TESTS_UNIT_CONTAINER_STREAMS_H_
#define ANEMONE_TESTS_UNIT_CONTAINER_STREAMS_H_

#include <bzlib.h>
#include <lzma.h>
#include <zlib.h>

#include <string>

namespace anemone::testing {

inline std::string Zlibbed(const std::string& text) {
  uLongf size = compressBound(text.size());
  std::string out(size, '\0');
  compress(reinterpret_cast<Bytef*>(out.data()), &size, reinterpret_cast<const Bytef*>(text.data()), text.size());
  out.resize(size);
  return out;
}

inline std::string Gzipped(const std::string& text) {
  z_stream z = {};
  deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&z, text.size()) + 64, '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  z.avail_in = static_cast<uInt>(text.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  deflate(&z, Z_FINISH);
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}

inline std::string Bzipped(const std::string& text) {
  auto size = static_cast<unsigned>(text.size() + text.size() / 100 + 700);
  std::string out(size, '\0');
  BZ2_bzBuffToBuffCompress(out.data(), &size, const_cast<char*>(text.data()), static_cast<unsigned>(text.size()), 9, 0,
                           0);
  out.resize(size);
  return out;
}

inline std::string Xzed(const std::string& text) {
  size_t size = 0;
  std::string out(lzma_stream_buffer_bound(text.size()), '\0');
  const lzma_ret code =
      lzma_easy_buffer_encode(6, LZMA_CHECK_CRC64, nullptr, reinterpret_cast<const uint8_t*>(text.data()), text.size(),
                              reinterpret_cast<uint8_t*>(out.data()), &size, out.size());
  out.resize(code == LZMA_OK ? size : 0);
  return out;
}

}  // namespace anemone::testing

#endif  // ANEMONE_TESTS_UNIT_CONTAINER_STREAMS_H_
