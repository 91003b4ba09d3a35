// PickleTrace: which globals CPython's unpickler would import and call, and which byte strings it would make.
#ifndef ANEMONE_CONTAINER_PICKLE_TRACE_H_
#define ANEMONE_CONTAINER_PICKLE_TRACE_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/bytes.h"
#include "anemone/status.h"
#include "container/pickle.h"

namespace anemone {

// The programs that may read the file. They go on at different bytes behind joblib's arrays.
enum class PickleReader : uint8_t { kJoblib, kOldJoblib, kPickle };

struct PickleTrace {
  PickleReader reader = PickleReader::kJoblib;
  std::vector<PickleGlobal> globals;  // each once, in the order in which they are reached
  std::vector<std::string> oddities;  // what no pickler writes and readers disagree on; a few at most
  bool has_other_opcodes = false;     // than those that PyTorch's weights-only unpickler knows
  uint64_t consumed = 0;              // bytes up to and with STOP, or up to where the trace ended
  Status status;                      // why there was no STOP
  // The traces of joblib 1.1 and pickle, if the pickle holds arrays of joblib's. Their `globals` are those that are not
  // above.
  std::vector<PickleTrace> others;
};

// What the pickle holds besides globals. Both may be empty.
struct PickleVisitor {
  // A byte string or text: where it is, or its decoded bytes in memory where the pickle spells it with escapes. `head`
  // is its beginning (at most 512 bytes, of text 64 KiB).
  std::function<void(const ByteRange& content, std::string_view head, bool is_text)> literal;
  // A dictionary's entry whose key is one of PickleVisitor::keys, or "" where the key is computed; nothing where the
  // value is not known to be text. Pairs that a dictionary may be made of count as entries.
  std::function<void(std::string_view key, const std::string* value)> entry;
  std::vector<std::string_view> keys;  // of at most 63 bytes
  uint64_t max_values = 8'000'000;     // kept in the memo; a quarter of it on the stack
};

// Follows the pickle at the start of `input` as Modules/_pickle.c does, but imports and calls nothing. Where versions
// of Python disagree it goes on: what it lists may be more than one of them reaches, never less. A failure hides
// nothing that was reached before it. Reads `input` once from start to end, and once for each of `others`, which
// kJoblib alone has. Memory: bounded, whatever the input. Errors in `status`: Corrupt (the unpickler stops here),
// LimitExceeded (more values than Python programs have), Io.
PickleTrace TracePickle(const ByteRange& input, const PickleVisitor& visitor = {},
                        PickleReader reader = PickleReader::kJoblib);

}  // namespace anemone

#endif  // ANEMONE_CONTAINER_PICKLE_TRACE_H_
