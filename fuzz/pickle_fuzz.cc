// Reads any bytes as a pickle, and scans them. What is accepted is written in protocol 2 and must read as the same
// value.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "../tests/unit/container/show.h"
#include "container/pickle.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace anemone;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  (void)ScanPickles(bytes);
  uint64_t consumed = 0;
  const Result<Value> value = ReadPickle(bytes, {}, &consumed);
  if (!value.ok()) return 0;
  if (consumed > size) std::abort();
  (void)ListGlobals(*value->graph);
  const Result<std::string> written = WritePickle(*value);
  if (!written.ok()) {  // a cycle that no pickle of ours can say
    if (written.status().kind() != ErrorKind::kUnsupported) std::abort();
    return 0;
  }
  const Result<Value> again = ReadPickle(*written);
  if (!again.ok() || !testing::SameValue(value->node, again->node)) std::abort();
  const Result<std::string> twice = WritePickle(*again);
  if (!twice.ok() || *twice != *written) std::abort();
  return 0;
}
