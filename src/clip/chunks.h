// Pictures and texts laid side by side: what of them is at work at once, and what texts have in common.
#ifndef ANEMONE_CLIP_CHUNKS_H_
#define ANEMONE_CLIP_CHUNKS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace anemone::internal {

// A picture or a text in a chunk. A text that begins as one before it does has no rows for what they share: a causal
// tower computes the same there.
struct Sequence {
  size_t begin;                     // its first own row of the chunk
  size_t length;                    // tokens, shared ones among them
  size_t pooled;                    // the token whose row is its feature; not a shared one
  std::vector<size_t> shared = {};  // rows of its first tokens, which are another's

  size_t own() const { return length - shared.size(); }
  size_t end() const { return begin + own(); }
  size_t pooled_row() const { return begin + pooled - shared.size(); }
};
using Chunk = std::vector<Sequence>;

size_t RowsOf(const Chunk& chunk);
size_t RowsOf(const std::vector<Chunk>& chunks);

// Sequences in chunks of about equal size, about one ViT-L/14 picture each. Where there are enough of them for so many
// threads, a multiple of these: each thread takes chunks of its own. Otherwise one chunk, whose products are divided.
// Where `ids` are given, the sequences' tokens, each has the rows of the one before in its chunk for the tokens that
// both begin with, all but its last.
std::vector<Chunk> ChunksOf(std::vector<Sequence> sequences, const std::vector<std::vector<int32_t>>* ids,
                            size_t threads);

// Copies the rows of the pooled tokens out of x.
void Gather(const float* x, size_t width, const std::vector<Chunk>& chunks, float* pooled);

}  // namespace anemone::internal

#endif  // ANEMONE_CLIP_CHUNKS_H_
