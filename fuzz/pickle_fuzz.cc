// Reads any bytes as a pickle, and traces them: what the reader takes, the trace follows as far, to the same globals.
// What is accepted is written in protocol 2 and must read as the same value.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <set>
#include <string>
#include <string_view>

#include "../tests/unit/container/show.h"
#include "container/pickle.h"
#include "container/pickle_trace.h"

namespace {

// What the reader makes up for NEWOBJ_EX.
bool IsAdded(const std::string& global) { return global == "copyreg __newobj_ex__"; }

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace anemone;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const PickleTrace trace = TracePickle(Whole(MemorySource(std::string(bytes), "input")));
  uint64_t consumed = 0;
  const Result<Value> value = ReadPickle(bytes, {}, &consumed);
  if (!value.ok()) return 0;
  if (consumed > size) std::abort();
  if (!trace.status.ok() || trace.consumed != consumed) std::abort();
  std::set<std::string> traced;
  for (const PickleGlobal& global : trace.globals) traced.insert(global.name);
  for (const PickleGlobal& global : ListGlobals(*value->graph)) {
    if (!traced.contains(global.name) && !IsAdded(global.name)) std::abort();
  }
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
