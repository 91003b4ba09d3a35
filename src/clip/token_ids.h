// The ids of a vocabulary's tokens.
#ifndef ANEMONE_CLIP_TOKEN_IDS_H_
#define ANEMONE_CLIP_TOKEN_IDS_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/text_hash.h"

namespace anemone::internal {

// A hash table without nodes: every part of every merge is looked up, and the time is that of cache misses. Ownership:
// the tokens' texts are the caller's, and outlive the table.
class TokenIds {
 public:
  static constexpr int32_t kNone = -1;

  explicit TokenIds(size_t count) : slots_(std::bit_ceil(count + count / 4 + 1)) {}

  // A token that is set again has the later id. REQUIRES: at most `count` tokens.
  void Set(std::string_view token, int32_t id) {
    const auto hash = static_cast<uint32_t>(HashOf(token));
    slots_[Find(token, hash)] = {token, hash, id};
  }
  // kNone for a token that was not set.
  int32_t Get(std::string_view token) const { return slots_[Find(token, static_cast<uint32_t>(HashOf(token)))].id; }

 private:
  struct Slot {
    std::string_view token;
    uint32_t hash = 0;
    int32_t id = kNone;
  };

  // The token's slot, or the one that it would take.
  size_t Find(std::string_view token, uint32_t hash) const {
    const size_t mask = slots_.size() - 1;
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
      const Slot& slot = slots_[i];
      if (slot.id == kNone || (slot.hash == hash && slot.token == token)) return i;
    }
  }

  std::vector<Slot> slots_;
};

}  // namespace anemone::internal

#endif  // ANEMONE_CLIP_TOKEN_IDS_H_
