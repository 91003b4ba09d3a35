// The ids of a vocabulary's tokens.
#ifndef ANEMONE_CLIP_TOKEN_IDS_H_
#define ANEMONE_CLIP_TOKEN_IDS_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace anemone::internal {

// A hash table without nodes: every part of every merge is looked up, and the time is that of cache misses.
class TokenIds {
 public:
  static constexpr int32_t kNone = -1;

  explicit TokenIds(size_t count) : slots_(std::bit_ceil(count + count / 4 + 1)) {}

  // A token that is set again has the later id. REQUIRES: at most `count` tokens, of 4 GiB together.
  void Set(std::string_view token, int32_t id) {
    Slot& slot = slots_[Find(token)];
    if (slot.id == kNone) {
      slot.hash = HashOf(token);
      slot.size = static_cast<uint32_t>(token.size());
      slot.begin = static_cast<uint32_t>(texts_.size());
      texts_ += token;
    }
    slot.id = id;
  }
  // kNone for a token that was not set.
  int32_t Get(std::string_view token) const { return slots_[Find(token)].id; }

 private:
  struct Slot {
    int32_t id = kNone;
    uint32_t hash = 0;
    uint32_t begin = 0, size = 0;  // in texts_
  };

  static uint32_t HashOf(std::string_view token) { return static_cast<uint32_t>(std::hash<std::string_view>()(token)); }
  // The token's slot, or the one that it would take.
  size_t Find(std::string_view token) const {
    const uint32_t hash = HashOf(token);
    for (size_t i = hash & (slots_.size() - 1);; i = (i + 1) & (slots_.size() - 1)) {
      const Slot& slot = slots_[i];
      if (slot.id == kNone) return i;
      const bool may_be = slot.hash == hash && slot.size == token.size();
      if (may_be && std::string_view(texts_).substr(slot.begin, slot.size) == token) return i;
    }
  }

  std::vector<Slot> slots_;
  std::string texts_;
};

}  // namespace anemone::internal

#endif  // ANEMONE_CLIP_TOKEN_IDS_H_
